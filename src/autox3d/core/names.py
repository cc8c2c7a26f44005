"""Formats of files that are kept, and the names that layers have in them.

Files of tensors (weights, supernets, checkpoints):
format 1   says no format, but for checkpoints; a block's depthwise layer is called `look`
format 2   it is called `depthwise`

Tables and records have format 1, and do not say it.
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
    """The same under the names of the current format; names that are current stay."""
    return {name.replace(".look.", ".depthwise."): tensor for name, tensor in tensors.items()}


def check_format(found: object, path: Path, known: Sequence[int] = (1, FORMAT)) -> None:
    """Refuses a file of a format that a later version writes.

    Raises:
        Refused: none of those that are known.
    """
    names = [str(number) for number in known]
    if str(found) not in names:
        raise Refused(
            f"{path}: has format {found}, and this version reads {' and '.join(names)}. "
            "Update autox3d."
        )
