"""The frames and pixels of a video that make a clip, as pure arithmetic without torch.

    T     frames of a clip
    tau   its stride: source frames at 30 a second between two clip frames
    N     frames of the video
    c     span of the clip in source frames, T * tau / 30 * rate
    s     where the clip starts, a source frame, not always whole
    K     clips along the time of a test video
    K-Center, K-LCR   views of a test video: K clips by one centre crop, or by three crops at the
                      left (top), centre and right (bottom) of its longer side

The formulas are those of X3D (arXiv:2004.04730, section 4.3) and of its published code. Videos
have a constant frame rate, so that a time is a frame number. Exact values are Fractions: equal
starts are equal keys, and clips that several settings share are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from autox3d.core.errors import Refused
from autox3d.core.values import MARGIN
from autox3d.vision.tasks.boxes import Crop

FramesRule = Literal["linspace", "stride"]
StartsRule = Literal["ends", "starts"]
Crops = Literal["center", "lcr"]
Side = Literal["left", "center", "right"]

K_CURVE = (1, 3, 5, 7, 10)  # clips per video in curves of accuracy over cost (X3D, Figure 3)
NOMINAL_RATE = 30  # frames per second to which strides refer


class Box(NamedTuple):
    """A square of pixels: rows [top, top + side), columns [left, left + side)."""

    top: int
    left: int
    side: int


class View(NamedTuple):
    """One view of a test video."""

    place: Fraction  # start of the clip: 0 is the beginning, 1 the last start that fits
    side: Side  # of the crop along the longer side; "left" is the top in a portrait video


def span(frames: int, stride: int, rate: Fraction | int) -> Fraction:
    """The number of source frames that a clip covers, c, at `rate` frames per second."""
    return Fraction(frames * stride) * rate / NOMINAL_RATE


def clip_frames(
    start: Fraction | float, frames: int, stride: int, rate: Fraction | int, rule: FramesRule
) -> np.ndarray:
    """The source frames of a clip, (T,) int64, before `clamp`.

    `linspace` distributes T frames over [s, s + c - 1], both ends included, as the published code
    does (13x6 then has a true stride of 6.42). `stride` takes every tau-th frame, as in the
    papers.
    """
    c = span(frames, stride, rate)
    step = c / frames if rule == "stride" else (c - 1) / max(frames - 1, 1)
    if isinstance(start, Fraction):
        return np.array([math.floor(start + i * step) for i in range(frames)], np.int64)
    return np.floor(start + np.arange(frames) * float(step)).astype(np.int64)


def frames_around(moment: int, frames: int, stride: int, rate: Fraction | int) -> np.ndarray:
    """The source frames of a clip around a moment, (T,) int64, before `clamp`.

    They are tau apart, and the moment's is number T / 2 of them, as in SlowFast's detection.

    Raises:
        Refused: the clip reaches further than the pieces that films are cut into.
    """
    reach = frames // 2 * stride / NOMINAL_RATE
    if reach > MARGIN:
        raise Refused(
            f"a clip of {frames} frames, {stride} apart, reaches {reach:.1f} s from its moment, "
            f"and a film is kept for {MARGIN} s around one. Use fewer frames, or a smaller stride."
        )
    begin = moment - frames // 2 * Fraction(stride) * rate / NOMINAL_RATE
    return clip_frames(begin, frames, stride, rate, "stride")


def clamp(indices: np.ndarray, count: int) -> np.ndarray:
    """Clamps frame numbers to the video: one shorter than its clip repeats its last frame."""
    return np.clip(indices, 0, count - 1)


def last_start(count: int, c: Fraction) -> Fraction:
    """The last start at which a clip still fits: max(N - c, 0)."""
    return max(count - c, Fraction(0))


def train_start(count: int, c: Fraction, rng: np.random.Generator) -> float:
    """Samples the start of a training clip uniformly in [0, max(N - c, 0)]."""
    return rng.uniform(0.0, float(last_start(count, c)))


def test_places(clips: int, rule: StartsRule) -> tuple[Fraction, ...]:
    """The starts of the K clips of a test video, as fractions of the last start that fits.

    `ends` is the rule of X3D 4.3, k / (K - 1), from the beginning to the end; a single clip is at
    the centre. `starts`, the other rule in use, is k / K, and never reaches the end.
    """
    if rule == "starts":
        return tuple(Fraction(k, clips) for k in range(clips))
    if clips == 1:
        return (Fraction(1, 2),)
    return tuple(Fraction(k, clips - 1) for k in range(clips))


def union_places(clips: Iterable[int], rule: StartsRule) -> tuple[Fraction, ...]:
    """The distinct places that any of the given K needs, in order of time."""
    return tuple(sorted({place for k in clips for place in test_places(k, rule)}))


def crop_sides(crops: Crops) -> tuple[Side, ...]:
    """The sides of the crops: the centre, or left, centre and right."""
    return ("center",) if crops == "center" else ("left", "center", "right")


def test_frame(height: int, width: int, short: int) -> tuple[int, int]:
    """The height and width of a test video after resizing its shorter side to `short` px.

    The longer side is rounded down, as in the published code.
    """
    return short * height // min(height, width), short * width // min(height, width)


def test_box(height: int, width: int, side: Side, size: int) -> Box:
    """The crop of `size` px in a resized frame; half a pixel is rounded right, or down.

    `side` is its position along the longer side; along the other, it is centred.
    """
    top, left = (height - size + 1) // 2, (width - size + 1) // 2
    if side != "center" and height > width:
        top = 0 if side == "left" else height - size
    elif side != "center":
        left = 0 if side == "left" else width - size
    return Box(top, left, size)


def test_size(crops: Crops, short: int, crop: int) -> int:
    """The size of a test view in px; the crops of LCR are as large as the shorter side."""
    return crop if crops == "center" else short


def share(box: Box, height: int, width: int, *, flip: bool = False) -> Crop:
    """A crop of a frame of `height` and `width` px as shares of it."""
    sides = box.side / width, box.side / height
    return Crop(box.left / width, box.top / height, *sides, flip)


def train_box(
    height: int, width: int, jitter: tuple[int, int], crop: int, rng: np.random.Generator
) -> Box:
    """Samples the source pixels of a training crop.

    As in the papers, the shorter side is resized to a random whole number of pixels in `jitter`,
    ends included, and a square of `crop` px is cut at random. The box is that square at the
    source's own size, so that one resizing does both.
    """
    shorter = min(height, width)
    scaled = int(rng.integers(jitter[0], jitter[1], endpoint=True))
    size = min(shorter, max(1, round(Fraction(shorter * crop, scaled))))
    top = int(rng.integers(0, height - size, endpoint=True))
    left = int(rng.integers(0, width - size, endpoint=True))
    return Box(top, left, size)
