"""Several labels a video, or none: sigmoid, binary cross-entropy, mean average precision.

    B clips, P positions of the head's window, C classes, N videos, V views of a video
    M most labels that a video of the table has; labels are class numbers, -1 behind the last one

Average precision as the script of Charades (Charades_v1_classify.m) has it: the mean of the
precision at the rank of each positive, without interpolation. Equal scores keep the order of the
videos. A video without any action ranks last in every class, where it changes no precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autox3d.core.curves import Pair
from autox3d.core.scores import PrecisionRecall
from autox3d.vision.tasks.metric import Metric
from autox3d.vision.tasks.task import POOLS, Task

if TYPE_CHECKING:  # prediction needs no pandas
    import pandas as pd

METRICS = (
    Metric("map", "mAP", percent=True, of_class="AP"),
    Metric("weighted_map", "weighted mAP", percent=True),
    Metric("chance", "mAP of a random order", percent=True, shown=False),
    Metric("left_out", "classes without positives", percent=False, shown=False),
)
ALWAYS = np.iinfo(np.int64).max // 2  # last frame of a label that has no end
WORST, POINTS = 4, 50  # classes whose precision over recall is kept, and most points of each


def target(rows: pd.DataFrame) -> np.ndarray:
    """The class numbers of each video, (N, M) int64; a class may be there more than once."""
    return _padded(rows["labels"], -1)


def active(rows: pd.DataFrame) -> np.ndarray:
    """The first and last frame at which each label holds, (N, M, 2) int64.

    Frame i of a video at rate r has a label if start <= i / r <= end.
    """
    rate = rows["rate"].to_numpy(np.float64)[:, None]
    first, last = (_padded(rows[name], 0.0) * rate for name in ("starts", "ends"))
    # 2.3 s at 30 a second are frame 69, not 68.99999999999999
    whole = np.ceil(first.round(6)), np.floor(np.minimum(last, ALWAYS).round(6))
    return np.stack([part.astype(np.int64) for part in whole], 2)


def _padded(lists: pd.Series, empty: float) -> np.ndarray:
    """Lists as rows of one array."""
    values = [np.asarray(one, np.asarray(empty).dtype) for one in lists]
    padded = np.full((len(values), max([1, *map(len, values)])), empty)
    for row, some in zip(padded, values, strict=True):
        row[: len(some)] = some
    return padded


def labelled(labels: np.ndarray) -> np.ndarray:
    """Whether each video has a label, (N,) bool; one without ranks last, or is unknown."""
    return np.any(labels >= 0, axis=1, keepdims=True)[:, 0]


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of the mean logits, mean over the classes, nats, summed over clips."""
    mean = logits.mean(1)
    return F.binary_cross_entropy_with_logits(mean, hot(mean, target), reduction="sum") / len(
        mean.T
    )


def hot(like: Tensor, target: Tensor) -> Tensor:
    """(B, C) like the logits: 1 for the classes in `target` (B, M), 0 for the others."""
    wide = like.new_zeros(len(like), like.shape[1] + 1)
    return wide.scatter_(1, target.where(target >= 0, like.shape[1]), 1.0)[:, :-1]


def correct(logits: Tensor, target: Tensor) -> Tensor:
    """(B,): the average precision of each clip's own labels, a stand-in for mAP in training.

    mAP is no mean over clips. A clip without labels counts 1 if every class is below one half.
    """
    mean = logits.mean(1).float()
    order = mean.sort(dim=1, descending=True, stable=True).indices
    hits = hot(mean, target).gather(1, order)
    ranks = torch.arange(1, hits.shape[1] + 1, device=hits.device)
    precision = (hits * hits.cumsum(1) / ranks).sum(1) / hits.sum(1).clamp(min=1)
    return precision.where(hits.any(1), (mean < 0).all(1).to(precision.dtype))


def scores(logits: Tensor) -> Tensor:
    """Sigmoid at each position, averaged over positions: (B, P, C) -> (B, C)."""
    return logits.sigmoid().mean(1)


