"""The files under results/ as typed records: a missing file is None, a damaged one is refused.

What is read is what the settings name (`asked`). The folders may hold more: where params.yaml has
lost an entry, DVC makes its stages no more, and deletes none of their files.

Accuracies are shares in [0, 1]; costs are G multiply-adds of one view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from autox3d.core import schema
from autox3d.core.curves import Curve, Pair, read_confusion
from autox3d.core.errors import Refused
from autox3d.core.origin import PARTS, run_again
from autox3d.core.overrides import SEARCHED
from autox3d.core.records import Account, Explanation, Latency, Provenance
from autox3d.core.scores import CLASSIFY, Evaluation
from autox3d.core.search_records import (
    Alpha,
    AttentionPairs,
    Derived,
    StudyProvenance,
    StudyRecord,
    WarmupMade,
)
from autox3d.reporting import expanded
from autox3d.reporting.expanded import Expansion
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.tasks import task as tasks
from autox3d.vision.tasks.task import Task

T = TypeVar("T")
PHASES = ("warm-up", "search")
# Columns that the report needs of each curve
TRAINING, WARMUP = ("epoch", "loss"), ("epoch", "loss")
SEARCH, CONTROL = ("epoch", "entropy", "mode_gmacs"), ("epoch", "entropy")


class Asked(NamedTuple):
    """The names of what has files of its own in results/, by the settings."""

    networks: list[str]  # that are trained: what the search found, baselines, then others
    found: list[str]  # the sizes of what the search found
    explained: list[str]  # networks with heat maps
    studies: list[str]


class Network(NamedTuple):
    """One network and everything that the stages recorded about it."""

    name: str  # of its files
    searched: bool  # found by the search; otherwise a baseline
    genotype: Genotype | None
    curve: Curve | None  # epoch, lr, loss, the headline, perhaps `val_` of it
    made: Provenance | None  # of its training
    evaluation: Evaluation | None
    confusion: list[Pair] | None  # one a video
    latency: Latency | None = None
    explained: Explanation | None = None


class Tested(NamedTuple):
    """A network whose test videos have labels, so that its metrics are known."""

    network: Network
    evaluation: Evaluation
    task: Task

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def headline(self) -> float:
        """The task's first metric, of all views."""
        return self.evaluation.headline.metrics[self.task.headline.name] or 0.0

    @property
    def chance(self) -> float:
        """The headline of a guess: one of the classes, or a random order of the videos."""
        found = self.evaluation.headline.metrics.get("chance")
        return found if found is not None else 1 / len(self.evaluation.per_class)


class Results(NamedTuple):
    """Everything that the report can show."""

    folder: Path
    settings: Mapping[str, Any]  # params.yaml
    data: Account | None
    warmup: Curve | None
    attention: AttentionPairs | None  # at the end of the warm-up
    trace: Curve | None
    alpha: Alpha | None
    genotype: Genotype | None  # that the search found
    derived: Derived | None
    control: Curve | None  # the trace of a search on shuffled labels
    control_alpha: Alpha | None
    searches: dict[str, Provenance]  # of warm-up, search and null control
    networks: list[Network]
    studies: dict[str, StudyRecord]  # by name
    study_runs: dict[str, Provenance]  # of each search and training of a study: `study@beta/beta0`
    expansion: Expansion | None  # that the settings ask for
    parts: dict[str, Results]  # of a search in parts, those before the last, by name

    @property
    def task(self) -> Task:
        """The task of the first network that was evaluated; classification before there is one."""
        evaluated = [n.evaluation for n in self.networks if n.evaluation]
        return tasks.named(evaluated[0].task if evaluated else CLASSIFY)

    @property
    def phases(self) -> dict[str, Provenance]:
        """Warm-ups and searches, those of earlier parts first: what finding the network took."""
        before = {
            f"{part}: {name}": made
            for part, of in self.parts.items()
            for name, made in of.phases.items()
        }
        return before | {name: self.searches[name] for name in PHASES if name in self.searches}

    @property
    def tested(self) -> list[Tested]:
        """The networks with known metrics of that task."""
        task = self.task
        return [
            Tested(n, n.evaluation, task)
            for n in self.networks
            if n.evaluation and n.evaluation.labelled and n.evaluation.task == task.name
        ]


def settings_of(path: Path) -> Mapping[str, Any]:
    """The content of a params.yaml, which may be of an older version.

    Raises:
        Refused: there is no such file, it is not YAML, or it has no sections.
    """
    content = schema.parse(path)
    if not isinstance(content, Mapping):
        raise Refused(f"{path}: has no sections. Restore the committed file.")
    return content


