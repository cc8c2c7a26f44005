"""Clips of any video file as it plays: one decode, and memory for one clip however long it is.

T frames of a clip, c its span, N frames of the video; all at `RATE` frames a second
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import repeat
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autox3d.video import source, views
from autox3d.video.files import MAX_TICKS, nearest, pixels, timed
from autox3d.video.transform import resized
from autox3d.video.views import NOMINAL_RATE as RATE
from autox3d.video.views import FramesRule


class Window(NamedTuple):
    """One clip of a video."""

    begin: float  # s
    end: float  # s
    frames: Tensor  # uint8 (T, H, W, 3)


def windows(
    path: Path, clips: int, frames: int, stride: int, short: int, rule: FramesRule
) -> Iterator[Window]:
    """At least `clips` clips of a video, and as many as leave no gap between them, in order.

    Up to a length of `clips` spans they lie where test clips do (`views.test_places`, `ends`).
    Where a file does not know its length they follow each other; the last one ends with the video.

    Raises:
        BadVideo: nothing to decode in it.
    """
    c = views.span(frames, stride, RATE)
    seconds = source.probe(path).seconds
    room = views.last_start(nearest(Fraction(seconds or 0) * RATE), c)
    hop = min(room / (clips - 1), c) if room and clips > 1 else c
    kept: deque[Tensor] = deque(maxlen=ceil(c) + 1)
    count, covered = 0, Fraction(0)

    def window(start: Fraction) -> Window:
        times = views.clamp(views.clip_frames(start, frames, stride, RATE, rule), count)
        seen = torch.stack([kept[time - count] for time in times.tolist()])
        return Window(float(start / RATE), float(min(start + c, count) / RATE), seen)

    start = Fraction(0)
    for frame in at_rate(path, short):
        kept.append(frame)
        count += 1
        while start + c <= count:
            yield window(start)
            covered = start + c
            start += hop
    if covered < count:
        yield window(views.last_start(count, c))


def at_rate(path: Path, short: int) -> Iterator[Tensor]:
    """uint8 (H, W, 3): what is on display at each tick of a clock of `RATE`, upright.

    The frames are those of `decode.FileVideo`, the shorter side resized to `short` px.
    """
    with source.opened(path) as (container, stream):
        first = tick = 0
        size, frame, end = None, None, Fraction(0)
        for time, step, new in timed(container, stream, RATE):
            due = nearest(time * RATE)
            if size is None:
                size, first, tick = (new.height, new.width), due, due
            if due - first > MAX_TICKS:
                raise source.BadVideo("too_long", f"its time stamps span {due - first} frames")
            if frame is not None and due > tick:
                yield from repeat(_small(pixels(frame, size), short), due - tick)
            frame, tick, end = new, due, (time + step) * RATE
        if frame is None or size is None:
            raise source.BadVideo("undecodable", "not one frame decodes")
        last = max(nearest(end), first + 1)
        yield from repeat(_small(pixels(frame, size), short), last - tick)


def _small(frame: np.ndarray, short: int) -> Tensor:
    """uint8 (H, W, 3), its shorter side `short` px."""
    height, width = views.test_frame(frame.shape[0], frame.shape[1], short)
    return resized(torch.from_numpy(frame.copy())[None], height, width)[0]
