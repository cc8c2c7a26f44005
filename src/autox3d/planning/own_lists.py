"""A user's list of videos: a CSV file whose paths begin in its folder.

It has the columns path and label, perhaps split. With a column `labels` in place of `label`, or ";"
in a label, a video may have several; with columns second, x1, y1, x2, y2 its rows are boxes of
films (`datasets.adapters.boxes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.datasets.adapters.csv import BETWEEN, SEVERAL
from autox3d.datasets.adapters.csv import labels as labels_of
from autox3d.datasets.annotations import SPLITS, Label
from autox3d.datasets.box_rows import SIDES, corners, second
from autox3d.datasets.reading import composed, csv_rows, has_column, inside

BOX = ("second", *SIDES, "label")  # columns of a list of boxes beside path and split
Films = dict[str, "OwnVideo"]  # by path


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVideo:
    """One video of the user's."""

    path: str  # below the folder, "/" between folders
    label: str  # of several, all in one text
    split: str  # given by the user; empty: to be chosen
    group: str = ""  # of the recording that it is cut from
    labels: tuple[Label, ...] | None = None  # where a video may have several, or none
    boxes: tuple[tuple[str, ...], ...] | None = None  # of a list of boxes, the cells BOX of a row

    @property
    def names(self) -> set[str]:
        """Its classes."""
        return {self.label} if self.labels is None else {one.name for one in self.labels}


def of_list(path: Path) -> list[OwnVideo]:
    """The videos of a CSV file: each once, and all with a split or none."""
    places: dict[str, str] = {}
    found: Films = {}
    for place, row in csv_rows(path, ("path", "label")):
        split = _split(row, place)
        label = composed(row["label"].strip())
        if not label:
            raise Refused(f"{place}: no label. Give each video one, or take the row out.")
        name = _path(row, place, path)
        if name in places:
            raise Refused(f"{place}: '{name}' is in {places[name]} already. Take one row out.")
        found[name] = OwnVideo(path=name, label=label, split=split)
        _refuse_half(found, split, place)
        places[name] = place.removeprefix(f"{path} ")
    return list(found.values())


def has_several(path: Path) -> bool:
    """Whether a list gives videos several labels: a column `labels`, or a label with ";"."""
    if has_column(path, SEVERAL):
        return True
    return any(BETWEEN in row["label"] for _, row in csv_rows(path, ("path", "label")))


def of_several(path: Path) -> list[OwnVideo]:
    """The videos of a CSV file with several labels a row, or several rows a video."""
    column = SEVERAL if has_column(path, SEVERAL) else "label"
    found: Films = {}
    for place, row in csv_rows(path, ("path", column)):
        split, name = _split(row, place), _path(row, place, path)
        labels = tuple(
            one._replace(name=composed(one.name))
            for one in labels_of(row | {SEVERAL: row[column]}, place)
        )
        first = _met(found, name, split, place)
        every = (*(first.labels or ()), *labels)
        text = "; ".join(sorted({one.name for one in every}))
        found[name] = replace(first, label=text, labels=every)
    return list(found.values())


def of_boxes(path: Path) -> list[OwnVideo]:
    """The films of a CSV file whose rows are boxes; their labels are those of their boxes."""
    found: Films = {}
    for place, row in csv_rows(path, ("path", *BOX)):
        split, name = _split(row, place), _path(row, place, path)
        second(row, place)
        corners(row, place)
        first = _met(found, name, split, place)
        names = {composed(one.strip()) for one in row["label"].split(BETWEEN) if one.strip()}
        every = sorted({one.name for one in first.labels or ()} | names)
        found[name] = replace(
            first,
            label="; ".join(every),
            labels=tuple(map(Label, every)),
            boxes=(*(first.boxes or ()), tuple(row[cell] for cell in BOX)),
        )
    return list(found.values())


def action(videos: Iterable[OwnVideo]) -> float | None:
    """Seconds that three of four labels hold, or longer; None where that is all of a video."""
    held = sorted(
        one.end - one.start for video in videos for one in video.labels or () if one.end > one.start
    )
    quarter = held[len(held) // 4] if held else math.inf
    return quarter if math.isfinite(quarter) else None


def moments(films: Iterable[OwnVideo]) -> int:
    """The moments at which the boxes of films are known."""
    return sum(len({float(row[0]) for row in film.boxes or ()}) for film in films)


def _split(row: dict[str, str], place: str) -> str:
    split = row.get("split", "").strip()
    if split and split not in SPLITS:
        raise Refused(f"{place}: unknown split '{split}'. Known: {', '.join(SPLITS)}.")
    return split


def _path(row: dict[str, str], place: str, listing: Path) -> str:
    name = inside(row["path"], place)
    if not (listing.parent / name).is_file():
        raise Refused(f"{place}: there is no file {listing.parent / name}. Fix the path.")
    return name


def _met(found: Films, name: str, split: str, place: str) -> OwnVideo:
    """The video of a row, which may have been in rows before."""
    first = found.setdefault(name, OwnVideo(path=name, label="", split=split, labels=()))
    if first.split != split:
        raise Refused(f"{place}: '{name}' has two splits. Give all its rows one split.")
    _refuse_half(found, split, place)
    return first


def _refuse_half(found: Films, split: str, place: str) -> None:
    """Refuses a row whose split is given where that of the first video is not, or the reverse."""
    if bool(split) != bool(next(iter(found.values())).split):
        raise Refused(
            f"{place}: some videos have a split, others have none. Give all one, or none."
        )
