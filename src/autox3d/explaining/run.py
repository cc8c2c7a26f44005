"""Heat maps for a few clips: typical correct answers, and classes that are confused most.

N videos, C classes, T frames, S x S pixels
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autox3d.core.records import ConfusedPair, ExplainedClip, Explanation
from autox3d.core.settings import Evaluate, Explain
from autox3d.evaluation.run import video_scores
from autox3d.explaining.gradcam import grad_cam
from autox3d.explaining.sheet import jpeg, sheet, shown
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import VideoViews, test_frames
from autox3d.vision.models.weights import Trained

CENTRE = Fraction(1, 2)  # the clip in the middle of the video


class Answers(NamedTuple):
    """What the network said of the videos of a split; N videos, C classes."""

    keys: list[str]
    labels: np.ndarray  # (N,), -1: none
    predicted: np.ndarray  # (N,)
    sureness: np.ndarray  # (N,), score of the predicted class

    @property
    def right(self) -> np.ndarray:
        """(N,), true also where there is no label to be wrong about."""
        return (self.labels < 0) | (self.labels == self.predicted)

    def surest(self, of: np.ndarray) -> int | None:
        """The video with the highest score, of those marked; the first of equals."""
        return int(np.where(of, self.sureness, -1.0).argmax()) if of.any() else None


class Pair(NamedTuple):
    """Two classes, and how often one is taken for the other."""

    actual: int
    predicted: int
    videos: int


def explanation(
    trained: Trained, clips: Clips, table: pd.DataFrame, tests: Evaluate, counts: Explain
) -> Explanation:
    """Typical correct answers and the pairs of classes confused most, each with its heat maps.

    Args:
        table: scores of every view, as stage `evaluate` writes them
    """
    keys = sorted(set(table["key"]))
    given = answers(*video_scores(table, clips, "lcr", max(tests.clips), tests), keys)

    def explained(videos: Sequence[int | None]) -> tuple[ExplainedClip, ...]:
        known = [video for video in videos if video is not None]
        return tuple(explain(trained, clips, tests, given, video) for video in known)

    return Explanation(
        net=trained.genotype.name,
        split=tests.split,
        right=explained(typical(given, counts.videos)),
        confused=tuple(
            ConfusedPair(
                actual=trained.classes[pair.actual],
                predicted=trained.classes[pair.predicted],
                videos=pair.videos,
                of=int((given.labels == pair.actual).sum()),
                clips=explained(example(given, pair)),
            )
            for pair in confused(given, counts.pairs)
        ),
    )


def answers(scores: np.ndarray, labels: np.ndarray, keys: list[str]) -> Answers:
    """From (N, C) scores."""
    return Answers(keys, labels, scores.argmax(1), scores.max(1))


def typical(given: Answers, count: int) -> list[int]:
    """The surest right answer of each class; of many classes, some from first to last."""
    good = [given.surest(given.right & (given.predicted == c)) for c in np.unique(given.predicted)]
    found = [video for video in good if video is not None]
    picked = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    return [found[i] for i in picked]


def confused(given: Answers, count: int) -> list[Pair]:
    """The pairs with most videos, largest first."""
    wrong = ~given.right
    both = np.stack([given.labels[wrong], given.predicted[wrong]], 1)
    pairs, videos = np.unique(both, axis=0, return_counts=True)
    order = np.argsort(-videos, kind="stable")[:count]
    return [Pair(int(pairs[i, 0]), int(pairs[i, 1]), int(videos[i])) for i in order]


def example(given: Answers, pair: Pair) -> list[int | None]:
    """The surest mistake, and the surest right answer of the class that it was taken for."""
    taken = given.predicted == pair.predicted
    return [
        given.surest(taken & (given.labels == pair.actual)),
        given.surest(taken & (given.labels == pair.predicted)),
    ]


def explain(
    trained: Trained, clips: Clips, tests: Evaluate, given: Answers, video: int
) -> ExplainedClip:
    """One video: its centre clip, lit for the answer and, where that is wrong, for the truth."""
    row = int(np.flatnonzero(clips.keys == given.keys[video].encode())[0])
    clip = centre_clip(trained, clips, tests, row)
    predicted, actual = int(given.predicted[video]), int(given.labels[video])
    asked = [predicted] if given.right[video] else [predicted, actual]
    maps = evidence(trained, clip, asked)
    by_frame = maps[0].sum((1, 2))
    share = by_frame / by_frame.sum().clamp_min(torch.finfo(by_frame.dtype).tiny)
    return ExplainedClip(
        key=given.keys[video],
        actual=trained.classes[actual] if actual >= 0 else None,
        predicted=trained.classes[predicted],
        score=float(given.sureness[video]),
        lit=tuple(trained.classes[c] for c in asked),
        by_frame=tuple(round(part, 6) for part in share.tolist()),
        shown=tuple(shown(len(clip)).tolist()),
        picture=base64.b64encode(jpeg(sheet(clip, list(maps)))).decode(),
    )


def centre_clip(trained: Trained, clips: Clips, tests: Evaluate, row: int) -> Tensor:
    """uint8 (T, S, S, 3)."""
    spec = trained.genotype.input
    times, frames = test_frames(clips.video(row), [CENTRE], spec, tests.sampling)
    views = VideoViews(row, "center", spec.crop, (CENTRE,), times, frames)
    return views.clips[0]


def evidence(trained: Trained, clip: Tensor, classes: list[int]) -> Tensor:
    """(len(classes), T, H, W): what speaks for each class behind the network's last group."""
    net = trained.net
    views = normalise(clip.expand(len(classes), *clip.shape))
    return grad_cam(net.attention[-1], lambda x: net(x).mean(1), views, torch.tensor(classes))
