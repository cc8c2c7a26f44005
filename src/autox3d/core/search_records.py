"""The JSON files of the search and its studies; see `autox3d.core.records`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autox3d.core import atomic
from autox3d.core.record_files import Content, read_record, without
from autox3d.core.records import Provenance
from autox3d.core.schema import table
from autox3d.core.scores import Metrics

GMACS = "G multiply-adds"  # the usual unit of a budget
OF_GMACS = {"target": "target_gmacs"}  # the key that a target has in the usual unit
ABSENT = {"window": None, "mode": None, "front": (), "threshold": None, "control_decided": None}
SUPERNET = "supernet_"  # prefix of a metric measured with the supernet's shared weights


@table
class Choice:
    """One choice of a search, with the probabilities of its candidates by epoch."""

    group: int  # from 1
    column: str  # kernel, expansion, channels, attention
    candidates: tuple[str | int | float, ...]
    probabilities: tuple[tuple[float, ...], ...]  # one row per epoch, one column per candidate
    logits: tuple[float, ...]  # at the end, one per candidate
    clips: tuple[float, ...] = ()  # by candidate, the clips' part of alpha's gradient, summed
    budget: tuple[float, ...] = ()  # by candidate, the cost term's part, summed
    products: tuple[tuple[float, ...], ...] = ()  # outer products of the clips' part, summed
    null: float = 0.0  # t-value that the weights of other networks reach


@table
class Alpha:
    """alpha.json: the architecture distribution of a search, epoch by epoch."""

    space: str
    choices: tuple[Choice, ...]  # empty if no epoch was run

    def write(self, path: Path) -> None:
        atomic.write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Alpha:
        """Reads the file; raises Refused if it is missing or damaged."""
        return read_record(path, cls)


@table
class AttentionPair:
    """One attention unit, with and without, on the same clips and in the same networks."""

    group: int  # from 1
    unit: str
    gain: float  # log-likelihood with the unit less that without it, mean, nats a clip
    error: float  # its standard error, over the chunks
    t: float  # gain over error; 0 if they are equal in every chunk


@table
class AttentionPairs:
    """What attention is worth at the end of the warm-up; see `search.attention_pairs`."""

    chunks: int
    clips_a_chunk: int
    units: tuple[AttentionPair, ...]


@table
class WarmupMade:
    """results/warmup_made.json: the provenance of the warm-up, and what attention is worth then."""

    made: Provenance
    attention: AttentionPairs | None = None  # None: the space has no attention to choose

    def write(self, path: Path) -> None:
        attention = {"attention": asdict(self.attention)} if self.attention else {}
        atomic.write_json(path, self.made.content() | attention)

    @classmethod
    def read(cls, path: Path) -> WarmupMade:
        """Reads the file; raises Refused if it is missing or damaged."""

        def nested(content: Content) -> Content:
            made = {key: value for key, value in content.items() if key != "attention"}
            return {"made": made, "attention": content.get("attention")}

        return read_record(path, cls, nested)


@table
class Decision:
    """One choice of the derived network, with the final probabilities."""

    group: int  # from 1
    column: str
    taken: str | int | float
    probabilities: dict[str, float]  # by candidate
    by: str = ""  # what decided it: clips, budget, undecided; empty before that was recorded
    t: float | None = None  # of the clips' best candidate against their second


@table
class DerivedNetwork:
    """One network of the space, ranked by its accuracy with the supernet's weights."""

    gmacs: float
    cost: float  # in the budget's unit
    probability: float
    supernet: Metrics  # with the supernet's weights, on the validation videos
    groups: tuple[str, ...]  # kernel, expansion, channels and attention of each
    choices: tuple[Decision, ...] = ()  # for the derived network only


@table
class Mode:
    """The most probable network, whatever it costs, and what the derived one is worth beside it."""

    network: DerivedNetwork
    attention_nats: float  # log-probability lost by leaving out undecided attention
    window_nats: float  # log-probability lost by the budget's window
    gain: tuple[float, float, float] | None
    """Log-likelihood of the derived network less the mode's, with the supernet's weights: the mean
    over the validation videos, nats, and its 95 % interval; None for one network, or no labels."""


