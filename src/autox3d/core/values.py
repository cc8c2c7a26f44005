"""Frozen values that settings, architecture files and the library share; all are validated.

The library takes these instead of sections of params.yaml, so that it can be used without one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from autox3d.core.schema import table

Count = Annotated[int, Field(gt=0)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # below 1: something must be left over
MARGIN = 5  # s of a film that are kept around a moment whose boxes are known
Axis = Literal["fast", "temporal", "spatial", "depth", "width", "bottleneck"]  # of an expansion
CountedUnit = Literal["gmacs", "params", "memory"]  # of a cost that follows from the genotype
Unit = Literal["gmacs", "params", "memory", "ms"]  # of the cost of an expansion's steps
UNTIMED = "params/untimed"  # the latency table, and its space, where none is needed
# The axis that the last step grew, or another one; `fast` and `temporal` are one in a contraction.
Reduction = Literal["last", "temporal", "spatial", "depth", "width", "bottleneck"]


@table
class ClipSpec:
    """The size of the clips that a network takes."""

    frames: Count  # T, frames of a clip
    stride: Count  # source frames at 30 fps from one clip frame to the next
    crop: Count  # side of the square training crop, px
    short: Count  # shorter side in tests, and side of the left-centre-right crops, px


@table
class Sampling:
    """How a training clip is cut from a video."""

    jitter: tuple[Count, Count]  # range of the shorter side before the crop, px
    flip: bool  # random horizontal flip; false if classes differ in left and right
    autoaugment: bool  # ImageNet's AutoAugment policy, the same for all frames of a clip
    rule: Literal["linspace", "stride"]  # frames of a clip, see vision/clips/views.py
    repeats: Count  # clips of each video in a batch, from one decoding (arXiv:1902.05509)


@table
class Encoding:
    """How videos are checked and transcoded once, for sparse random access.

    The pixel aspect ratio is ignored on purpose. `crf` 24 with `tune` "fastdecode,psnr" makes
    smaller files at some loss of quality.
    """

    short: Count  # shorter side, px; if below the training jitter, clips are upscaled later
    fps: Count  # constant frame rate, frames per second
    crf: Whole  # x264's quality; lower is better and larger
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow"]  # of x264
    tune: str  # of x264; fastdecode means CAVLC and no loop filter
    keyint: Count  # frames from one key frame to the next
    bframes: Whole  # B-frames between reference frames; a decoder can skip them
    max_pixels: Count  # per frame; a larger one is refused before it needs memory
    max_seconds: Positive  # duration; a longer video is refused and must be cut first
    timeout: Positive  # seconds for one video
    memory_mb: Count  # limit on the address space of a decoder or encoder, MB
    min_share: Share  # share of a video's declared duration that must decode
    max_lost: Share  # share of all videos, rounded up, that may be refused before `index` stops


@table
class Regularisation:
    """How strongly the networks of an expansion are regularised, from one of its steps on."""

    step: Count  # the first step that it holds for
    batch: Positive  # times the batch of the recipe
    epochs: Positive  # times the epochs of the recipe
    bn_clips: Count  # clips that share batch-norm statistics
    drop_connect: Rate  # of the last stage's blocks; of earlier ones less


@table
class Base:
    """The network that an expansion starts from."""

    of: str  # YAML file of its genotype
    stride: Count  # source frames between the first two frames, where the base has only one


@table
class Step:
    """A step of an expansion."""

    after: str  # the step before, or the base


@table
class Regularise:
    """When the steps of an expansion are regularised more; X3D's levels are in its A.3."""

    rule: Literal["steps", "gap"]  # from given steps on, or after a gap between the errors
    most: Share | None  # `gap`: what validation's error may have above training's; else null
    levels: tuple[Regularisation, ...]  # from the weakest on; none: as the entry of `train` says

    @field_validator("most")
    @classmethod
    def _belongs_to_gap(cls, most: float | None, others: ValidationInfo) -> float | None:
        rule = others.data.get("rule")
        if rule == "gap" and most is None:
            raise ValueError("rule gap needs a number, such as 0.05.")
        if rule == "steps" and most is not None:
            raise ValueError(f"{most:g} has no use with rule steps: write null.")
        return most

    @field_validator("levels")
    @classmethod
    def _begin_at_the_first_step(
        cls, levels: tuple[Regularisation, ...], others: ValidationInfo
    ) -> tuple[Regularisation, ...]:
        if others.data.get("rule") == "steps" and levels and min(x.step for x in levels) > 1:
            raise ValueError("no level holds for step 1. Add one.")
        return levels


