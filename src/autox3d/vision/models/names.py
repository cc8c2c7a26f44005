"""Names of layers in files: the format that is written, and how older ones are read.

format 1   says no format; a block's depthwise layer is called `look`
format 2   it is called `depthwise`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from autox3d.core.errors import Refused

T = TypeVar("T")
FORMAT = 2  # written into model.json, and into the metadata of the supernet's files as KEY
KEY = "autox3d_format"


def modern(tensors: Mapping[str, T]) -> dict[str, T]:
    """The same under the names of the current format; names that are current stay."""
    return {name.replace(".look.", ".depthwise."): tensor for name, tensor in tensors.items()}


def check_format(found: object, path: Path) -> None:
    """Refuses a file of a format that a later version writes.

    Raises:
        Refused: neither 1 nor the current one.
    """
    if str(found) not in ("1", str(FORMAT)):
        raise Refused(
            f"{path}: has format {found}, and this version reads 1 and {FORMAT}. Update autox3d."
        )
