"""A fingerprint covers what determines a result; a setting that came later does not change it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from autox3d.core import schema
from autox3d.core.schema import Added
from autox3d.runtime.checkpoint import fingerprint, folder


@dataclass(frozen=True)
class Numbers:
    """Settings for a fingerprint."""

    lr: float
    sizes: tuple[int, ...]


def test_a_fingerprint_covers_everything_that_determines_the_result(tmp_path: Path) -> None:
    """It covers settings and the content of files and folders, not their names or places."""
    table = tmp_path / "clips.parquet"
    table.write_bytes(b"clips")
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "a").write_bytes(b"1")
    first = fingerprint(params=Numbers(0.1, (1, 2)), table=table, weights=weights)

    copy = tmp_path / "copy"
    copy.write_bytes(b"clips")
    assert fingerprint(params=Numbers(0.1, (1, 2)), table=copy, weights=weights) == first
    assert re.fullmatch("[0-9a-f]{16}", first)
    (weights / "a").write_bytes(b"2")
    others = {
        first,
        fingerprint(params=Numbers(0.1, (1, 2)), table=table, weights=weights),
        fingerprint(params=Numbers(0.2, (1, 2)), table=table, weights=weights),
        fingerprint(params=Numbers(0.1, (2, 1)), table=table, weights=weights),
        fingerprint(params=Numbers(0.1, (1, 2)), table=weights, weights=weights),
    }
    assert len(others) == 5
    assert folder("train", a=1).parts[0] == "checkpoints"
    assert folder("train", a=1).name == f"train-{fingerprint(a=1)}"


@schema.table
class Before:
    """Settings of an earlier version."""

    lr: float


@schema.table
class Now:
    """The same settings, with one that a later version added."""

    lr: float
    rate: Annotated[float, Added(0.0)]


def test_a_setting_that_was_added_later_keeps_the_fingerprint() -> None:
    """Only with the value that keeps the earlier behaviour, so old checkpoints are found."""
    before = fingerprint(params=Before(lr=0.1))

    assert fingerprint(params=Now(lr=0.1, rate=0.0)) == before
    assert fingerprint(params={"s": [Now(lr=0.1, rate=0.0)]}) == fingerprint(
        params={"s": [Before(lr=0.1)]}
    )
    assert fingerprint(params=Now(lr=0.1, rate=0.5)) != before
    assert fingerprint(params=Now(lr=0.2, rate=0.0)) != before
