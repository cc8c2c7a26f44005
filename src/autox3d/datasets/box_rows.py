"""Rows of CSV files that are boxes of a film: second, x1, y1, x2, y2, with the film's path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.datasets.reading import cell, csv_rows

SIDES = ("x1", "y1", "x2", "y2")
NUMBER = r"\s*\d+(\.\d*)?\s*|\s*\.\d+\s*"
Corners = tuple[float, float, float, float]


def second(row: dict[str, str], place: str) -> float:
    """The time of a row, in s of its film.

    Raises:
        Refused: it is none.
    """
    return float(cell(row, "second", NUMBER, place, "seconds of the film, such as 12.5"))


def corners(row: dict[str, str], place: str) -> Corners:
    """The corners of a row's box, as shares of width and height.

    Raises:
        Refused: one is not a share of the width or height, or the box has no area.
    """
    wanted = "a share of the width or height, from 0 to 1"
    x1, y1, x2, y2 = (float(cell(row, side, NUMBER, place, wanted)) for side in SIDES)
    if max(x1, y1, x2, y2) > 1:
        raise Refused(
            f"{place}: corner {max(x1, y1, x2, y2):g} is over 1. Divide x by the width of the film "
            "in px, and y by its height."
        )
    if x1 >= x2 or y1 >= y2:
        raise Refused(f"{place}: the box has no area. x1 must be below x2, and y1 below y2.")
    return x1, y1, x2, y2


def of_films(file: Path) -> Iterator[tuple[str, float, Corners]]:
    """Yields path, second and corners of each row; without a column `path` it is empty.

    Raises:
        Refused: the file cannot be read, or a row is no box.
    """
    for place, row in csv_rows(file, ("second", *SIDES)):
        yield row.get("path", ""), second(row, place), corners(row, place)
