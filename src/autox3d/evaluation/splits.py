"""A test on one split, or on several side by side; `evaluate.split` is the main one.

X3D's Table 7 and Figure A.4 have validation beside test, and the column "test" of its Table 4 is
the mean of top-1 and top-5 there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from autox3d.core import tables
from autox3d.core.curves import Pair
from autox3d.core.errors import Refused
from autox3d.core.scores import Evaluation
from autox3d.core.settings import Evaluate
from autox3d.evaluation.checks import refuse_constant, refuse_more_views, refuse_other_labels
from autox3d.evaluation.run import every_view, outcome, scores_of, summarise
from autox3d.runtime.session import Session
from autox3d.vision.clips.store import Clips
from autox3d.vision.models.weights import Trained


class Tested(NamedTuple):
    """What a test finds."""

    result: Evaluation
    views: pd.DataFrame  # the scores of all views of all splits, the main one's first
    pairs: list[Pair]  # of the main split, from the largest number of views


def split_by_split(tests: Evaluate) -> list[Evaluate]:
    """The tests of each split: first `split`, then the others of `splits` in their order."""
    others = [split for split in tests.splits if split != tests.split]
    return [replace(tests, split=split, splits=()) for split in (tests.split, *others)]


def held_out(trained: Trained, source: Path, table: Path, tests: Evaluate) -> list[Clips]:
    """The videos of each split that is tested, the main one first.

    Args:
        source: where the network comes from, for messages
        table: of the clips

    Raises:
        Refused: a split has no video, the network was trained on other classes, or more views are
            asked for than the clips have.
    """
    found = [Clips.load(table, split=one.split) for one in split_by_split(tests)]
    refuse_other_labels(trained, found[0], source, table)
    refuse_more_views(found[0], tests)
    return found


def scored(
    trained: Trained, clips: list[Clips], tests: Evaluate, source: Path, work: Session
) -> Tested | None:
    """Scores every view of every video of all splits; None on all ranks but the first.

    Args:
        clips: of each split, see `held_out`
        source: where the network comes from, for messages

    Raises:
        Refused: the scores of a split do not rank its videos.
        SystemExit: a rank received a stop signal; what it has scored is kept.
    """
    kept, found = work.kept.folder, []
    for one, videos in zip(split_by_split(tests), clips, strict=True):
        views = every_view(trained, videos, one, work.world, kept).table()
        if views is not None:
            refuse_constant(views, videos, one, source)
            found.append((views, videos, one))
    if not found:
        return None
    main, *others = found
    views, videos, one = main
    result = summarise(views, trained, videos, one, [scores_of(*other) for other in others])
    if others:
        views = pd.concat([some for some, _, _ in found], ignore_index=True)
    return Tested(result, views, outcome(*main))


def main_views(scores: Path, table: Path, clips: Clips, tests: Evaluate) -> pd.DataFrame:
    """The scores of the main split's views, as stage `evaluate` writes them.

    Args:
        table: of the clips
        clips: those of the main split

    Raises:
        Refused: the file has other videos than the table.
    """
    views = tables.read_table(scores)
    own = {key.decode() for key in clips.keys}
    others = [Clips.load(table, split=one.split) for one in split_by_split(tests)[1:]]
    if set(views["key"]) != own.union(key.decode() for of in others for key in of.keys):
        raise Refused(f"{scores}: has other videos than {table}. Run `evaluate` again.")
    return views[views["key"].isin(own)] if others else views
