"""What a network is trained for: one frozen value of functions, a file each beside this one.

    B clips, P positions of the head's window, C outputs of the network, N videos

A network returns logits and knows no task. What turns them into a loss, into scores and into the
numbers that a network is judged by stands here, for one label a video (`classify`) and for
whatever else a data set asks: its table of clips names the task.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from autox3d.core.curves import Pair
from autox3d.core.errors import Refused
from autox3d.vision.tasks.metric import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Functions of logits, scores and labels; none of them has a state.

    target   rows of the table of clips -> labels as the loader batches them, (N, ...)
    labelled labels -> (N,) bool: the videos that can be judged
    loss     logits (B, P, C), target (B, ...) -> nats, summed over the clips: 0-d. It is minus the
             log-likelihood, so a search weighs its draws by the same number.
    correct  logits (B, P, C), target (B, ...) -> (B,): what training counts of each clip, as the
             running value of the headline
    scores   logits (B, P, C) -> (B, C): what leaves the network
    merge    scores of the views of a video (V, C) -> of the video (C,)
    measure  scores (N, C), labels (N, ...) -> the numbers of `metrics`, NaN where none has a label
    by_class scores (N, C), labels (N, ...) -> (C,), the headline of each class, NaN without a video
    outcome  scores, labels and class names -> each labelled video, and what was predicted
    """

    name: str
    metrics: tuple[Metric, ...]  # the first one is the headline
    columns: tuple[str, ...]  # of the table of clips, which `target` reads
    target: Callable[[pd.DataFrame], np.ndarray]
    labelled: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[Tensor, Tensor], Tensor]
    correct: Callable[[Tensor, Tensor], Tensor]
    scores: Callable[[Tensor], Tensor]
    merge: Callable[[np.ndarray], np.ndarray]
    measure: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    by_class: Callable[[np.ndarray, np.ndarray], np.ndarray]
    outcome: Callable[[np.ndarray, np.ndarray, Sequence[str]], list[Pair]]

    @property
    def headline(self) -> Metric:
        """The metric that networks are compared by."""
        return self.metrics[0]

    @property
    def shown(self) -> tuple[Metric, ...]:
        """The metrics that tables have a column for."""
        return tuple(metric for metric in self.metrics if metric.shown)


def named(name: str) -> Task:
    """The task of a file beside this one, such as `classify`.

    Raises:
        Refused: there is no such task.
    """
    known = sorted(names())
    if name not in known:
        raise Refused(f"unknown task '{name}'. Known: {', '.join(known)}.")
    return importlib.import_module(f"autox3d.vision.tasks.{name}").TASK


def names() -> set[str]:
    """The tasks that there are: the files of this folder which define one."""
    files = Path(__file__).parent.glob("*.py")
    return {path.stem for path in files} - {"__init__", "metric", "task"}
