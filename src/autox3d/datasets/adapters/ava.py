"""AVA v2.1 and v2.2: the official CSV files, the list of classes, and the boxes of a detector.

`train` and `val` have no header: video, second, x1, y1, x2, y2, class number, person; a row for
each box and class. `excluded_train` and `excluded_val` have lines "video,second" that count
nowhere. `classes` is the list of what is evaluated, ava_action_list_..._activitynet_....pbtxt;
boxes of other classes have none here. `proposals_train` and `proposals_val` have the same columns
with an empty class, and the detector's score behind them (as SlowFast's
ava_detection_..._boxes_and_labels.csv); those over LEAST count. A film is a file VIDEO.* in the
folder of the videos, uncut: seconds are those of the film.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.core.tables import DETECT
from autox3d.core.video_names import is_video
from autox3d.datasets import moments
from autox3d.datasets.annotations import Annotations, Files, KeyBox, Video
from autox3d.datasets.reading import inside, join, lines

REQUIRED = ("classes", "train", "val")
OPTIONAL = ("excluded_train", "excluded_val", "proposals_train", "proposals_val")
LEAST = 0.8  # score of a proposal that counts, as in X3D (A.1)
ITEM = re.compile(r"(?:item|label)\s*\{(.*?)\}", re.DOTALL)
NAME, NUMBER = re.compile(r'name\s*:\s*"([^"]*)"'), re.compile(r"\b(?:label_)?id\s*:\s*(\d+)")
BOX = re.compile(  # video, second, corners, class, and what is behind it
    r"(?P<video>[^,]+),(?P<second>\d+(?:\.\d+)?),(?P<corners>[\d.]+,[\d.]+,[\d.]+,[\d.]+),"
    r"(?P<number>\d*)(?:,(?P<last>[^,]*))?"
)
EXCLUDED = re.compile(r"(?P<video>[^,]+),(?P<second>\d+(?:\.\d+)?)")


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the lists, without excluded moments, and boxes without area.

    Raises:
        Refused: a line has another form, or no class number is in the list of classes.
    """
    names = _classes(files["classes"])
    there = _there(root / videos)
    cut = []
    for split in ("train", "val"):
        films = _films(split, files, names)
        for film, boxes in films.items():
            path = join(videos, there.get(film, f"{film}.mp4"))
            one = Video(film, film, path, None, split, str(files[split]), boxes=tuple(boxes))
            cut += moments.pieces(one)
    return Annotations(cut, tuple(sorted(names.values())), DETECT)


def _classes(file: Path) -> dict[int, str]:
    """Number -> name."""
    names: dict[int, str] = {}
    text = "\n".join(line for _, line in lines(file))
    for item in ITEM.findall(text):
        name, number = NAME.search(item), NUMBER.search(item)
        if name is None or number is None or int(number[1]) in names:
            raise Refused(
                f"{file}: '{' '.join(item.split())}' is no new name and id, such as "
                'name: "bend/bow (at the waist)" id: 1. Is it the list of classes?'
            )
        names[int(number[1])] = name[1]
    if not names:
        raise Refused(f"{file}: has no item. Is it ava_action_list_..._activitynet_....pbtxt?")
    return names


def _films(split: str, files: Files, names: dict[int, str]) -> dict[str, list[KeyBox]]:
    """The boxes of each film of a split: annotated, and proposed."""
    excluded = set(_excluded(files.get(f"excluded_{split}")))
    films: dict[str, list[KeyBox]] = {}
    met, seen = False, 0
    for place, row in _rows(files[split]):
        number = int(row["number"] or 0)
        if not number:
            raise Refused(f"{place}: no class number. Is it a list of annotations?")
        met, seen = met or number in names, number
        _add(films, row, place, excluded, KeyBox(0.0, (0, 0, 0, 0), names.get(number, "")))
    if not met:
        raise Refused(
            f"{files[split]}: no class number is in {files['classes']} (last: {seen}). Are they of "
            "one version?"
        )
    if f"proposals_{split}" in files:
        file, before = files[f"proposals_{split}"], set(films)
        proposed: dict[str, list[KeyBox]] = {}
        for place, row in _rows(file):
            if _score(row, place) > LEAST:
                _add(proposed, row, place, excluded, KeyBox(0.0, (0, 0, 0, 0), proposed=True))
        if not proposed.keys() & before:
            raise Refused(
                f"{file}: no film of {files[split]} has a box with a score over {LEAST}. Is it of "
                "this split?"
            )
        for film in films:
            films[film] += proposed.get(film, [])
    return films


def _add(
    films: dict[str, list[KeyBox]],
    row: re.Match[str],
    place: str,
    excluded: set[tuple[str, float]],
    box: KeyBox,
) -> None:
    """Adds the box of a row to its film, unless it is excluded or has no area."""
    film, second = inside(row["video"], place), float(row["second"])
    try:
        x1, y1, x2, y2 = map(float, row["corners"].split(","))
    except ValueError as error:
        raise Refused(f"{place}: corners '{row['corners']}' are no numbers. Fix them.") from error
    if max(x1, y1, x2, y2) > 1:
        raise Refused(f"{place}: corner {max(x1, y1, x2, y2):g} is over 1: no share of the frame.")
    if (film, second) not in excluded and x1 < x2 and y1 < y2:
        films.setdefault(film, []).append(box._replace(second=second, corners=(x1, y1, x2, y2)))


def _rows(file: Path) -> Iterator[tuple[str, re.Match[str]]]:
    for place, line in lines(file):
        match = BOX.fullmatch(line)
        if match is None:
            raise Refused(
                f"{place}: '{line}' is not VIDEO,SECOND,X1,Y1,X2,Y2,CLASS,PERSON, such as "
                "'-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1'."
            )
        yield place, match


def _score(row: re.Match[str], place: str) -> float:
    """The detector's score, the last column."""
    text = row["last"] or ""
    try:
        return float(text)
    except ValueError as error:
        raise Refused(f"{place}: '{text}' is no score. Give the detector's as the last.") from error


def _excluded(file: Path | None) -> Iterator[tuple[str, float]]:
    for place, line in lines(file) if file else ():
        match = EXCLUDED.fullmatch(line)
        if match is None:
            raise Refused(f"{place}: '{line}' is not VIDEO,SECOND, such as '-IELREHX_js,0902'.")
        yield match["video"], float(match["second"])


def _there(folder: Path) -> dict[str, str]:
    """The films that are in the folder, by their names without an ending."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.stem: path.name for path in files if is_video(path)}
