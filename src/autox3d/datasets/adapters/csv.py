"""Your own videos in one CSV file: columns path (below the folder of the videos), label, split.

With a column `labels` in place of `label` a video may have several, with ";" between them, or none;
columns `start` and `end`, in seconds of the video, say when. A video may then have several rows.
"""

from __future__ import annotations

import math
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.core.tables import CLASSIFY, MULTILABEL
from autox3d.datasets.annotations import SPLITS, Annotations, Files, Label, Video
from autox3d.datasets.reading import cell, csv_rows, has_column, inside, join, trained_classes

REQUIRED = ("list",)
OPTIONAL = ()
SEVERAL, BETWEEN = "labels", ";"
SECONDS = r"\s*(\d+(\.\d*)?)?\s*"


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the rows of the file `list`; the classes are those of the training videos.

    Raises:
        Refused: a row has an unknown split, a path outside the folder of the videos, or a time that
            is none; the rows of a video have two splits.
    """
    del root
    several = has_column(files["list"], SEVERAL)
    rows: dict[tuple[str, int], Video] = {}
    for place, row in csv_rows(files["list"], ("path", SEVERAL if several else "label", "split")):
        if row["split"] not in SPLITS:
            raise Refused(f"{place}: unknown split '{row['split']}'. Known: {', '.join(SPLITS)}.")
        path = inside(row["path"], place)
        label = None if several else row["label"].strip() or None
        one = Video(path, path, join(videos, path), label, row["split"], place)
        first = rows.setdefault((path, 0 if several else len(rows)), one)
        if first.split != one.split:
            raise Refused(
                f"{place}: video '{path}' is in split '{one.split}', and in '{first.split}' too "
                f"({first.place}). Give all its rows one split."
            )
        if several:
            rows[path, 0] = first._replace(labels=first.labels + labels(row, place))
    found = list(rows.values())
    return Annotations(found, trained_classes(found), MULTILABEL if several else CLASSIFY)


def labels(row: dict[str, str], place: str) -> tuple[Label, ...]:
    """The labels of a row, each with the row's times.

    Raises:
        Refused: a time is no number of seconds, or ends before it starts.
    """
    start, end = (
        (cell(row, name, SECONDS, place, "seconds, such as 12.5").strip() if name in row else "")
        for name in ("start", "end")
    )
    when = float(start or 0), float(end or math.inf)
    if when[1] < when[0]:
        raise Refused(f"{place}: 'end' {end} is before 'start' {start}. Fix the row.")
    names = (name.strip() for name in row[SEVERAL].split(BETWEEN))
    return tuple(Label(name, *when) for name in names if name)
