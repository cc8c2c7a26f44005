"""Your own films in one CSV file: path, second, x1, y1, x2, y2, label, split; a row for each box.

The corners are shares of the film's width and height, from its top left. A box may have several
labels, with ";" between them or in several rows with equal corners, or none. Films have any length
and rate; `second` is a time of the file. `proposals` are boxes of a detector, a CSV file with the
columns path, second, x1, y1, x2, y2: what a test asks for. Without it, it asks for the boxes of
`list`.
"""

from __future__ import annotations

from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.core.tables import DETECT
from autox3d.datasets import moments
from autox3d.datasets.adapters.csv import BETWEEN
from autox3d.datasets.annotations import SPLITS, Annotations, Files, KeyBox, Video
from autox3d.datasets.box_rows import SIDES, corners, second
from autox3d.datasets.reading import csv_rows, inside, join, trained_classes

REQUIRED = ("list",)
OPTIONAL = ("proposals",)


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the boxes of all films; the classes are those of the training films.

    Raises:
        Refused: a row has an unknown split, a path outside the folder of the videos, a corner that
            is no share, or no area; a film has two splits; no proposal is of a film of `list`.
    """
    del root
    films = _films(videos, files["list"])
    if "proposals" in files:
        films = _with_proposals(films, files["proposals"], files["list"])
    cut = [piece for film in films.values() for piece in moments.pieces(film)]
    return Annotations(cut, trained_classes(cut), DETECT)


def _films(videos: str, file: Path) -> dict[str, Video]:
    """The films by their paths, with all annotated boxes."""
    first: dict[str, Video] = {}
    found: dict[str, list[KeyBox]] = {}
    for place, row in csv_rows(file, ("path", "second", *SIDES, "label", "split")):
        if row["split"] not in SPLITS:
            raise Refused(f"{place}: unknown split '{row['split']}'. Known: {', '.join(SPLITS)}.")
        path = inside(row["path"], place)
        one = Video(path, path, join(videos, path), None, row["split"], place)
        before = first.setdefault(path, one)
        if before.split != one.split:
            raise Refused(
                f"{place}: film '{path}' is in split '{one.split}', and in '{before.split}' too "
                f"({before.place}). Give all its rows one split."
            )
        names = [name.strip() for name in row["label"].split(BETWEEN) if name.strip()]
        box = KeyBox(second(row, place), corners(row, place))
        found.setdefault(path, []).extend(box._replace(name=name) for name in names or [""])
    return {path: film._replace(boxes=tuple(found[path])) for path, film in first.items()}


def _with_proposals(films: dict[str, Video], file: Path, listing: Path) -> dict[str, Video]:
    """The films with the proposals of a detector besides.

    Raises:
        Refused: none of them is of one of these films.
    """
    found: dict[str, list[KeyBox]] = {}
    last = ""
    for place, row in csv_rows(file, ("path", "second", *SIDES)):
        path = last = inside(row["path"], place)
        box = KeyBox(second(row, place), corners(row, place), proposed=True)
        found.setdefault(path, []).append(box)
    if not films.keys() & found.keys():
        of = f", such as '{last}'" if last else ""
        raise Refused(f"{file}: no film of {listing} has a box{of}. Write its path as it is there.")
    return {
        path: film._replace(boxes=(*film.boxes, *found.get(path, ())))
        for path, film in films.items()
    }
