"""Lists of videos with class numbers, as other tools prepare them: a line is PATH LABEL.

A class list names the classes, by lines (the first is number 0) or as JSON {NAME: NUMBER}. Without
one a class is called by its number, with zeros before it: `007` of 400 classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import NamedTuple

from autox3d.core.errors import Refused
from autox3d.core.video_names import is_video
from autox3d.datasets.annotations import SPLITS, Annotations, Files, Video
from autox3d.datasets.reading import inside, join, json_content, lines, trained_classes

ROW = re.compile(r"(?P<path>.*[^\s,;])\s*[\s,;]\s*(?P<number>-1|\d+)")  # the path may have blanks
REQUIRED = ("train",)
OPTIONAL = ("val", "test", "classes")


class Row(NamedTuple):
    """A line of a list."""

    place: str
    split: str
    path: str
    number: int | None  # of the class; None in the test split alone


def read(top: Path, videos: str, files: Files, folders: Mapping[str, str]) -> Annotations:
    """Reads the lists of all splits.

    Args:
        top: the folder of the videos
        videos: the same folder, relative to the data root
        folders: split -> the folder below it that the list's paths begin in, or ""

    Raises:
        Refused: a line is not PATH LABEL, has a path outside `top`, or the number of no class
    """
    rows = [row for split in SPLITS if split in files for row in _rows(files[split], split)]
    numbers = {row.number for row in rows if row.number is not None}
    names = _names(files["classes"]) if "classes" in files else _numerals(max(numbers, default=0))
    found = []
    for row in rows:
        if row.number is not None and row.number not in names:
            raise Refused(
                f"{row.place}: class {row.number} is none of the classes {min(names)} to "
                f"{max(names)}{_of(files)}. The first class is number 0."
            )
        label = None if row.number is None else names[row.number]
        path = inside(_below(row.path, top, folders[row.split]), row.place)
        found.append(Video(path, path, join(videos, path), label, row.split, row.place))
    classes = sorted(names.values()) if "classes" in files else trained_classes(found)
    return Annotations(found, tuple(classes))


def _of(files: Files) -> str:
    return f" of {files['classes']}" if "classes" in files else ""


def _rows(file: Path, split: str) -> Iterator[Row]:
    for place, line in lines(file):
        match = ROW.fullmatch(line)
        if match is None and split == "test" and is_video(PurePath(line)):
            yield Row(place, split, line, None)
        elif match is None:
            raise Refused(f"{place}: '{line}' is not PATH LABEL, with the class as a number.")
        else:
            _refuse_more(match["path"], place)
            number = int(match["number"])
            unknown = number < 0 and split == "test"
            yield Row(place, split, match["path"], None if unknown else number)


def _refuse_more(path: str, place: str) -> None:
    """Refuses a line with more numbers than the class."""
    more = ROW.fullmatch(path)
    while more is not None and ROW.fullmatch(more["path"]):
        more = ROW.fullmatch(more["path"])
    if more is None or is_video(PurePath(path)):
        return
    if is_video(PurePath(more["path"])):
        raise Refused(f"{place}: several numbers after the video. Only one class each is read.")
    raise Refused(f"{place}: a list of frames, and only videos are read. Give a list of videos.")


def _below(path: str, top: Path, folder: str) -> str:
    """Returns a path relative to `top`: it is in `folder`, or an absolute one below `top`."""
    whole = PurePath(path)
    if not whole.is_absolute():
        return join(folder, path) if folder else path
    for start in (top.absolute(), top.resolve()):
        if whole.is_relative_to(start):
            return whole.relative_to(start).as_posix()
    return path


def _numerals(largest: int) -> dict[int, str]:
    return {number: f"{number:0{len(str(largest))}}" for number in range(largest + 1)}


def _names(file: Path) -> dict[int, str]:
    """Reads a class list: number -> name."""
    if file.suffix == ".json":
        pairs = [(number, name, str(file)) for name, number in json_content(file, dict).items()]
    else:
        pairs = [(number, name, place) for number, (place, name) in enumerate(lines(file))]
    names: dict[int, str] = {}
    for number, quoted, place in pairs:
        name = quoted.strip('" ')
        if not isinstance(number, int) or number in names or name in names.values():
            raise Refused(
                f"{place}: class '{name}' or its number {number} is there twice, or none."
            )
        names[number] = name
    if not names:
        raise Refused(f"{file}: no class in it. Is it the right file?")
    return names
