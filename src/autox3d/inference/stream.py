"""Reads the clips of any video file in one decode, with the memory of one clip.

T frames of a clip, c its span, N frames of the video; all at `RATE` frames a second
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autox3d.inference.files import FileVideo
from autox3d.ingest.source import MAX_PIXELS, BadVideo
from autox3d.vision.clips import views
from autox3d.vision.clips.transform import resized
from autox3d.vision.clips.views import NOMINAL_RATE as RATE
from autox3d.vision.clips.views import FramesRule


class Window(NamedTuple):
    """One clip of a video."""

    begin: float  # s
    end: float  # s
    frames: Tensor  # uint8 (T, H, W, 3)


def windows(
    path: Path, clips: int, frames: int, stride: int, short: int, rule: FramesRule
) -> Iterator[Window]:
    """Yields the clips of a video file; see `windows_of`.

    Raises:
        BadVideo: the video has nothing that decodes.
    """
    yield from windows_of(FileVideo(path, RATE), clips, frames, stride, short, rule)


def windows_of(
    video: FileVideo, clips: int, frames: int, stride: int, short: int, rule: FramesRule
) -> Iterator[Window]:
    """Yields at least `clips` clips of a video in order, and more to leave no gap between them.

    They are where that number of test clips would be (`views.test_places` with `ends`). A video
    that is shorter than a clip gives one clip.

    Beside the frames of three clips, resized, the memory is 17 bytes for each pixel of a frame, and
    the frames that the decoder keeps: at most 17 in all codecs of today, most often 2 to 5 (a pixel
    of 4:2:0 with 8 bits has 1.5 bytes). With the length of the video only the table of its frames
    grows, by 250 bytes a frame or less: 27 MB an hour.

    Raises:
        BadVideo: a frame does not decode, or is too narrow to be resized.
    """
    c = views.span(frames, stride, RATE)
    room = views.last_start(video.count, c)
    count = max(clips, 1 + ceil(room / c)) if room else 1
    starts = [place * room for place in views.test_places(count, "ends")]
    times = [
        views.clamp(views.clip_frames(start, frames, stride, RATE, rule), video.count)
        for start in starts
    ]
    shown = video.play(np.unique(np.concatenate(times)))
    kept: dict[int, Tensor] = {}
    for start, mine in zip(starts, times, strict=True):
        kept = {time: frame for time, frame in kept.items() if time >= mine[0]}
        while mine[-1] not in kept:
            time, frame = next(shown)
            kept[time] = small(frame, short)
        clip = torch.stack([kept[time] for time in mine.tolist()])
        yield Window(float(start / RATE), float(min(start + c, video.count) / RATE), clip)


def small(frame: np.ndarray, short: int) -> Tensor:
    """The frame, uint8 (H, W, 3), resized so that its shorter side has `short` pixels.

    Raises:
        BadVideo: it would have more pixels than any frame may have.
    """
    height, width = views.test_frame(frame.shape[0], frame.shape[1], short)
    if height * width > MAX_PIXELS:
        text = f"{frame.shape[1]}x{frame.shape[0]} pixels are too narrow to be resized"
        raise BadVideo("too_large", text)
    return resized(torch.from_numpy(frame.copy())[None], height, width)[0]
