"""Parquet tables with the same bytes for the same rows, and the class names in their metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from autox3d.core import atomic
from autox3d.core.errors import Refused

HALVES = ("weights", "alpha")  # of the training clips of a search, by what is trained on each
CLASSES = b"classes"  # schema metadata: JSON list of names, label index -> name


def write_table(frame: pd.DataFrame, path: Path, classes: Sequence[str] = ()) -> None:
    """Writes the rows in their order, without the frame's index, atomically."""
    metadata = {CLASSES: json.dumps(list(classes), ensure_ascii=False)} if classes else None
    # pandas' own metadata is dropped: it names versions, on which the bytes would depend
    rows = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(metadata)
    with atomic.replacing(path) as part:
        pq.write_table(rows, part, compression="zstd")


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Reads all columns of a table, or the given ones.

    Raises:
        Refused: the file is missing, or not Parquet.
    """
    try:
        return pq.read_table(path, columns=list(columns) if columns else None).to_pandas()
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def read_classes(path: Path) -> tuple[str, ...]:
    """Reads the class names, by label; empty where the table has none.

    Raises:
        Refused: the file is missing, or not Parquet.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error
    return tuple(json.loads(metadata.get(CLASSES, b"[]")))


def _unreadable(path: Path, error: Exception) -> Refused:
    if isinstance(error, FileNotFoundError):
        return Refused(f"{path}: there is no such file. Run the stage that makes it: `dvc repro`.")
    reason = str(error).splitlines()[0]
    return Refused(f"{path}: not a Parquet table ({reason}). Delete it and run `dvc repro`.")
