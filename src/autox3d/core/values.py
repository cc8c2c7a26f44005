"""Frozen values that settings, architecture files and the library share; all are validated.

The library takes these instead of sections of params.yaml, so that it can be used without one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from autox3d.core.schema import table

Count = Annotated[int, Field(gt=0)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # below 1: something must be left over
Axis = Literal["fast", "temporal", "spatial", "depth", "width", "bottleneck"]  # of an expansion
CountedUnit = Literal["gmacs", "params", "memory"]  # of a cost that follows from the genotype


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
    drop_connect: Rate  # of the last blocks; see sizing/regularisation.py for the others
