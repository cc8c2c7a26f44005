"""The interface of a task: a frozen dataclass of functions. Each task has a file in this folder.

    B clips, P positions of the head's window, C outputs of the network, N videos

A network returns logits, whatever its task. The task turns them into a loss, scores and metrics.
`classify` has one label per video, `multilabel` any number, `detect` any number for each box of a
clip. The metadata of a data set's table of clips names the task.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Met(NamedTuple):
    """The T annotated boxes that a proposal meets."""

    clips: Any  # (T,) numbers
    corners: Any  # (T, 4), of the proposal
    scores: Any  # (T, C), of the proposal
    labels: Any  # (T, L) class numbers of the annotated box, -1 behind the last one


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxed:
    """What a task has besides if it is asked about boxes at a moment of a video.

    Its labels are arrays of the boxes of each clip (`tasks.boxes`), in a batch (B, M, K) with M the
    most of a clip. Its logits and scores are (B, M, C), and those of a clip in a test (A, C).

    key_frame rows of the table -> (N,), the frame in the middle of each clip
    answers   scores (M, C), labels of the clip -> (A, C), those of the A boxes that a test asks for
    met       scores of each clip (A, C), labels -> the annotated boxes that a proposal meets
    flaw      labels -> what makes them useless, in a sentence; empty if there is nothing
    """

    key_frame: Callable[[pd.DataFrame], np.ndarray]
    answers: Callable[[np.ndarray, np.ndarray], np.ndarray]
    met: Callable[[Sequence[np.ndarray], np.ndarray], Met]
    flaw: Callable[[np.ndarray], str]


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
    measure  scores (N, C), labels (N, ...) -> the values of `metrics`, NaN without any label.
             It, and what follows, takes scores as `together` gives them.
    by_class scores (N, C), labels (N, ...) -> (C,), the headline of each class, NaN without a video
    outcome  scores, labels and class names -> true and predicted class of each labelled video
    nearest  scores, labels -> (N,), the label to which a video's best answer is compared, or -1
    curves   scores, labels and class names -> precision over recall of the worst classes
    several  whether each class is a question of its own: a video may have several, or none
    boxed    of a task whose clips have boxes, each with labels and scores of its own
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
    measure: Callable[[Any, np.ndarray], dict[str, float]]
    by_class: Callable[[Any, np.ndarray], np.ndarray]
    outcome: Callable[[Any, np.ndarray, Sequence[str]], list[Pair]]
    active: Callable[[pd.DataFrame], np.ndarray] | None = None
    nearest: Callable[[np.ndarray, np.ndarray], np.ndarray] = _itself
    curves: Callable[[Any, np.ndarray, Sequence[str]], tuple[PrecisionRecall, ...]] = _no_curves
    several: bool = False
    boxed: Boxed | None = None

    @property
    def headline(self) -> Metric:
        """The metric by which networks are compared."""
        return self.metrics[0]

    @property
    def shown(self) -> tuple[Metric, ...]:
        """The metrics that have a column in tables."""
        return tuple(metric for metric in self.metrics if metric.shown)


def together(task: Task, scores: Sequence[np.ndarray]) -> np.ndarray | Sequence[np.ndarray]:
    """The scores of N clips as `measure` takes them: (N, C), or of boxes (A, C) for each clip."""
    return scores if task.boxed else np.stack(scores)


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
    return {path.stem for path in files} - {"__init__", "boxes", "metric", "task"}
