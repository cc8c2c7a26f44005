"""Heat maps of typical correct answers and of the most confused classes, and the worst mistakes.

Where boxes are asked about, the videos are the annotated boxes that a proposal meets.

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

from autox3d.core.records import ConfusedPair, ExplainedClip, Explanation, WrongVideo
from autox3d.core.settings import Evaluate, Explain
from autox3d.evaluation.run import main_scores
from autox3d.explaining.gradcam import grad_cam
from autox3d.explaining.sheet import framed, jpeg, sheet, shown
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import Decoded, frames_at, shown_in_tests
from autox3d.vision.models.weights import Trained

LEAST = 1e-9  # of a score, so that its logarithm is a number
WRONG_FRAMES = 4  # frames of a wrong video that are shown
CENTRE = Fraction(1, 2)  # the clip in the middle of the video


class Predictions(NamedTuple):
    """The predictions of a network for the videos of a split; N videos."""

    keys: list[str]
    labels: np.ndarray  # (N,), -1 where a video has no label
    predicted: np.ndarray  # (N,)
    confidence: np.ndarray  # (N,), the score of the predicted class
    loss: np.ndarray  # (N,) nats, by the score of the labelled class; 0 without a label
    boxes: np.ndarray | None = None  # (N, 4) shares of the whole frame

    @property
    def correct(self) -> np.ndarray:
        """(N,), whether each prediction is correct; true also for a video without a label."""
        return (self.labels < 0) | (self.labels == self.predicted)

    def most_confident(self, marked: np.ndarray) -> int | None:
        """The video with the highest score, of those marked; the first of equals."""
        return int(np.where(marked, self.confidence, -1.0).argmax()) if marked.any() else None


class Pair(NamedTuple):
    """Two classes, and how many videos of one are predicted as the other."""

    actual: int
    predicted: int
    videos: int


def explanation(
    trained: Trained, clips: Clips, table: pd.DataFrame, tests: Evaluate, counts: Explain
) -> Explanation:
    """Heat maps of typical correct predictions, and of the pairs of classes confused most.

    Args:
        table: the scores of every view, as stage `evaluate` writes them
    """
    predictions = of_videos(table, clips, tests)

    def explained(videos: Sequence[int | None]) -> tuple[ExplainedClip, ...]:
        known = [video for video in videos if video is not None]
        return tuple(explain(trained, clips, tests, predictions, video) for video in known)

    return Explanation(
        net=trained.genotype.name,
        split=tests.split,
        right=explained(typical(predictions, counts.videos)),
        confused=tuple(
            ConfusedPair(
                actual=trained.classes[pair.actual],
                predicted=trained.classes[pair.predicted],
                videos=pair.videos,
                of=int((predictions.labels == pair.actual).sum()),
                clips=explained(example(predictions, pair)),
            )
            for pair in confused(predictions, counts.pairs)
        ),
        wrong=tuple(
            wrong_video(trained, clips, tests, predictions, video)
            for video in worst(predictions, counts.wrong)
        ),
    )


def of_videos(table: pd.DataFrame, clips: Clips, tests: Evaluate) -> Predictions:
    """The predictions of a test, from the scores of every view."""
    keys = sorted(set(table["key"]))
    scores, labels = main_scores(table, clips, tests)
    if clips.task.boxed is None:
        return predict(scores, clips.task.nearest(scores, labels), keys)
    found = clips.task.boxed.met(scores, labels)
    nearest = clips.task.nearest(found.scores, found.labels)
    made = predict(found.scores, nearest, [keys[clip] for clip in found.clips])
    return made._replace(boxes=found.corners)


def predict(scores: np.ndarray, labels: np.ndarray, keys: list[str]) -> Predictions:
    """The predictions from (N, C) scores and (N,) labels."""
    own = scores[np.arange(len(scores)), np.maximum(labels, 0)]
    loss = np.where(labels < 0, 0.0, -np.log(np.maximum(own, LEAST)))
    return Predictions(keys, labels, scores.argmax(1), scores.max(1), loss)


def typical(predictions: Predictions, count: int) -> list[int]:
    """The most confident correct video of each of `count` classes, evenly spaced."""
    best = [
        predictions.most_confident(predictions.correct & (predictions.predicted == c))
        for c in np.unique(predictions.predicted)
    ]
    videos = [video for video in best if video is not None]
    picked = np.linspace(0, len(videos) - 1, min(count, len(videos))).round().astype(int)
    return [videos[i] for i in picked]


def confused(predictions: Predictions, count: int) -> list[Pair]:
    """The pairs of classes with the most confused videos, largest first."""
    wrong = ~predictions.correct
    both = np.stack([predictions.labels[wrong], predictions.predicted[wrong]], 1)
    pairs, videos = np.unique(both, axis=0, return_counts=True)
    order = np.argsort(-videos, kind="stable")[:count]
    return [Pair(int(pairs[i, 0]), int(pairs[i, 1]), int(videos[i])) for i in order]


def worst(predictions: Predictions, count: int) -> list[int]:
    """The wrong videos with the largest loss, the largest first; wrong labels are among them."""
    wrong = np.flatnonzero(~predictions.correct)
    order = np.argsort(-predictions.loss[wrong], kind="stable")[:count]
    return wrong[order].tolist()


def example(predictions: Predictions, pair: Pair) -> list[int | None]:
    """The most confident mistake, and the most confident correct video of the predicted class."""
    matching = predictions.predicted == pair.predicted
    return [
        predictions.most_confident(matching & (predictions.labels == pair.actual)),
        predictions.most_confident(matching & (predictions.labels == pair.predicted)),
    ]


def wrong_video(
    trained: Trained, clips: Clips, tests: Evaluate, predictions: Predictions, video: int
) -> WrongVideo:
    """What a network says of a video that it gets wrong, with a few frames of it."""
    clip, box = centre_clip(trained, clips, tests, predictions, video)
    clip = clip if box is None else framed(clip, box)
    few = np.linspace(0, len(clip) - 1, min(len(clip), WRONG_FRAMES)).round().astype(int)
    return WrongVideo(
        key=predictions.keys[video],
        actual=trained.classes[predictions.labels[video]],
        predicted=trained.classes[predictions.predicted[video]],
        score=float(predictions.confidence[video]),
        loss=float(predictions.loss[video]),
        picture=base64.b64encode(jpeg(sheet(clip[few], []))).decode(),
    )


def explain(
    trained: Trained, clips: Clips, tests: Evaluate, predictions: Predictions, video: int
) -> ExplainedClip:
    """Heat maps of the centre clip of a video: for the prediction, and for the label if wrong."""
    clip, box = centre_clip(trained, clips, tests, predictions, video)
    predicted, actual = int(predictions.predicted[video]), int(predictions.labels[video])
    shown_classes = [predicted] if predictions.correct[video] else [predicted, actual]
    maps = evidence(trained, clip, shown_classes, box)
    clip = clip if box is None else framed(clip, box)
    by_frame = maps[0].sum((1, 2))
    share = by_frame / by_frame.sum().clamp_min(torch.finfo(by_frame.dtype).tiny)
    return ExplainedClip(
        key=predictions.keys[video],
        actual=trained.classes[actual] if actual >= 0 else None,
        predicted=trained.classes[predicted],
        score=float(predictions.confidence[video]),
        lit=tuple(trained.classes[c] for c in shown_classes),
        by_frame=tuple(round(part, 6) for part in share.tolist()),
        shown=tuple(shown(len(clip)).tolist()),
        picture=base64.b64encode(jpeg(sheet(clip, list(maps)))).decode(),
    )


def centre_clip(
    trained: Trained, clips: Clips, tests: Evaluate, predictions: Predictions, video: int
) -> tuple[Tensor, Tensor | None]:
    """The centre clip of a video, uint8 (T, S, S, 3), and the box in it that is asked about, (4,).

    Without boxes there is none.
    """
    row = int(np.flatnonzero(clips.keys == predictions.keys[video].encode())[0])
    spec = shown_in_tests(clips.task, trained.genotype.input)
    times, frames = frames_at(clips.video(row), [CENTRE], spec, tests.sampling, clips.moment(row))
    own = None if predictions.boxes is None else predictions.boxes[video, None]
    views = Decoded(row, (CENTRE,), times, frames, own).views("center", spec)
    return views.clips[0], None if own is None else views.boxes[0, 0]


def evidence(
    trained: Trained, clip: Tensor, classes: list[int], box: Tensor | None = None
) -> Tensor:
    """The evidence for each class after the last group of blocks, (len(classes), T, H, W).

    Of two streams it is the sum; a frame of the sparse one counts for all frames that it stands
    for, in equal parts.
    """
    net, found = trained.net, torch.zeros(())
    views = normalise(clip.expand(len(classes), *clip.shape))
    boxes = None if box is None else box.expand(len(classes), 1, 4)
    ends = {step.stream: step.number for step in net.steps if not step.fuses}
    for stream, number in ends.items():
        every, last = net.every[stream], net.attention[number]
        maps = grad_cam(last, lambda x: net(x, boxes).mean(1), views, torch.tensor(classes))
        found = found + maps.repeat_interleave(every, 1) / every
    return found
