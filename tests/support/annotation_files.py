"""Files of data sets, and what is read from them or said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autox3d.core.errors import Refused
from autox3d.datasets import annotations
from autox3d.datasets.annotations import Annotations

KINETICS_HEAD = "label,youtube_id,time_start,time_end,split"
HEADER = f"{KINETICS_HEAD}\n"
TRAIN = HEADER + "abseiling,-abcdefghij,12,22,train\nzumba,AAAAAAAAAAA,0,10,train\n"
VAL = HEADER + '"abseiling",BBBBBBBBBBB,3,13,validate\n'


def write(root: Path, **files: str) -> dict[str, str]:
    """Writes files under `root`, and returns the setting `annotate.files` that names them."""
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    return {name: name for name in files}


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"video")


def rows(annotated: Annotations) -> list[tuple[str, str, str | None, str]]:
    return [(video.id, video.path, video.label, video.split) for video in annotated.videos]


def refusal(root: Path, dataset: str, files: dict[str, str], videos: str = "v") -> str:
    with pytest.raises(Refused) as error:
        annotations.read(dataset, root, videos, files)
    return str(error.value).replace(str(root), "raw")
