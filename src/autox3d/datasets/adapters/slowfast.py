"""SlowFast's lists of videos: train.csv, val.csv, test.csv with lines PATH LABEL and no header.

slowfast/datasets/DATASET.md of facebookresearch/SlowFast has the form; the separator is a blank, or
the comma of DATA.PATH_LABEL_SEPARATOR. Paths are relative to the folder of the videos
(DATA.PATH_PREFIX), or absolute ones below it. `classes` may be its JSON of class names.
"""

from __future__ import annotations

from pathlib import Path

from autox3d.datasets import numbered
from autox3d.datasets.annotations import SPLITS, Annotations, Files

REQUIRED, OPTIONAL = numbered.REQUIRED, numbered.OPTIONAL


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the lists; without a class list, a class is called by its number.

    Raises:
        Refused: a line is not PATH LABEL, or its number that of no class.
    """
    return numbered.read(root / videos, videos, files, dict.fromkeys(SPLITS, ""))
