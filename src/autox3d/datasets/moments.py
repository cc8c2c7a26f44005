"""Films with boxes at some of their moments: cut into pieces, and as rows of the tables.

A film is decoded for the moments whose boxes are known, and for MARGIN s around them. Pieces of it
with moments of up to PIECE s are videos of their own: a clip is then read from a short file. The
times of a piece are those of the film's own time stamps. A table of videos has a row for each
piece; a table of clips has one for each moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autox3d.core.errors import Refused
from autox3d.core.values import MARGIN
from autox3d.datasets.annotations import KeyBox, Video

PIECE = 20  # s, from the first moment of a piece to its last
LISTS = ("seconds", "corners", "labels", "proposed")  # of a table of videos, an entry for each box
SPAN = ("begin", "end")  # s of the film
CLIPS = ("second", "at", "boxes", "truth", "asked", "labels")  # of a table of clips


def pieces(film: Video) -> Iterator[Video]:
    """Cuts a film into its pieces, in order of time.

    They begin and end at whole seconds, so that their frames are those of the whole film. In
    training, proposals at a moment without an annotated box are left out.
    """
    real = {one.second for one in film.boxes if not one.proposed}
    kept = [one for one in film.boxes if film.split != "train" or one.second in real]
    ordered = sorted(kept, key=lambda one: one.second)
    some: list[KeyBox] = []
    for one in ordered:
        if some and one.second > some[0].second + PIECE:
            yield _piece(film, some)
            some = []
        some.append(one)
    if some:
        yield _piece(film, some)


def _piece(film: Video, some: list[KeyBox]) -> Video:
    begin = max(0, math.floor(some[0].second - MARGIN))
    end = math.ceil(some[-1].second + MARGIN) + 1
    return film._replace(
        id=f"{film.id}-{begin:05d}", boxes=tuple(some), begin=float(begin), end=float(end)
    )


def columns(videos: Sequence[Video]) -> dict[str, list[Any]]:
    """The columns of a table of videos: lists with an entry for each box, and SPAN."""
    return {
        "label": ["; ".join(sorted(video.names)) or None for video in videos],
        "seconds": [[one.second for one in video.boxes] for video in videos],
        "corners": [[x for one in video.boxes for x in one.corners] for video in videos],
        "labels": [[one.name for one in video.boxes] for video in videos],
        "proposed": [[one.proposed for one in video.boxes] for video in videos],
        "begin": [video.begin for video in videos],
        "end": [video.end for video in videos],
    }


def exploded(rows: pd.DataFrame, number: dict[str, int], source: Path) -> pd.DataFrame:
    """The usable pieces with a row for each moment, and CLIPS in place of LISTS and SPAN.

    Where a split has proposals, a test asks for them, and else for the annotated boxes. A training
    clip is one with an annotated box. A moment has the key of its piece and its time in ms.

    Args:
        number: class name -> class number
        source: the table of videos, for messages alone

    Raises:
        Refused: a moment is after the end of its film.
    """
    proposes = {
        split: any(any(flags) for flags in part["proposed"])
        for split, part in rows.groupby("split")
    }
    found = []
    for row in rows.to_dict("records"):
        seconds = np.asarray(row["seconds"], np.float64)
        corners = np.asarray(row["corners"], np.float64).reshape(-1, 4)
        for second in np.unique(seconds).tolist():
            of = seconds == second
            boxes = zip(
                corners[of].tolist(),
                np.asarray(row["labels"], object)[of],
                np.asarray(row["proposed"], bool)[of],
                strict=True,
            )
            made = _moment(list(boxes), number, asks_truth=not proposes[row["split"]])
            if row["split"] == "train" and not any(made["truth"]):
                continue
            at = second - row["begin"]
            if at >= row["frames"] / row["rate"]:
                ends = row["begin"] + row["frames"] / row["rate"]
                raise Refused(
                    f"{source}: {row['path']} ends at {ends:.2f} s, and has boxes at {second:g} s. "
                    "Are the seconds those of this file? Fix them, or take them out."
                )
            key = f"{row['key']}-{round(1000 * at):05d}"
            found.append({**row, "key": key, "second": second, "at": at, **made})
    return pd.DataFrame(found, columns=[*rows.columns.difference(list(CLIPS), sort=False), *CLIPS])


def _moment(
    boxes: Iterable[tuple[list[float], str, bool]], number: dict[str, int], *, asks_truth: bool
) -> dict[str, list[Any]]:
    """The boxes of a moment in order: annotated ones with all their classes, then proposals."""
    truth: dict[tuple[float, ...], set[int]] = {}
    proposals: list[list[float]] = []
    for corners, name, proposed in boxes:
        if proposed:
            proposals.append(corners)
        else:
            truth.setdefault(tuple(corners), set()).update([number[name]] if name in number else ())
    every = [*map(list, truth), *proposals]
    return {
        "boxes": [x for one in every for x in one],
        "truth": [True] * len(truth) + [False] * len(proposals),
        "asked": [asks_truth] * len(truth) + [True] * len(proposals),
        "labels": [*map(sorted, truth.values()), *([] for _ in proposals)],
    }
