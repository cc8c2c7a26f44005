"""Charades: the official CSV files of the two lists, and the class list.

README.txt of Charades_v1 describes them. Of a list the columns `id` and `actions` are read: triples
"CLASS START END" with ";" between them, in seconds, or nothing. A line of `classes` is a class's
number and its name: "c000 Holding some clothes". A video is ID.mp4 in the folder of the videos. The
second list, which its authors call test, is `val` here, as papers call it.
"""

from __future__ import annotations

import re
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.core.tables import MULTILABEL
from autox3d.datasets.annotations import Annotations, Files, Label, Video
from autox3d.datasets.reading import csv_rows, inside, join, lines

REQUIRED = ("classes", "train", "val")
OPTIONAL = ()
CLASS = re.compile(r"(?P<number>c\d{3}) (?P<name>.*\S)", re.ASCII)
ACTION = re.compile(r"(?P<number>c\d{3}) (?P<start>\d+(\.\d+)?) (?P<end>\d+(\.\d+)?)", re.ASCII)


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the lists; a class keeps its number in its name, and so the official order.

    Raises:
        Refused: a line or an action has another form, or an action is in no line of `classes`.
    """
    del root
    names = _classes(files["classes"])
    rows = []
    for split in ("train", "val"):
        for place, row in csv_rows(files[split], ("id", "actions")):
            path = inside(f"{row['id']}.mp4", place)
            found = tuple(
                _action(text, names, files["classes"], place)
                for text in row["actions"].split(";")
                if text.strip()
            )
            rows.append(Video(row["id"], row["id"], join(videos, path), None, split, place, found))
    return Annotations(rows, tuple(sorted(names.values())), MULTILABEL)


def _classes(file: Path) -> dict[str, str]:
    """Number -> number and name."""
    names: dict[str, str] = {}
    for place, line in lines(file):
        match = CLASS.fullmatch(line)
        if match is None or match["number"] in names:
            raise Refused(
                f"{place}: '{line}' is not a new number and a name, such as "
                "'c000 Holding some clothes'. Is it Charades_v1_classes.txt?"
            )
        names[match["number"]] = line
    return names


def _action(text: str, names: dict[str, str], file: Path, place: str) -> Label:
    match = ACTION.fullmatch(text.strip())
    if match is None:
        raise Refused(
            f"{place}: action '{text}' is not CLASS START END, such as 'c092 11.90 21.20'."
        )
    if match["number"] not in names:
        raise Refused(
            f"{place}: action '{match['number']}' is none of the {len(names)} classes of {file}."
        )
    start, end = float(match["start"]), float(match["end"])
    if end < start:
        raise Refused(f"{place}: action '{text}' ends before it starts. Fix the row.")
    return Label(names[match["number"]], start, end)
