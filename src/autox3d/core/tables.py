"""Parquet tables with the same bytes for the same rows, and the class names in their metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.core.names import check_format

if TYPE_CHECKING:  # what opens no table needs neither pandas nor pyarrow
    import pandas as pd

HALVES = ("weights", "alpha")  # of the training clips of a search, by what is trained on each
CLASSES = b"classes"  # schema metadata: JSON list of names, label index -> name
TASK = b"task"  # schema metadata: the task that the labels are for; left out for CLASSIFY
FORMAT = b"format"  # schema metadata: version of the table's columns; left out for version 1
CLASSIFY = "classify"
MULTILABEL = "multilabel"  # a video may have several labels, or none
DETECT = "detect"  # so may each box at a moment of a video


def write_table(
    frame: pd.DataFrame, path: Path, classes: Sequence[str] = (), task: str = CLASSIFY
) -> None:
    """Writes the rows in their order, without the frame's index, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {CLASSES: json.dumps(list(classes), ensure_ascii=False)} if classes else {}
    if task != CLASSIFY:
        metadata[TASK] = task
    # pandas' own metadata is dropped: it names versions, on which the bytes would depend
    rows = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(
        metadata or None
    )
    with atomic.replacing(path) as part:
        pq.write_table(rows, part, compression="zstd")


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Reads all columns of a table, or the given ones.

    Raises:
        Refused: the file is missing, not Parquet, or of a newer format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path, columns=list(columns) if columns else None)
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error
    _known(path, rows.schema.metadata or {})
    return rows.to_pandas()


def read_classes(path: Path) -> tuple[str, ...]:
    """Reads the class names, by label; empty where the table has none.

    Raises:
        Refused: the file is missing, not Parquet, or of a newer format.
    """
    return tuple(json.loads(_metadata(path).get(CLASSES, b"[]")))


def read_task(path: Path) -> str:
    """Reads the name of the task that the table's labels are for.

    Raises:
        Refused: the file is missing, not Parquet, or of a newer format.
    """
    return _metadata(path).get(TASK, CLASSIFY.encode()).decode()


def _metadata(path: Path) -> dict[bytes, bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error
    return _known(path, metadata)


def _known(path: Path, metadata: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Returns the metadata of a table whose format this version can read; refuses others."""
    check_format(metadata.get(FORMAT, b"1").decode(), path, known=(1,))
    return metadata


def _unreadable(path: Path, error: Exception) -> Refused:
    if isinstance(error, FileNotFoundError):
        return Refused(f"{path}: there is no such file. Run the stage that makes it: `dvc repro`.")
    reason = str(error).splitlines()[0]
    return Refused(f"{path}: not a Parquet table ({reason}). Delete it and run `dvc repro`.")
