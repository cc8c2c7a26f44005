"""Diving48: JSON lists of {vid_name, label}, and the vocabulary of the dives; VID_NAME.mp4 files.

`classes` is Diving48_vocab.json, `train` and `test` are Diving48_V2_train.json and
Diving48_V2_test.json (svcl.ucsd.edu/projects/resound); the dives are cut already.
"""

from __future__ import annotations

from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.datasets.annotations import SPLITS, Annotations, Files, Video
from autox3d.datasets.reading import inside, join, json_content

REQUIRED = ("classes", "train", "test")
OPTIONAL = ("val",)


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the lists; a class is the four parts of its dive, joined by `_`.

    Raises:
        Refused: an entry names no video, or a label that the vocabulary does not have.
    """
    del root
    names = ["_".join(parts) for parts in json_content(files["classes"], list)]
    rows = []
    for split in (split for split in SPLITS if split in files):
        for number, entry in enumerate(json_content(files[split], list), 1):
            place = f"{files[split]} entry {number}"
            if not isinstance(entry, dict) or not isinstance(entry.get("vid_name"), str):
                raise Refused(f"{place}: no 'vid_name'. Each entry has vid_name and label.")
            name, label = inside(entry["vid_name"], place), entry.get("label")
            if not isinstance(label, int) or not 0 <= label < len(names):
                raise Refused(f"{place}: label {label} is none of the {len(names)} dives.")
            rows.append(Video(name, name, join(videos, f"{name}.mp4"), names[label], split, place))
    return Annotations(rows, tuple(sorted(names)))