def asked(settings: Mapping[str, Any]) -> Asked:
    """What the settings name, as the stages of dvc.yaml follow from them."""
    trained, found = (list(settings.get(section) or {}) for section in ("train", "scale"))
    first = [*found, *(settings.get("baseline") or {})]
    return Asked(
        networks=[name for name in first if name in trained] + sorted(set(trained) - set(first)),
        found=found,
        explained=list((settings.get("explain") or {}).get("networks") or []),
        studies=sorted(settings.get("studies") or {}),
    )


def read(folder: Path, settings: Mapping[str, Any]) -> Results:
    """Reads the files that are there, of what the settings name.

    Raises:
        Refused: a file is damaged; the message names it, the field, and the stage to run again.
    """
    of = asked(settings)
    warmed_up = if_there(WarmupMade.read, folder / "warmup_made.json")
    searches = {
        "warm-up": warmed_up.made if warmed_up else None,
        "search": if_there(Provenance.read, folder / "search/search_made.json"),
        "null control": if_there(Provenance.read, folder / "control/control_made.json"),
    }
    return Results(
        folder=folder,
        settings=settings,
        data=if_there(Account.read, folder / "data.json"),
        warmup=if_there(partial(Curve.read, wanted=WARMUP), folder / "warmup.csv"),
        attention=warmed_up.attention if warmed_up else None,
        trace=if_there(partial(Curve.read, wanted=SEARCH), folder / "search/trace.csv"),
        alpha=if_there(Alpha.read, folder / "search/alpha.json"),
        genotype=if_there(Genotype.load, folder / "derive/genotype.yaml"),
        derived=if_there(Derived.read, folder / "derive/derive.json"),
        control=if_there(partial(Curve.read, wanted=CONTROL), folder / "control/trace.csv"),
        control_alpha=if_there(Alpha.read, folder / "control/alpha.json"),
        searches={name: made for name, made in searches.items() if made},
        networks=[_network(folder, name, of) for name in of.networks],
        studies={
            name: record
            for name in of.studies
            if (record := if_there(StudyRecord.read, folder / f"studies/{name}.json"))
        },
        study_runs={
            f"study@{name}/{run}": made
            for name in of.studies
            if (runs := if_there(StudyProvenance.read, folder / f"studies/{name}_made.json"))
            for run, made in runs.runs.items()
        },
        expansion=expanded.read(folder, settings),
        parts={name: _part(folder, name, settings) for name in _before_the_last(settings)},
    )


def _before_the_last(settings: Mapping[str, Any]) -> Sequence[str]:
    """The names of the parts of a search but for the last, whose results are those of `search`."""
    return list((settings.get("parts") or {}).get("before", {}))


def _part(folder: Path, name: str, settings: Mapping[str, Any]) -> Results:
    """What there is of a part: a folder like that of all results, with a search and no networks."""
    own = settings["parts"]["before"][name]
    searched = {key: {**(settings.get(key) or {}), **own.get(key, {})} for key in SEARCHED}
    searched["supernet"]["space"] = str(folder / PARTS / name / "space.yaml")
    return read(folder / PARTS / name, searched)


def if_there(read_file: Callable[[Path], T], path: Path) -> T | None:
    """Reads a file; None if there is no such file."""
    return read_file(path) if path.exists() else None


def _network(folder: Path, name: str, of: Asked) -> Network:
    explained = folder / f"explain/{name}.json"
    return Network(
        name=name,
        searched=name in of.found,
        genotype=if_there(Genotype.load, folder / f"genotypes/{name}.yaml"),
        curve=if_there(partial(Curve.read, wanted=TRAINING), folder / f"train/{name}.csv"),
        made=if_there(Provenance.read, folder / f"train/{name}_made.json"),
        evaluation=if_there(_evaluation, folder / f"evaluate/{name}.json"),
        confusion=if_there(read_confusion, folder / f"evaluate/{name}_confusion.csv"),
        latency=if_there(Latency.read, folder / f"latency/{name}.json"),
        explained=if_there(Explanation.read, explained) if name in of.explained else None,
    )


def _evaluation(path: Path) -> Evaluation:
    """Reads a record, and checks that it has all metrics of its task."""
    evaluation = Evaluation.read(path)
    try:
        task = tasks.named(evaluation.task)
    except Refused as error:
        raise Refused(f"{path}: {error}") from error
    names: Sequence[str] = [metric.name for metric in task.metrics]
    for row in (evaluation.center, evaluation.headline, *evaluation.k_clips):
        if missing := [name for name in names if name not in row.metrics]:
            raise Refused(f"{path}: missing metric '{missing[0]}'. {run_again(path)}")
    return evaluation
