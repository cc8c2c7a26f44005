"""Versions of the file formats, and the names of layers in each.

Files of tensors (weights, supernets, checkpoints):
format 1   a block's depthwise layer is called `look`; only checkpoints record the format
format 2   the layer is called `depthwise`; all files record the format

Tables and records have format 1 and do not record it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from autox3d.core.errors import Refused

T = TypeVar("T")
FORMAT = 2  # in checkpoints, model.json, and as KEY in the metadata of the supernet's files
KEY = "autox3d_format"


def modern(tensors: Mapping[str, T]) -> dict[str, T]:
    """Returns the tensors under the names of the current format."""
    return {name.replace(".look.", ".depthwise."): tensor for name, tensor in tensors.items()}


def check_format(found: object, path: Path, known: Sequence[int] = (1, FORMAT)) -> None:
    """Checks that this version can read a format.

    Raises:
        Refused: the format is not one of the known ones.
    """
    names = [str(number) for number in known]
    if str(found) not in names:
        raise Refused(
            f"{path}: has format {found}, and this version reads {' and '.join(names)}. "
            "Update autox3d."
        )
