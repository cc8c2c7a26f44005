"""Which frames and which pixels of a video make a clip. Pure arithmetic, numpy at most.

    T     frames of a clip
    tau   its stride: source frames at 30 a second between two clip frames
    N     frames of the video
    c     span of the clip in source frames, T * tau / 30 * rate
    s     where the clip starts, a source frame, not always whole
    K     clips along the time of a test video
    K-Center, K-LCR   views of a test video: K clips by one centre crop, or by three crops at the
                      left (top), centre and right (bottom) of its longer side

The formulas are those of X3D (arXiv:2004.04730, section 4.3) and of its published code. Frames
are taken at constant rate, so that a time is a frame number. Everything exact stays a Fraction:
equal starts are equal keys, and what is shared between settings is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

FramesRule = Literal["linspace", "stride"]
StartsRule = Literal["ends", "starts"]
Crops = Literal["center", "lcr"]
Side = Literal["left", "center", "right"]

K_CURVE = (1, 3, 5, 7, 10)  # clips a video in the curves of accuracy over cost (X3D, Figure 3)
NOMINAL_RATE = 30  # frames a second in which strides are counted


class Box(NamedTuple):
    """A square of pixels: rows [top, top + side), columns [left, left + side)."""

    top: int
    left: int
    side: int


class View(NamedTuple):
    """One view of a test video."""

    place: Fraction  # of the clip's start: 0 is the video's beginning, 1 the last start that fits
    side: Side  # of the crop along the longer side; "left" is the top of an upright video


def span(frames: int, stride: int, rate: Fraction | int) -> Fraction:
    """c, the source frames that a clip covers at `rate` frames a second."""
    return Fraction(frames * stride) * rate / NOMINAL_RATE


def clip_frames(
    start: Fraction | float, frames: int, stride: int, rate: Fraction | int, rule: FramesRule
) -> np.ndarray:
    """(T,) int64 source frames of a clip, not yet clamped to the video.

    `linspace` spreads T frames over [s, s + c - 1], both ends included (the published code: the
    true stride of 13x6 is then 6.42); `stride` takes every tau-th frame, as the papers say it.
    """
    c = span(frames, stride, rate)
    step = c / frames if rule == "stride" else (c - 1) / max(frames - 1, 1)
    if isinstance(start, Fraction):
        return np.array([math.floor(start + i * step) for i in range(frames)], np.int64)
    return np.floor(start + np.arange(frames) * float(step)).astype(np.int64)


def clamp(indices: np.ndarray, count: int) -> np.ndarray:
    """A video shorter than its clip repeats its last frame."""
    return np.clip(indices, 0, count - 1)


def last_start(count: int, c: Fraction) -> Fraction:
    """max(N - c, 0), the last start at which a clip still fits."""
    return max(count - c, Fraction(0))


def train_start(count: int, c: Fraction, rng: np.random.Generator) -> float:
    """Uniform in [0, max(N - c, 0)]."""
    return rng.uniform(0.0, float(last_start(count, c)))


def test_places(clips: int, rule: StartsRule) -> tuple[Fraction, ...]:
    """Where the K clips of a test video start, as shares of the last start that fits.

    `ends` covers beginning and end, and one clip the centre, as X3D 4.3 describes it: k / (K - 1).
    `starts` is the other rule in use, which never reaches the end: k / K.
    """
    if rule == "starts":
        return tuple(Fraction(k, clips) for k in range(clips))
    if clips == 1:
        return (Fraction(1, 2),)
    return tuple(Fraction(k, clips - 1) for k in range(clips))


def union_places(clips: Iterable[int], rule: StartsRule) -> tuple[Fraction, ...]:
    """Every place that any of the given K needs, once, in order of time."""
    return tuple(sorted({place for k in clips for place in test_places(k, rule)}))


def crop_sides(crops: Crops) -> tuple[Side, ...]:
    return ("center",) if crops == "center" else ("left", "center", "right")


def test_frame(height: int, width: int, short: int) -> tuple[int, int]:
    """Height and width of a test video whose shorter side is made `short` px.

    The longer side is rounded down, as in the published code.
    """
    return short * height // min(height, width), short * width // min(height, width)


def test_box(height: int, width: int, side: Side, size: int) -> Box:
    """A square of `size` px out of a resized frame; half a pixel goes right, or down.

    It moves along the longer side, and stays in the middle of the other.
    """
    top, left = (height - size + 1) // 2, (width - size + 1) // 2
    if side != "center" and height > width:
        top = 0 if side == "left" else height - size
    elif side != "center":
        left = 0 if side == "left" else width - size
    return Box(top, left, size)


def test_size(crops: Crops, short: int, crop: int) -> int:
    """px, the side of a test view: LCR are squares as large as the shorter side."""
    return crop if crops == "center" else short


def train_box(
    height: int, width: int, jitter: tuple[int, int], crop: int, rng: np.random.Generator
) -> Box:
    """The source pixels of a training crop.

    The shorter side is jittered to a whole number of pixels in `jitter`, ends included, and a
    square of `crop` px is cut anywhere; here both at once, at the source's own size.
    """
    shorter = min(height, width)
    scaled = int(rng.integers(jitter[0], jitter[1], endpoint=True))
    size = min(shorter, max(1, round(Fraction(shorter * crop, scaled))))
    top = int(rng.integers(0, height - size, endpoint=True))
    left = int(rng.integers(0, width - size, endpoint=True))
    return Box(top, left, size)
