"""Something-Something-V2: JSON lists of {id, template}, the classes in `labels`; WebM files.

The class is the template without its brackets: "Moving [something] up" -> "Moving something up".
"""

from __future__ import annotations

import re
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.datasets.annotations import SPLITS, Annotations, Files, Video
from autox3d.datasets.reading import join, json_content

REQUIRED = ("labels", "train", "val")
OPTIONAL = ("test",)


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the lists of videos; the classes are the keys of the file `labels`.

    Raises:
        Refused: a file is not of the expected JSON type, or an entry has no usable id.
    """
    del root
    labels = json_content(files["labels"], dict)
    rows = []
    for split in (split for split in SPLITS if split in files):
        for number, row in enumerate(json_content(files[split], list), 1):
            place = f"{files[split]} entry {number}"
            if not isinstance(row, dict) or not re.fullmatch(r"[\w-]+", str(row.get("id", ""))):
                raise Refused(f"{place}: no 'id'. Each entry is a table with id and template.")
            name, template = str(row["id"]), row.get("template")
            label = None if template is None else re.sub(r"[\[\]]", "", str(template))
            path = join(videos, f"{name}.webm")
            rows.append(Video(name, name, path, label, split, place))
    return Annotations(rows, tuple(sorted(labels)))
