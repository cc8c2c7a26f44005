"""What params.yaml may say: one frozen table a stage, a sentence a setting, no defaults.

A missing, unknown or ill-typed key stops a stage before it works (`autox3d.core.schema`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from autox3d.core import schema
from autox3d.core.errors import Refused
from autox3d.core.schema import Added, optional_section, table
from autox3d.core.values import ClipSpec, Count, Encoding, Positive, Rate, Sampling, Share, Whole

T = TypeVar("T")
PARAMS = Path("params.yaml")
STUDIED = ("supernet", "warmup", "search", "control", "derive", "train")  # a study may change them


@table
class Demo:
    """The generated videos: camera motions over random textures."""

    seed: int
    train: Count  # videos a class
    val: Count
    test: Count
    paces: Count  # classes for each of the 8 motions, from slow to fast
    speed: Positive  # times the usual speeds


@table
class Annotate:
    """Which videos there are, with their classes and splits."""

    dataset: str  # "demo", or a file of datasets/adapters; checked by the stage `annotate`
    videos: str  # folder of the videos, under the data root
    files: dict[str, str]  # the annotation files the data set asks for, under the data root
    shards: Annotated[tuple[int, ...], Field(min_length=1)]  # a list and a transcode job each
    demo: Demo  # used by `dataset: demo` alone


@table
class Ids:
    """Lists of the ids of videos, one a line, under the data root."""

    train: str
    val: str


@table
class Subset:
    """Mini-Kinetics-200, or its rule on any data; and the halves of the search."""

    seed: int
    classes: Count  # kept: those with most training clips
    train: Count  # clips a class, or all where there are fewer
    val: Count
    ids: Ids | None  # the official lists, in place of the rule above


@table
class Likelihood:
    """How clips weigh the networks drawn; the papers leave it open."""

    clips: Count  # of a chunk, which has draws and importances of its own
    reduction: Literal["sum", "mean"]  # of the log-likelihoods of a chunk's clips
    temperature: Positive  # importances are the softmax of log-likelihoods over this


@table
class Supernet:
    """What warm-up and search share: one run of the weights, on one half of the training clips."""

    seed: int
    space: str  # file of the candidates
    selection: Literal["fair", "naive"]  # which parts of a shared kernel a candidate takes
    batch: Count  # clips a step of each half, over all processes
    lr: Positive  # for 256 clips; scaled with the batch; one cosine over warm-up and search
    momentum: Share
    weight_decay: float
    dropout: Share
    bn_clips: Count  # clips that share batch-norm statistics, within a chunk
    branch_gamma: Share  # first value of each branch's last batch norm; 0 in X3D's code
    likelihood: Likelihood
    shared_draws: bool  # whether all chunks of a step see the same networks
    sampling: Sampling


@table
class Warmup:
    """Weights alone: every network equally probable."""

    epochs: Whole  # 0: the search begins with weights as they are drawn
    draws: Count  # K, networks a chunk; 1 is ordinary training of one random path


@table
class Search:
    """Weights and alpha in turn."""

    strategy: Annotated[str, Added("parsec")]  # a file of search/strategies
    epochs: Count
    draws: Count  # K for the weights
    alpha_draws: Annotated[int, Field(ge=2)]  # K for alpha; one draw alone teaches it nothing
    alpha_lr: Positive  # of Adam
    cost: Literal["log", "plain"]  # beta log C (Auto-TSNet) or beta C (Auto-X3D)
    beta: Annotated[float, Field(ge=0)]
    target: Positive  # G multiply-adds of a clip; dearer networks are pulled at
    floor: Positive | None  # G multiply-adds; cheaper ones too, as in Auto-TSNet's range

    @field_validator("floor")
    @classmethod
    def _is_under_the_target(cls, floor: float | None, others: ValidationInfo) -> float | None:
        target = others.data.get("target")
        if floor is not None and target is not None and floor > target:
            raise ValueError(f"{floor:g} is above the target, {target:g}. Lower it, or write null.")
        return floor


@table
class Control:
    """The search with the labels of alpha's half shuffled: what is left is noise."""

    epochs: Whole  # of the search, from its first on; 0: no control


@table
class Derive:
    """The most probable network, and the best of the others."""

    runners_up: Whole  # most probable networks under the target, ranked by the supernet
    calibration: Count  # training clips that give a ranked network its batch-norm statistics


@table
class Train:
    """Full training, from scratch or from given weights."""

    seed: int
    epochs: Count
    warmup: Whole  # epochs of linear warm-up
    batch: Count  # clips a step, over all processes
    lr: Positive  # for 256 clips; scaled with the batch
    momentum: Share
    weight_decay: float
    dropout: Share
    drop_connect: Annotated[Rate, Added(0.0)]  # at which a clip skips a residual branch
    bn_clips: Count  # clips that share batch-norm statistics
    bn_steps: Whole  # steps whose clips give the statistics of evaluation; 0: the running ones
    branch_gamma: Share  # first value of each branch's last batch norm; 0 in X3D's code
    init: str  # folder of weights to start from; `params/scratch`: they start at random
    sampling: Sampling


