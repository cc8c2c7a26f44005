"""The settings in params.yaml: one frozen table for each section, a comment for each setting.

`autox3d.core.search_settings` has the sections of a search, and `autox3d.core.overrides` the
settings that a study or a part of a search has in place of these.

There are no defaults: a missing, unknown or ill-typed key stops a stage before it does any work
(`autox3d.core.schema`). The learning rates of SGD are for a batch of 256 clips; they are scaled
with the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from autox3d.core import schema
from autox3d.core.errors import Refused
from autox3d.core.schema import Added, optional_section, table
from autox3d.core.search_settings import (
    NO_PARTS,
    PART,
    Control,
    Derive,
    Parts,
    Search,
    Supernet,
    Warmup,
)
from autox3d.core.search_settings import Budget as Budget
from autox3d.core.search_settings import Paths as Paths
from autox3d.core.values import (
    NO_EXPANSION,
    UNTIMED,
    ClipSpec,
    Count,
    Encoding,
    Expand,
    Positive,
    Rate,
    Sampling,
    Share,
    Whole,
)

T = TypeVar("T")
PARAMS = Path("params.yaml")
Classes = Literal["motions", "textures"]
Split = Literal["train", "val", "test"]


@table
class Demo:
    """The generated demo videos: camera motions over random textures."""

    seed: int  # of the random textures and motions
    train: Count  # training videos per class
    val: Count  # validation videos per class
    test: Count  # test videos per class
    paces: Count  # classes per motion (there are 8), from slow to fast
    speed: Positive  # factor on the default speeds
    classes: Annotated[Classes, Added("motions")]  # what tells them apart: textures need no motion

    @field_validator("classes")
    @classmethod
    def _have_paces(cls, classes: Classes, others: ValidationInfo) -> Classes:
        if classes == "textures" and others.data.get("paces", 1) != 1:
            raise ValueError("textures have no paces. Set paces to 1.")
        return classes


@table
class Annotate:
    """The data set: its videos, their classes and their splits."""

    dataset: str  # "demo", or the name of a file in datasets/adapters (checked by `annotate`)
    videos: str  # folder of the videos, relative to the data root
    files: dict[str, str]  # annotation files that the data set needs, relative to the data root
    shards: Annotated[tuple[int, ...], Field(min_length=1)]  # numbers; one transcode job for each
    demo: Demo  # used only with `dataset: demo`


@table
class Ids:
    """Files with one video id per line, relative to the data root."""

    train: str  # ids of the training videos
    val: str  # ids of the validation videos


@table
class Subset:
    """The subset for the search: Mini-Kinetics-200, or its selection rule on other data."""

    seed: int  # of the selection and of the split into two halves (weights and alpha)
    classes: Count | None  # to keep: those with the most training clips; null: all
    train: Count  # training clips per class; all of them if there are fewer
    val: Count  # validation clips per class; all of them if there are fewer
    ids: Ids | None  # official lists of videos, instead of the rule above


@table
class Train:
    """Training of one network, from scratch or from given weights."""

    seed: int  # of the initial weights, the order of the clips and their augmentation
    epochs: Count  # including the warm-up
    warmup: Whole  # epochs in which the learning rate rises linearly
    batch: Count  # clips per step, summed over all processes
    lr: Positive  # peak learning rate for 256 clips; scaled with the batch
    schedule: Annotated[Literal["cosine", "steps"], Added("cosine")]  # how it falls after warm-up
    drops: Annotated[tuple[Share, ...], Added(())]  # of `steps`: shares of the epochs, to a tenth
    momentum: Share  # of SGD
    weight_decay: float  # of SGD
    dropout: Share  # rate before the last layer
    drop_connect: Annotated[Rate, Added(0.0)]  # skips of a branch; less before the last stage
    bn_clips: Count  # clips that share batch-norm statistics
    pass_clips: Annotated[Count | None, Added(None)]  # clips of a forward pass; null: bn_clips
    compile: Annotated[bool, Added(False)]  # whether torch.compile makes the code of a pass
    bn_steps: Whole  # steps of batch-norm recalibration after training; 0: running statistics
    validate_every: Annotated[Count, Added(1)]  # epochs between validations; the last has one
    branch_gamma: Share  # initial gamma of each branch's last batch norm; 0 in X3D's code
    init: str  # folder of weights to start from; `params/scratch`: random initialisation
    sampling: Sampling

    @field_validator("drops")
    @classmethod
    def _belong_to_steps(
        cls, drops: tuple[float, ...], others: ValidationInfo
    ) -> tuple[float, ...]:
        schedule = others.data.get("schedule")
        if schedule == "cosine" and drops:
            raise ValueError("schedule cosine falls by itself: write [].")
        if schedule == "steps" and (not drops or sorted(set(drops)) != list(drops)):
            raise ValueError("schedule steps needs rising shares, such as [0.72, 0.86].")
        return drops

    @field_validator("pass_clips")
    @classmethod
    def _is_of_whole_chunks(cls, clips: int | None, others: ValidationInfo) -> int | None:
        chunk = others.data.get("bn_clips")
        if clips is not None and chunk is not None and clips % chunk:
            raise ValueError(f"{clips} is no multiple of bn_clips, {chunk}. Take one, or null.")
        return clips


@table
class Evaluate:
    """Multi-view test of a trained network."""

    split: Split  # whose videos are tested; the main result
    splits: Annotated[tuple[Split, ...], Added(())]  # tested side by side, with it; none: it alone
    clips: tuple[Count, ...]  # numbers of clips per video to test; the largest is the main result
    crops: Annotated[Literal[1, 3], Added(3)]  # of a clip: the centre; or left, centre and right
    rule: Literal["ends", "starts"]  # placement of the clips in a video, see vision/clips/views.py
    sampling: Literal["linspace", "stride"]  # frames of a clip, see vision/clips/views.py
    pool: Annotated[Literal["mean", "max"], Added("mean")]  # how scores of views are merged
    batch: Count  # views per forward pass; on a CPU it does not change the scores

    @field_validator("splits")
    @classmethod
    def _have_the_main_one(cls, splits: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        main = others.data.get("split")
        if splits and main is not None and main not in splits:
            raise ValueError(f"split {main} is the main result, and not among them. Add it.")
        if twice := [split for split in splits if splits.count(split) > 1]:
            raise ValueError(f"{twice[0]} is there twice. Delete one.")
        return splits


@table
class Explain:
    """Heat maps (Grad-CAM) for a few clips."""

    networks: Annotated[tuple[str, ...], Field(min_length=1)]  # names of trained networks
    videos: Whole  # correctly classified videos to show, each of another class
    pairs: Whole  # most confused pairs of classes to show
    wrong: Annotated[Whole, Added(0)]  # wrong videos to show, the largest loss first


@table
class Latency:
    """The time in seconds for all views of one video, measured as in Auto-TSNet's Table 4."""

    views: Count  # of one video
    batch: Count  # views per forward pass
    repeats: Count  # timed runs
    warmup: Whole  # untimed runs before them


