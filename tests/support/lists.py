"""Lists of data sets as their tools write them, and what is read from them or said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autox3d.core.errors import Refused
from autox3d.datasets import annotations
from autox3d.datasets.annotations import Annotations


def put(root: Path, **content: str) -> dict[str, str]:
    """Writes annotation files; name -> name, as `annotate.files` has them."""
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    return {name: name for name in content}


def rows(annotated: Annotations) -> list[tuple[str, str | None, str]]:
    """Path, label and split of each video."""
    return [(video.path, video.label, video.split) for video in annotated.videos]


def refusal(root: Path, dataset: str, files: dict[str, str]) -> str:
    """The line, with the folder of the test taken out."""
    with pytest.raises(Refused) as caught:
        annotations.read(dataset, root, "v", files)
    return str(caught.value).replace(f"{root}/", "")