@table
class FrontNetwork:
    """results/derive/front/<budget>.yaml: what the same search gives for another budget."""

    budget: float  # in the budget's unit
    network: DerivedNetwork


@table
class Derived:
    """results/derive/derive.json: the derived network, the mode, its runners-up, and the front."""

    space: str
    networks: str  # number of networks in the space, rounded
    unit: str  # of the budget: "G multiply-adds", "M parameters", "ms"
    target: float  # the budget
    window: tuple[float, float] | None  # of costs; None: the mode is derived, whatever it costs
    found: DerivedNetwork
    mode: Mode | None  # None before it was recorded
    runners_up: tuple[DerivedNetwork, ...]  # the best first
    front: tuple[FrontNetwork, ...] = ()
    threshold: float | None = None  # least t-value at which the clips have decided a choice
    control_decided: int | None = None  # choices that the weights of other networks decide

    def content(self) -> Content:
        """The content of the JSON file, without what is absent or usual."""
        content = asdict(self)
        for key, absent in ABSENT.items():
            content = without(content, key, absent)
        if self.unit == GMACS:
            del content["unit"]
            content = {OF_GMACS.get(key, key): value for key, value in content.items()}
        return _each_network(content, _flat_supernet)

    def write(self, path: Path) -> None:
        atomic.write_json(path, self.content())

    @classmethod
    def read(cls, path: Path) -> Derived:
        """Reads the file; raises Refused if it is missing or damaged."""

        def nested(content: Content) -> Content:
            if "target_gmacs" in content:
                content |= {"unit": GMACS, "target": content.pop("target_gmacs")}
            content = _each_network(content, _nested_supernet)
            return {"window": None, "mode": None} | content

        return read_record(path, cls, nested)


@table
class StudyRow:
    """One search or one network of a study."""

    name: str  # "beta 0.1", "random_3"
    numbers: Metrics  # by name: gmacs, probability, the task's headline
    series: dict[str, tuple[float, ...]]  # numbers by epoch, group or block


@table
class StudyRecord:
    """results/studies/<name>.json: the reproducible results of a study."""

    study: str
    kind: str
    space: str
    task: str
    asked: dict[str, Any]  # the study's settings
    numbers: Metrics  # of the study as a whole
    rows: tuple[StudyRow, ...]

    def write(self, path: Path) -> None:
        atomic.write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> StudyRecord:
        """Reads the file; raises Refused if it is missing or damaged."""
        return read_record(path, cls)


@table
class StudyProvenance:
    """results/studies/<name>_made.json: how each run of a study was made."""

    runs: dict[str, Provenance]

    def write(self, path: Path) -> None:
        runs = {name: made.content() for name, made in self.runs.items()}
        atomic.write_json(path, runs)

    @classmethod
    def read(cls, path: Path) -> StudyProvenance:
        """Reads the file; raises Refused if it is missing or damaged."""
        return read_record(path, cls, lambda content: {"runs": content})


def _each_network(content: Content, convert: Callable[[Content], Content]) -> Content:
    """Converts the networks of a `Derived`."""
    content["found"] = convert(content["found"])
    content["runners_up"] = [convert(one) for one in content["runners_up"]]
    for part in (content.get("mode"), *content.get("front", ())):
        if part is not None:
            part["network"] = convert(part["network"])
    return content


def _flat_supernet(network: Content) -> Content:
    """Moves the metrics in `supernet` to the top, under names such as `supernet_top1`.

    A cost that is that in multiply-adds is left out, and what is not known of a choice.
    """
    network = without(network, "cost", network["gmacs"])
    flat: Content = {}
    for key, value in network.items():
        named = {f"{SUPERNET}{name}": share for name, share in network["supernet"].items()}
        flat |= named if key == "supernet" else {key: value}
    flat["choices"] = [
        without(without(choice, "by", ""), "t", None) for choice in network["choices"]
    ]
    return without(flat, "choices", [])


def _nested_supernet(network: Mapping[str, Any]) -> Content:
    """The inverse of `_flat_supernet`."""
    metrics = {k.removeprefix(SUPERNET): v for k, v in network.items() if k.startswith(SUPERNET)}
    rest = {k: v for k, v in network.items() if not k.startswith(SUPERNET)}
    return {"cost": network["gmacs"]} | rest | {"supernet": metrics}
