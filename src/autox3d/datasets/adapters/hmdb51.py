"""HMDB51: for each class CLASS_test_split1.txt, lines VIDEO.avi and 1 (train), 2 (test), 0 (none).

The archive `test_train_splits.rar` has three such files a class, as its split_readme.txt says
(serre-lab.clps.brown.edu, "HMDB: a large human motion database"). `annotate.files` names the folder
of these files under the split's name: `split1: hmdb51/testTrainMulti_7030_splits`. The videos are
CLASS/VIDEO.avi, as the archives of the classes have them.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from autox3d.core.errors import Refused
from autox3d.datasets.annotations import Annotations, Files, Video
from autox3d.datasets.reading import inside, join, lines

REQUIRED = ()
OPTIONAL = ("split1", "split2", "split3")
SPLIT = {"1": "train", "2": "test"}


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the files of one split; the classes are those that have one.

    Raises:
        Refused: not just one split is named, its folder has no such file, or a line is another.
    """
    del root
    if len(files) != 1:
        raise Refused(
            f"params.yaml: 'annotate.files' must have just one of {', '.join(OPTIONAL)}, with the "
            "folder of HMDB51's split files."
        )
    ((split, folder),) = files.items()
    ending = f"_test_{split}.txt"
    lists = {path.name.removesuffix(ending): path for path in sorted(folder.glob(f"*{ending}"))}
    if not lists:
        raise Refused(f"{folder}: no file CLASS{ending} in it. Fix annotate.files.{split}.")
    rows = []
    for label, path in lists.items():
        for place, line in lines(path):
            match = re.fullmatch(r"(.+\.avi)\s+([012])", line)
            if match is None:
                raise Refused(f"{place}: '{line}' is not VIDEO.avi and 0, 1 or 2.")
            name, number = match.groups()
            if number in SPLIT:
                stem = PurePosixPath(inside(name, place)).stem
                rows.append(
                    Video(stem, stem, join(videos, label, name), label, SPLIT[number], place)
                )
    return Annotations(rows, tuple(sorted(lists)))
