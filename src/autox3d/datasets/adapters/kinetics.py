"""Kinetics-400, -600 and -700: CSV files with label, youtube_id, time_start, time_end, split.

A video is `<id>_<start:06d>_<end:06d>.mp4`. It lies in the folder of the videos itself, or in one
of its folders SPLIT, CLASS or SPLIT/CLASS (blanks of the class kept, or replaced by "_").
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from autox3d.core.errors import Refused
from autox3d.core.video_names import ignored, is_video
from autox3d.datasets.annotations import Annotations, Files, Video
from autox3d.datasets.reading import cell, composed, csv_rows, join, trained_classes

REQUIRED = ("train", "val")
OPTIONAL = ("test",)
SPLIT_NAMES = {"train": "train", "val": "val", "validate": "val", "validation": "val"}
SPLIT_NAMES |= {"test": "test"}


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the rows of all splits, and looks up where each video lies below the folder `videos`.

    A video that is nowhere is given the path that it would have in the flat layout.

    Raises:
        Refused: a row has an ill-formed id or time, or is in the file of another split.
    """
    by_stem = _files_by_stem(root / videos)
    rows = []
    for split, place, row in _rows(files):
        name = cell(row, "youtube_id", r"[\w-]{11}", place, "an id of 11 characters")
        start, end = (
            int(cell(row, column, r"\d{1,6}", place, "whole seconds"))
            for column in ("time_start", "time_end")
        )
        if end <= start:
            raise Refused(f"{place}: 'time_end' {end} is not after 'time_start' {start}.")
        label = (row.get("label") or "").strip() or None
        stem = f"{name}_{start:06d}_{end:06d}"
        folder, file = _location(by_stem.get(stem, {}), split, label) or ("", f"{stem}.mp4")
        rows.append(Video(stem, name, join(videos, folder, file), label, split, place))
    return Annotations(rows, trained_classes(rows))


def _rows(files: Files) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yields (split, place, row) for each row of each file."""
    for split, file in files.items():
        label = ("label",) if split != "test" else ()
        for place, row in csv_rows(file, (*label, "youtube_id", "time_start", "time_end")):
            row_split = row.get("split", split)
            if SPLIT_NAMES.get(row_split) != split:
                raise Refused(
                    f"{place}: split '{row_split}' in the file of annotate.files.{split}. "
                    "Fix the row, or the file's name in params.yaml."
                )
            yield split, place, row


def _files_by_stem(videos: Path) -> dict[str, dict[str, str]]:
    """Maps each stem to {folder under `videos`: file name}, for all videos on disk."""
    by_stem: dict[str, dict[str, str]] = {}
    for folder, below, names in os.walk(videos, followlinks=True):
        inside = PurePosixPath(os.path.relpath(folder, videos)).as_posix().removeprefix(".")
        if "/" in inside:  # no layout is deeper, and links may form a circle
            below.clear()
        for name in sorted(names):
            if is_video(file := PurePosixPath(name)) and not ignored(name):
                by_stem.setdefault(file.stem, {}).setdefault(inside, name)
    return by_stem


def _location(names: dict[str, str], split: str, label: str | None) -> tuple[str, str] | None:
    """Returns (folder, file name) in the first layout that has the video, out of {folder: name}."""
    if not names:
        return None
    on_disk = {composed(folder): folder for folder in names}
    classes = [] if label is None else [composed(label), composed(label).replace(" ", "_")]
    splits = [name for name, meant in SPLIT_NAMES.items() if meant == split]
    nested = [f"{outer}/{inner}" for outer in splits for inner in classes]
    layouts = ["", *splits, *classes, *nested]
    found = next((on_disk[layout] for layout in layouts if layout in on_disk), None)
    return None if found is None else (found, names[found])