@table
class Evaluate:
    """Multi-view test of a trained network."""

    split: Literal["train", "val", "test"]
    clips: tuple[Count, ...]  # K, along time: one row of the results each, the largest the result
    rule: Literal["ends", "starts"]  # where test clips start: see vision/clips/views.py
    sampling: Literal["linspace", "stride"]
    batch: Count  # views in one forward pass; changes no score


@table
class Explain:
    """Clips shown with what the network saw in them."""

    networks: Annotated[tuple[str, ...], Field(min_length=1)]  # of those that are trained
    videos: Whole  # a right answer each, of as many classes
    pairs: Whole  # of classes that are confused most


@table
class Latency:
    """Seconds for the views of one video, as Auto-TSNet's Table 4 measures it."""

    views: Count
    batch: Count  # views in one forward pass
    repeats: Count
    warmup: Whole  # runs before the first that counts


@table
class Scale:
    """One size of the found network."""

    frames: Count
    stride: Count  # source frames at 30 fps between clip frames
    crop: Count  # px, training
    short: Count  # px, the shorter side in tests, and the side of the left-centre-right crops
    depth: Positive  # times the blocks of each stage

    @property
    def spec(self) -> ClipSpec:
        """The clips of a network of this size."""
        return ClipSpec(frames=self.frames, stride=self.stride, crop=self.crop, short=self.short)


@table
class Baseline:
    """A network to compare with, made from a given one, at the input of `scale.s`."""

    of: str  # its genotype
    width: Positive  # times the channels
    depth: Positive  # times the blocks of each stage
    temporal: bool  # false: every kernel one frame long


@table
class Study:
    """A study of the search: many searches and trainings that differ in one thing.

    Its kind decides which of the settings it uses; those that it does not use are empty, 0 or null.
    """

    kind: str  # a file of src/autox3d/studies: attention, beta, channels, random_networks, ...
    space: str  # file of the candidates, in place of `supernet.space`
    values: tuple[float, ...]  # what differs: weights of the cost, shares of the way, seeds
    networks: Whole  # random ones
    train: str | None  # the entry of `train` by which networks are trained, for their accuracy
    overrides: dict[str, dict[str, Any]]  # other settings for this study alone, by section


@table
class Params:
    """The whole file."""

    annotate: Annotate
    transcode: Encoding
    subset: Subset
    supernet: Supernet
    warmup: Warmup
    search: Search
    control: Control
    derive: Derive
    scale: dict[str, Scale]
    baseline: dict[str, Baseline]
    train: dict[str, Train]
    evaluate: Evaluate
    latency: Latency
    explain: Explain
    studies: dict[str, Study] = optional_section()


def load(path: Path = PARAMS) -> Params:
    """The whole file, checked once a process: the same text gives the same `Params` again.

    Raises:
        Refused: a mistake anywhere in the file stops the first stage, before any work.
    """
    return _checked(path, schema.read(path))


@functools.lru_cache(maxsize=8)
def _checked(path: Path, text: str) -> Params:
    content = schema.parse_text(text, path)
    schema.refuse_aliases(text, path)
    return schema.check(content, Params, path)


def named(table: Mapping[str, T], section: str, name: str, path: Path = PARAMS) -> T:
    """The entry `name` of a table such as `params.train`; `section` and `path` are for the message.

    Raises:
        Refused: the file has no such entry.
    """
    if name not in table:
        raise Refused(f"{path}: missing section '{section}.{name}'.")
    return table[name]


def for_study(params: Params, name: str, path: Path = PARAMS) -> Params:
    """The settings with the space and the overrides of the study `name`, checked as the file is.

    Raises:
        Refused: there is no such study; or an override names what is not there, or is ill-typed.
    """
    study = named(params.studies, "studies", name, path)
    place = f"studies.{name}.overrides"
    for section in study.overrides:
        if section not in STUDIED:
            raise Refused(
                f"{path}: unknown '{place}.{section}'. A study can change: {', '.join(STUDIED)}."
            )
    changes = {section: study.overrides.get(section, {}) for section in STUDIED}
    if "space" in changes["supernet"]:
        raise Refused(
            f"{path}: '{place}.supernet.space' is another setting. Use 'studies.{name}.space'."
        )
    changed = _merged(asdict(params), changes)
    changed["supernet"]["space"] = study.space
    return schema.check(changed, Params, path, place)


def _merged(content: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The content, save the keys of the changes; tables are merged key by key."""
    found = dict(content)
    for key, value in changes.items():
        inner = found.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            found[key] = _merged(inner, value)
        else:
            found[key] = value
    return found
