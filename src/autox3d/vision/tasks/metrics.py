"""Accuracy from scores: N videos, V views a video, C classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Accuracy(NamedTuple):
    """Shares of the labelled videos, in [0, 1]."""

    top1: float
    top5: float
    per_class: np.ndarray  # (C,), top-1; NaN where a class has no video


def accuracy(scores: np.ndarray, labels: np.ndarray) -> Accuracy:
    """(N, C) scores and (N,) labels -> accuracy over the videos that have a label (>= 0).

    Of equal scores the lower class number wins, so that the outcome does not depend on the sort.
    """
    known = labels >= 0
    if not known.any():
        return Accuracy(float("nan"), float("nan"), np.full(scores.shape[1], np.nan))
    order = np.argsort(-scores[known], axis=1, kind="stable")
    hits = order == labels[known, None]
    classes = np.arange(scores.shape[1])
    with np.errstate(invalid="ignore"):
        counts = (labels[known, None] == classes).sum(0)
        per_class = (hits[:, :1] & (labels[known, None] == classes)).sum(0) / counts
    return Accuracy(float(hits[:, 0].mean()), float(hits[:, :5].any(1).mean()), per_class)
