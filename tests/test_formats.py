"""Files that are kept say their format where it is not the first, and a later one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from autox3d.core import tables
from autox3d.core.errors import Refused
from autox3d.core.search_records import Alpha, Choice

LATER = "has format 2, and this version reads 1. Update autox3d."
ALPHA = Alpha(
    space="tiny",
    choices=(
        Choice(
            group=1,
            column="kernel",
            candidates=("t1_s3", "t3_s3"),
            probabilities=((0.5, 0.5), (0.4, 0.6)),
            logits=(-0.1, 0.3),
        ),
    ),
)


def relabelled(path: Path, number: int) -> None:
    """The table as a version has it that writes another format."""
    rows = pq.read_table(path)
    metadata = (rows.schema.metadata or {}) | {b"format": str(number).encode()}
    pq.write_table(rows.replace_schema_metadata(metadata), path)


def test_a_table_of_a_later_format_is_refused_by_each_reader(tmp_path):
    """Its columns might mean something else; the first format has no number, and stays the same."""
    path = tmp_path / "clips.parquet"
    tables.write_table(pd.DataFrame({"key": ["a", "b"]}), path, ["run", "jump"])
    assert b"format" not in (pq.read_schema(path).metadata or {})
    relabelled(path, 1)
    assert tables.read_table(path)["key"].tolist() == ["a", "b"]
    assert tables.read_classes(path) == ("run", "jump")
    relabelled(path, 2)

    for read in (tables.read_table, tables.read_classes, tables.read_task):
        with pytest.raises(Refused) as refused:
            read(path)
        assert str(refused.value) == f"{path}: {LATER}"


def test_alpha_of_a_later_format_is_refused(tmp_path):
    """The first format has no number; a file that gives it is read, too."""
    path = tmp_path / "alpha.json"
    ALPHA.write(path)
    written = json.loads(path.read_text())
    assert "format" not in written
    path.write_text(json.dumps({"format": 1} | written))
    assert Alpha.read(path) == ALPHA
    path.write_text(json.dumps({"format": 2} | written))

    with pytest.raises(Refused) as refused:
        Alpha.read(path)
    assert str(refused.value) == f"{path}: {LATER}"