def by_class(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The average precision of each class, (C,); NaN for a class without positives."""
    known = labelled(labels)
    hot = _positives(labels[known], scores.shape[1])
    pairs = zip(scores[known].T, hot.T, strict=True)
    return np.array([_average_precision(of_class, own) for of_class, own in pairs])


def _positives(labels: np.ndarray, classes: int) -> np.ndarray:
    """(N, M) class numbers -> (N, C) bool."""
    hot = np.zeros((len(labels), classes + 1), bool)
    np.put_along_axis(hot, labels, True, 1)  # -1: the column behind the classes
    return hot[:, :-1]


def _precisions(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The precision at the rank of each positive, best first: (N,), (N,) bool -> (positives,)."""
    ranks = 1 + np.flatnonzero(own[np.argsort(-scores, kind="stable")])
    return np.arange(1, len(ranks) + 1) / ranks


def _average_precision(scores: np.ndarray, own: np.ndarray) -> float:
    return float(_precisions(scores, own).mean()) if own.any() else float("nan")


def measure(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """mAP over the classes that have positives, the same weighted by them, and how many have none.

    `chance` is the mean of the positives' shares, about what a random order of the videos has. NaN
    without any label.
    """
    precisions = by_class(scores, labels)
    found = ~np.isnan(precisions)
    if not found.any():
        return dict.fromkeys((metric.name for metric in METRICS), float("nan"))
    counts = _positives(labels, scores.shape[1]).sum(0)[found]
    return {
        "map": float(precisions[found].mean()),
        "weighted_map": float(precisions[found] @ counts / counts.sum()),
        "chance": float(counts.mean() / labelled(labels).sum()),
        "left_out": float((~found).sum()),
    }


def outcome(scores: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[Pair]:
    """For each label, the class that is found instead: of a video's n labels its n best scores.

    Labels among the n best are found; the others are paired with the others in order of score.
    """
    pairs = []
    for row, own in zip(scores, _positives(labels, scores.shape[1]), strict=True):
        ranked = np.argsort(-row, kind="stable")
        best = ranked[: own.sum()]
        missed = [n for n in ranked if own[n] and n not in best]
        found = dict(zip(missed, best[~own[best]], strict=True))
        pairs += [
            Pair(str(classes[n]), str(classes[int(found.get(n, n))]))
            for n in np.flatnonzero(own).tolist()
        ]
    return pairs


def nearest(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,): the label of each video with the best score; -1 without any."""
    own = np.where(_positives(labels, scores.shape[1]), scores, -1.0)
    return np.where(labelled(labels), own.argmax(1), -1)


def curves(
    scores: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> tuple[PrecisionRecall, ...]:
    """Precision over recall of the classes with the least average precision, worst first."""
    known, precisions = labelled(labels), by_class(scores, labels)
    hot = _positives(labels, scores.shape[1])[known]
    found = []
    for number in np.argsort(precisions, kind="stable")[:WORST].tolist():  # NaN comes last
        if not (count := int(hot[:, number].sum())):
            continue
        each = _precisions(scores[known, number], hot[:, number])
        found.append(curve(str(classes[number]), count, each))
    return tuple(found)


def curve(name: str, positives: int, precisions: np.ndarray) -> PrecisionRecall:
    """The precisions at the ranks of the positives that are found, best first, thinned out."""
    count = len(precisions)
    shown = np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int))
    return PrecisionRecall(
        name=name,
        positives=positives,
        recall=tuple(((shown + 1) / positives).round(6).tolist()),
        precision=tuple(precisions[shown].round(6).tolist()),
    )


TASK = Task(
    name="multilabel",
    metrics=METRICS,
    columns=("labels", "starts", "ends", "rate"),
    target=target,
    active=active,
    labelled=labelled,
    loss=loss,
    correct=correct,
    scores=scores,
    merge=POOLS["max"],
    measure=measure,
    by_class=by_class,
    outcome=outcome,
    nearest=nearest,
    curves=curves,
    several=True,
)