@table
class Expand:
    """Progressive expansion of a network along six axes, and contraction to given costs (X3D)."""

    base: dict[str, Base]  # one, by its name; none: no expansion
    path: dict[str, Step]  # step1 after the base, step2 after step1, and so on
    axes: tuple[Axis, ...]  # that a step tries
    seeds: tuple[int, ...]  # each candidate is trained with each
    rate: Annotated[float, Field(gt=1)]  # how many times the cost a step makes it
    budget: Unit  # what costs: G multiply-adds, M parameters, MB of activations, or ms of a view
    latency: str  # latency table for `budget: ms`
    space: str  # the space that the latency table is of
    memory_mb: Positive | None  # most activations of a clip, MB; dearer candidates are left out
    candidate: str | None  # entry of `train` by which candidates are trained
    regularise: Regularise
    targets: dict[str, Positive]  # network -> the most that it may cost, in the budget's unit
    contract: tuple[Reduction, ...]  # axes along which a step above a target is reduced

    @field_validator("path")
    @classmethod
    def _is_one_path(cls, path: dict[str, Step], others: ValidationInfo) -> dict[str, Step]:
        base = list(others.data.get("base", {}))
        if path and len(base) != 1:
            raise ValueError(f"one base is needed, not {len(base)}. See 'expand.base'.")
        for number, (name, step) in enumerate(path.items(), 1):
            before = f"step{number - 1}" if number > 1 else base[0]
            if name != f"step{number}":
                raise ValueError(f"step {number} is named '{name}'. Name it step{number}.")
            if step.after != before:
                raise ValueError(f"{name} comes after {before}, not after '{step.after}'.")
        return path

    @field_validator("axes", "seeds")
    @classmethod
    def _are_several(
        cls, found: tuple[str | int, ...], others: ValidationInfo
    ) -> tuple[str | int, ...]:
        if others.data.get("path") and not found:
            raise ValueError("empty, and the path has steps. Add one.")
        if twice := [one for one in found if found.count(one) > 1]:
            raise ValueError(f"{twice[0]} is there twice. Delete one.")
        return found

    @field_validator("latency", "space")
    @classmethod
    def _belongs_to_ms(cls, file: str, others: ValidationInfo) -> str:
        budget = others.data.get("budget")
        if budget == "ms" and file == UNTIMED:
            raise ValueError("budget ms needs a latency table: make one with `autox3d profile`.")
        if budget is not None and budget != "ms" and file != UNTIMED:
            raise ValueError(f"{file} has no use with budget {budget}: write {UNTIMED}.")
        return file

    @field_validator("candidate")
    @classmethod
    def _is_named(cls, entry: str | None, others: ValidationInfo) -> str | None:
        if others.data.get("path") and entry is None:
            raise ValueError("null, and the path has steps. Name an entry of train.")
        return entry

    @field_validator("targets")
    @classmethod
    def _need_a_path(cls, targets: dict[str, float], others: ValidationInfo) -> dict[str, float]:
        if targets and "path" in others.data and not others.data["path"]:
            raise ValueError("there is no path that could reach them. See 'expand.path'.")
        return targets

    @field_validator("contract")
    @classmethod
    def _reduce(cls, axes: tuple[Reduction, ...], others: ValidationInfo) -> tuple[Reduction, ...]:
        if others.data.get("targets") and "last" not in axes:
            raise ValueError("the axis of the last step is always tried. Add last.")
        return axes


NO_EXPANSION = {  # as settings have it
    "base": {},
    "path": {},
    "axes": [],
    "seeds": [],
    "rate": 2.0,
    "budget": "gmacs",
    "latency": UNTIMED,
    "space": UNTIMED,
    "memory_mb": None,
    "candidate": None,
    "regularise": {"rule": "steps", "most": None, "levels": []},
    "targets": {},
    "contract": ["last"],
}
