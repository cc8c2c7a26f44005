"""Inference for boxes of a video file: who does what, where and when.

A boxes at a moment, T frames, S x S pixels, C classes
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autox3d.inference.files import FileVideo
from autox3d.inference.network import CROPS, Network, best
from autox3d.inference.stream import RATE, small
from autox3d.ingest.source import BadVideo
from autox3d.vision.clips import views
from autox3d.vision.clips.views import Crops
from autox3d.vision.tasks.boxes import areas, within

Corners = tuple[float, float, float, float]  # x1, y1, x2, y2: shares of the frame's sides


class Asked(NamedTuple):
    """A box of a video."""

    second: float
    corners: Corners


class Answer(NamedTuple):
    """What a network says of a box."""

    second: float
    corners: Corners
    scores: Tensor  # float32 (C,)

    def top(self, classes: list[str], count: int = 5) -> list[tuple[str, float]]:
        """The classes with the best scores, best first."""
        return best(self.scores, classes, count)


class BoxesPrediction(NamedTuple):
    """The answers for the boxes of one video, in order of time."""

    path: Path
    classes: list[str]
    answers: list[Answer]
    lost: str = ""  # what is missing from the file, or damaged in it; empty for a whole file


def predict(
    network: Network, path: Path, asked: Iterable[Asked], crops: Crops = CROPS
) -> BoxesPrediction:
    """Scores boxes of a video file, each by the clip around its moment.

    Args:
        crops: "lcr": each box by the one of three squares along the longer side that shows most of
            it; "center": all by the square in the middle, as in a test

    Raises:
        BadVideo: the file has nothing that decodes, or ends before a box.
    """
    spec, video = network.input, FileVideo(path, RATE)
    by_moment: dict[float, list[Corners]] = {}
    for one in sorted(asked):
        by_moment.setdefault(one.second, []).append(one.corners)
    end = Fraction(video.count) / RATE
    if by_moment and (last := max(by_moment)) >= end:
        text = f"it ends at {float(end):.2f} s, and a box is asked for at {last:g} s"
        raise BadVideo("truncated", text)
    answers = []
    moments = [floor(RATE * second + 0.5) for second in by_moment]
    clips = _clips(video, moments, spec.frames, spec.stride, spec.short)
    for (second, boxes), frames in zip(by_moment.items(), clips, strict=True):
        scores = _scores(network, frames, np.array(boxes), crops)
        pairs = zip(boxes, scores, strict=True)
        answers += [Answer(second, corners, own) for corners, own in pairs]
    return BoxesPrediction(path, network.classes, answers, video.lost())


def _clips(
    video: FileVideo, moments: Sequence[int], frames: int, stride: int, short: int
) -> Iterable[Tensor]:
    """Yields the clip around each moment, uint8 (T, H, W, 3); the file is decoded once."""
    times = [
        views.clamp(views.frames_around(moment, frames, stride, RATE), video.count)
        for moment in moments
    ]
    shown = video.play(np.unique(np.concatenate(times))) if times else iter(())
    kept: dict[int, Tensor] = {}
    for mine in times:
        kept = {time: frame for time, frame in kept.items() if time >= mine[0]}
        while mine[-1] not in kept:
            time, frame = next(shown)
            kept[time] = small(frame, short)
        yield torch.stack([kept[time] for time in mine.tolist()])


def _scores(network: Network, frames: Tensor, boxes: np.ndarray, crops: Crops) -> Tensor:
    """Scores of the boxes of a moment, (A, 4) in the whole frame -> float32 (A, C)."""
    (height, width), side = frames.shape[1:3], network.input.short
    squares = [views.test_box(height, width, one, side) for one in views.crop_sides(crops)]
    seen = np.stack([within(boxes, views.share(one, height, width)) for one in squares])
    visible = areas(seen) * side**2  # (squares, A), px
    middle = len(squares) // 2
    order = np.roll(np.arange(len(squares)), -middle)  # of equal ones that in the middle
    chosen = order[visible[order].round(3).argmax(0)]
    scores = torch.empty(len(boxes), len(network.classes))
    for number in np.unique(chosen).tolist():
        box, own = squares[number], np.flatnonzero(chosen == number)
        clip = frames[:, box.top : box.top + side, box.left : box.left + side]
        scores[own] = network.score_boxes(clip, torch.from_numpy(seen[number, own]).float())
    return scores
