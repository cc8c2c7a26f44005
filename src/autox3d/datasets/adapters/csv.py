"""Your own videos in one CSV file: columns path (below the folder of the videos), label, split."""

from __future__ import annotations

from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.datasets.annotations import SPLITS, Annotations, Files, Video
from autox3d.datasets.reading import csv_rows, inside, join, trained_classes

REQUIRED = ("list",)
OPTIONAL = ()


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the rows of the file `list`; the classes are those of the training videos.

    Raises:
        Refused: a row has an unknown split, or a path outside the folder of the videos.
    """
    del root
    rows = []
    for place, row in csv_rows(files["list"], ("path", "label", "split")):
        if row["split"] not in SPLITS:
            raise Refused(f"{place}: unknown split '{row['split']}'. Known: {', '.join(SPLITS)}.")
        path = inside(row["path"], place)
        label = row["label"].strip() or None
        rows.append(Video(path, path, join(videos, path), label, row["split"], place))
    return Annotations(rows, trained_classes(rows))
