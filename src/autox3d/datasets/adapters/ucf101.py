"""UCF101: `classInd.txt` (NUMBER CLASS), `trainlist01.txt` (CLASS/VIDEO NUMBER), `testlist01.txt`.

The test lists have no number; where a list has one, it must agree with the folder's name.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from autox3d.core.errors import Refused
from autox3d.datasets.annotations import SPLITS, Annotations, Files, Video
from autox3d.datasets.reading import composed, inside, join, lines, unknown_class

REQUIRED = ("classes", "train", "test")
OPTIONAL = ("val",)


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the lists of videos; the classes are those of the file `classes`.

    Raises:
        Refused: a line has no known class, or a number that is another class's.
    """
    del root
    names = _class_names(files["classes"])
    rows = []
    for split in (split for split in SPLITS if split in files):
        for place, line in lines(files[split]):
            path, _, number = line.partition(" ")
            label = composed(PurePosixPath(path).parent.name)
            if "/" not in path or label not in names.values():
                raise Refused(f"{place}: {unknown_class(label or path, names.values())}")
            if number and names.get(number.strip()) != label:
                means = names.get(number.strip(), "no class")
                raise Refused(f"{place}: class '{label}', but number {number.strip()} is {means}.")
            stem = PurePosixPath(path).stem
            rows.append(Video(stem, stem, join(videos, inside(path, place)), label, split, place))
    return Annotations(rows, tuple(sorted(names.values())))


def _class_names(path: Path) -> dict[str, str]:
    """Reads number -> class name."""
    names: dict[str, str] = {}
    for place, line in lines(path):
        number, _, name = line.partition(" ")
        if not (number.isdecimal() and name.strip()):
            raise Refused(f"{place}: '{line}' is not NUMBER CLASS, like '1 ApplyEyeMakeup'.")
        if number in names:
            raise Refused(f"{place}: number {number} is listed twice. Delete one of the two.")
        names[number] = composed(name.strip())
    return names
