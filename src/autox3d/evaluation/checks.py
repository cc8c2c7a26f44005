"""What a test refuses: videos with other labels, and scores that rank nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from autox3d.core.errors import Refused
from autox3d.core.settings import Evaluate
from autox3d.evaluation.run import main_scores
from autox3d.vision.clips.store import Clips
from autox3d.vision.models.weights import Trained


def refuse_other_labels(trained: Trained, clips: Clips, source: Path, table: Path) -> None:
    """Checks that a network of `source` answers what the labels of `table` ask.

    Raises:
        Refused: it was trained to another task, or on other classes.
    """
    if trained.task != clips.task:
        raise Refused(
            f"{source}: trained to {trained.task.name}, and {table} has labels to "
            f"{clips.task.name}. Train again."
        )
    if tuple(trained.classes) != clips.classes:
        raise Refused(f"{source}: trained on other classes than {table} has. Train again.")


def refuse_more_views(clips: Clips, tests: Evaluate) -> None:
    """Checks that one view is asked for where a clip has a moment and boxes of its own.

    Raises:
        Refused: params.yaml asks for other numbers of clips, or of crops.
    """
    if not clips.task.boxed:
        return
    if tuple(tests.clips) != (1,):
        raise Refused(
            "params.yaml: 'evaluate.clips' must be [1] where boxes are asked about: a moment has "
            f"one clip. Not {list(tests.clips)}."
        )
    if tests.crops != 1:
        raise Refused(
            "params.yaml: 'evaluate.crops' must be 1 where boxes are asked about: they are scored "
            f"in the centre square. Not {tests.crops}."
        )


def refuse_constant(table: pd.DataFrame, clips: Clips, tests: Evaluate, source: Path) -> None:
    """Checks that the scores rank the videos, where every class is a question of its own.

    Raises:
        Refused: all videos have the same score in a class; `source` is where its scores come from.
    """
    if not clips.task.several or len(clips) < 2:
        return
    scores, _ = main_scores(table, clips, tests)
    scores = np.concatenate(scores) if clips.task.boxed else scores
    if len(scores) < 2:
        return
    same = np.flatnonzero(~(scores.max(0) > scores.min(0)))
    if same.size:
        what = "boxes" if clips.task.boxed else "videos"
        more = f" and {same.size - 1} more" if same.size > 1 else ""
        raise Refused(
            f"{source}: all {len(scores)} {what} have the score {scores[0, same[0]]:.4g} in class "
            f"'{clips.classes[same[0]]}'{more}, and their precision would be that of their order. "
            "Train longer, or at a lower rate."
        )