@table
class Scale:
    """One size (S, M or L) of the derived network."""

    frames: Count  # of a clip
    stride: Count  # source frames at 30 fps from one clip frame to the next
    crop: Count  # side of the square training crop, px
    short: Count  # shorter side in tests, and side of the left-centre-right crops, px
    depth: Positive  # factor on the number of blocks of each stage

    @property
    def spec(self) -> ClipSpec:
        """The clips that a network of this size takes."""
        return ClipSpec(frames=self.frames, stride=self.stride, crop=self.crop, short=self.short)


@table
class Baseline:
    """A network to compare with: a given one, scaled, with its own input or that of a size."""

    of: str  # YAML file of the given genotype
    input: Annotated[Literal["own", "s", "m", "l"], Added("s")]  # or the entry of `scale`
    width: Positive  # factor on the channels
    depth: Positive  # factor on the number of blocks of each stage
    temporal: bool  # false: every kernel spans a single frame
    attention: Annotated[bool, Added(True)]  # false: without its attention units


@table
class OnDevice:
    """The device on which searches and trainings run."""

    table: str  # file of `autox3d tune`: which kernels to take; `params/untimed`: the package's


@table
class Study:
    """A study of the search: several searches and trainings that differ in one thing.

    The kind decides which of the settings are used; the others must be empty, 0 or null.
    """

    kind: str  # the name of a file in src/autox3d/studies: attention, beta, channels, ...
    space: str  # YAML file of the search space, instead of `supernet.space`
    values: tuple[float, ...]  # what is varied, such as weights of the cost term, or seeds
    networks: Whole  # number of random networks
    train: str | None  # entry of `train` to train the networks with; null: they are not trained
    genotypes: Annotated[str, Added("params/scratch")]  # folder to train; `params/scratch`: none
    overrides: dict[str, dict[str, Any]]  # settings of other sections, for this study only


@table
class Page:
    """A page of one network that no search has found, in results/pages."""

    title: str  # heading of the page


@table
class Params:
    """All settings: the content of params.yaml."""

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
    device: Annotated[OnDevice, Added({"table": UNTIMED})]
    expand: Annotated[Expand, Added(NO_EXPANSION)]
    parts: Annotated[Parts, Added(NO_PARTS)]
    studies: dict[str, Study] = optional_section()
    pages: dict[str, Page] = optional_section()

    @property
    def searches(self) -> bool:
        """Whether something needs a search; a file with pages of given networks alone does not."""
        found = any(one.of.startswith("results/derive/") for one in self.baseline.values())
        return found or bool(self.scale or self.studies or self.expand.base) or not self.pages

    @field_validator("expand")
    @classmethod
    def _fits_the_others(cls, expand: Expand, others: ValidationInfo) -> Expand:
        train, found = others.data.get("train"), others.data.get("scale", {}).keys()
        if expand.candidate and train is not None and expand.candidate not in train:
            known = ", ".join(train) or "none"
            raise ValueError(f"candidate {expand.candidate} is no entry of train. Known: {known}.")
        if taken := sorted(
            expand.targets.keys() & (found | others.data.get("baseline", {}).keys())
        ):
            raise ValueError(f"target {taken[0]} is a network of scale or baseline. Rename it.")
        return expand

    @field_validator("parts")
    @classmethod
    def _end_with_the_search(cls, parts: Parts, others: ValidationInfo) -> Parts:
        supernet = others.data.get("supernet")
        wanted = PART.format(part=list(parts.open)[-1]) if parts.open else None
        if wanted and supernet is not None and supernet.space != wanted:
            raise ValueError(
                f"supernet.space is {supernet.space}. Write {wanted}, of the last part."
            )
        return parts


def load(path: Path = PARAMS) -> Params:
    """Reads and checks the whole file; the result is cached by its text within a process.

    Raises:
        Refused: there is a mistake anywhere in the file.
    """
    return _checked(path, schema.read(path))


@functools.lru_cache(maxsize=8)
def _checked(path: Path, text: str) -> Params:
    content = schema.parse_text(text, path)
    schema.refuse_aliases(text, path)
    return schema.check(content, Params, path)


def named(table: Mapping[str, T], section: str, name: str, path: Path = PARAMS) -> T:
    """Returns the entry `name` of a table such as `params.train`.

    Args:
        section, path: name the table and its file in the error message

    Raises:
        Refused: the file has no such entry.
    """
    if name not in table:
        raise Refused(f"{path}: missing section '{section}.{name}'.")
    return table[name]
