"""Frozen values that settings, architecture files and the library share; each checks itself.

The library takes these and never a section of params.yaml, so that it can be called without one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from autox3d.core.schema import table

Count = Annotated[int, Field(gt=0)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # of what is left out: something must remain


@table
class ClipSpec:
    """The clips that a network is made for."""

    frames: Count  # T, of a clip
    stride: Count  # source frames at 30 fps from one clip frame to the next
    crop: Count  # px, the square that training sees
    short: Count  # px, the shorter side in tests; also the side of the left-centre-right crops


@table
class Sampling:
    """How a training clip is cut from a video."""

    jitter: tuple[Count, Count]  # px, range of the shorter side before the crop
    flip: bool  # off where labels know left from right
    autoaugment: bool  # ImageNet's policy, the same for all frames of a clip
    rule: Literal["linspace", "stride"]  # which frames: see vision/clips/views.py
    repeats: Count  # clips of each video that a batch has, out of one decode (arXiv:1902.05509)


@table
class Encoding:
    """How every video is checked and encoded once, for sparse random access.

    The shape of pixels is ignored on purpose. `crf` 24 with `tune` "fastdecode,psnr" is a small
    variant, where disk counts more than pixels.
    """

    short: Count  # px, the shorter side; longer than any training jitter, or upscaled later
    fps: Count  # constant frame rate of the clips
    crf: Whole  # x264 quality, lower is better
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow"]
    tune: str  # of x264; fastdecode is CAVLC without a loop filter
    keyint: Count  # frames from key frame to key frame
    bframes: Whole  # disposable frames between references
    max_pixels: Count  # a larger frame is refused before it costs memory
    max_seconds: Positive  # a longer video is refused: cut it first
    timeout: Positive  # s, for one video
    memory_mb: Count  # of address space, for one decoder or encoder
    min_share: Share  # of a video's declared duration that must decode
    max_lost: Share  # of a shard's videos that may be refused before the stage stops
