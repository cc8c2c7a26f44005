"""The interface of a task: a frozen dataclass of functions. Each task has a file in this folder.

    B clips, P positions of the head's window, C outputs of the network, N videos

A network returns logits, whatever its task. The task turns them into a loss, scores and metrics.
`classify` has one label per video, `multilabel` any number. The metadata of a data set's table of
clips names the task.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from autox3d.core.curves import Pair
from autox3d.core.errors import Refused
from autox3d.core.scores import PrecisionRecall
from autox3d.vision.tasks.metric import Metric

if TYPE_CHECKING:  # prediction needs no pandas
    import pandas as pd


# Ways to merge the scores of the views of a video, (V, C) -> (C,); `evaluate.pool` names one
POOLS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda views: views.mean(0),
    "max": lambda views: views.max(0),
}


def _itself(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The one label of each video."""
    del scores
    return labels


def _no_curves(
    scores: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> tuple[PrecisionRecall, ...]:
    """None: with one label a video, the answers are no ranking of the videos."""
    del scores, labels, classes
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Stateless functions of logits, scores and labels.

    target   rows of the table of clips -> labels, (N, ...), which the loader batches
    labelled labels -> (N,) bool: the videos that have a label
    active   rows -> (N, M, 2), the first and last frame of each of a video's M labels. A training
             clip then has those that hold at one of its frames; None: a label holds all along.
    loss     logits (B, P, C), target (B, ...) -> nats, summed over the clips: 0-d. It is the
             negative log-likelihood, by which a search also weights its samples. With `several`
             it is the mean over the C classes, and a search counts it C times.
    correct  logits (B, P, C), target (B, ...) -> (B,): each clip's contribution to the running
             value of the headline metric in training
    scores   logits (B, P, C) -> (B, C): the network's predictions for each clip
    merge    scores of the views of a video (V, C) -> scores of the video (C,)
    measure  scores (N, C), labels (N, ...) -> the values of `metrics`, NaN without any label
    by_class scores (N, C), labels (N, ...) -> (C,), the headline of each class, NaN without a video
    outcome  scores, labels and class names -> true and predicted class of each labelled video
    nearest  scores, labels -> (N,), the label to which a video's best answer is compared, or -1
    curves   scores, labels and class names -> precision over recall of the worst classes
    several  whether each class is a question of its own: a video may have several, or none
    """

    name: str
    metrics: tuple[Metric, ...]  # the first one is the headline
    columns: tuple[str, ...]  # columns of the table of clips that `target` reads
    target: Callable[[pd.DataFrame], np.ndarray]
    labelled: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[Tensor, Tensor], Tensor]
    correct: Callable[[Tensor, Tensor], Tensor]
    scores: Callable[[Tensor], Tensor]
    merge: Callable[[np.ndarray], np.ndarray]
    measure: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    by_class: Callable[[np.ndarray, np.ndarray], np.ndarray]
    outcome: Callable[[np.ndarray, np.ndarray, Sequence[str]], list[Pair]]
    active: Callable[[pd.DataFrame], np.ndarray] | None = None
    nearest: Callable[[np.ndarray, np.ndarray], np.ndarray] = _itself
    curves: Callable[[np.ndarray, np.ndarray, Sequence[str]], tuple[PrecisionRecall, ...]] = (
        _no_curves
    )
    several: bool = False

    @property
    def headline(self) -> Metric:
        """The metric by which networks are compared."""
        return self.metrics[0]

    @property
    def shown(self) -> tuple[Metric, ...]:
        """The metrics that have a column in tables."""
        return tuple(metric for metric in self.metrics if metric.shown)


def named(name: str) -> Task:
    """Loads a task by its name, such as `classify`.

    Raises:
        Refused: there is no such task.
    """
    known = sorted(names())
    if name not in known:
        raise Refused(f"unknown task '{name}'. Known: {', '.join(known)}.")
    return importlib.import_module(f"autox3d.vision.tasks.{name}").TASK


def names() -> set[str]:
    """The names of all tasks: the files of this folder that define one."""
    files = Path(__file__).parent.glob("*.py")
    return {path.stem for path in files} - {"__init__", "metric", "task"}
