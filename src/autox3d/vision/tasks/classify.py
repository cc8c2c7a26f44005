"""Classification with one label per video: softmax, cross-entropy, top-1 and top-5.

B clips, P positions of the head's window, C classes, N videos, V views of a video
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from autox3d.core.curves import Pair
from autox3d.vision.tasks.metric import Metric
from autox3d.vision.tasks.task import Task

if TYPE_CHECKING:  # prediction needs no pandas
    import pandas as pd

# The mean of top-1 and top-5 is what Kinetics' test server reports (X3D 4.2).
METRICS = (
    Metric("top1", "top-1", percent=True),
    Metric("top5", "top-5", percent=True, of_best=5),
    Metric("mean", "mean of top-1 and top-5", percent=True, shown=False),
)


def target(rows: pd.DataFrame) -> np.ndarray:
    """The class number of each video, (N,) int64; -1 if it has no label."""
    return rows["label"].to_numpy(np.int64, copy=True)


def labelled(labels: np.ndarray) -> np.ndarray:
    """Whether each video has a label, (N,) bool."""
    return labels >= 0


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the logits' mean over the positions, in nats, summed over the clips."""
    return F.cross_entropy(logits.mean(1), target, reduction="sum")


def correct(logits: Tensor, target: Tensor) -> Tensor:
    """Whether the class with the highest mean logit is correct, (B,) bool."""
    return logits.mean(1).argmax(1) == target


def scores(logits: Tensor) -> Tensor:
    """Softmax at each position, averaged over positions: (B, P, C) -> (B, C); rows sum to 1."""
    return logits.softmax(2).mean(1)


def merge(views: np.ndarray) -> np.ndarray:
    """The mean score over the views of a video: (V, C) -> (C,)."""
    return views.mean(0)


def measure(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Top-1 and top-5 accuracy over the labelled videos, and their mean; NaN without any label.

    Among equal scores the lower class number wins, so that the result does not depend on the sort.
    """
    known = labelled(labels)
    if not known.any():
        return dict.fromkeys((metric.name for metric in METRICS), float("nan"))
    order = np.argsort(-scores[known], axis=1, kind="stable")
    hits = order == labels[known, None]
    top1, top5 = float(hits[:, 0].mean()), float(hits[:, :5].any(1).mean())
    return {"top1": top1, "top5": top5, "mean": (top1 + top5) / 2}


def by_class(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The top-1 accuracy of each class, (C,); NaN for a class without videos."""
    known = labelled(labels)
    best = np.argsort(-scores[known], axis=1, kind="stable")[:, 0]
    own = labels[known, None] == np.arange(scores.shape[1])
    with np.errstate(invalid="ignore"):
        return (own & (best == labels[known])[:, None]).sum(0) / own.sum(0)


def outcome(scores: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[Pair]:
    """The true class and the predicted class of each labelled video."""
    best = scores.argmax(1)
    return [
        Pair(classes[int(label)], classes[int(predicted)])
        for label, predicted in zip(labels.tolist(), best.tolist(), strict=True)
        if label >= 0
    ]


TASK = Task(
    name="classify",
    metrics=METRICS,
    columns=("label",),
    target=target,
    labelled=labelled,
    loss=loss,
    correct=correct,
    scores=scores,
    merge=merge,
    measure=measure,
    by_class=by_class,
    outcome=outcome,
)
