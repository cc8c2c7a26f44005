"""The command that says what the pipeline is doing, beside whatever is at work."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

from autox3d.commands.parser import Commands

if TYPE_CHECKING:  # importing DVC is slow
    from autox3d.pipeline.status import Row

FEW = 4  # stages of one entry that a line names


def add_to(commands: Commands) -> None:
    """Adds the command status."""
    one = commands.add("status", status, "autox3d status")
    one.add_argument("--json", action="store_true", help="print JSON")


def status(args: argparse.Namespace) -> None:
    """Print what each stage is doing, from files alone; nothing is locked, hashed or written."""
    from autox3d.pipeline import status as pipeline

    engines, rows = pipeline.engines(), pipeline.rows()
    if args.json:
        print(json.dumps({"engines": engines, "stages": [asdict(row) for row in rows]}, indent=2))
        return
    print("\n".join([*engines, *lines(rows)]))


def lines(rows: list[Row]) -> list[str]:
    """A line for each stage that is not done, one for items that are alike, one for all done."""
    cells = []
    for (state, _, experiment, text), alike in groupby(rows, key=_kind):
        if state != "done":
            name = _named([row.stage for row in alike])
            cells.append((state, f"{name} ({experiment})" if experiment else name, text))
    widths = [max((len(row[column]) for row in cells), default=0) for column in (0, 1)]
    found = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {text}".rstrip() for a, b, text in cells]
    done = [row.stage for row in rows if row.state == "done"]
    names = [_named(list(alike)) for _, alike in groupby(done, key=_entry)]
    stages = sum(not row.experiment for row in rows)
    return [*found, f"{len(done)} of {stages} done" + ": " * bool(names) + ", ".join(names)]


def _kind(row: Row) -> tuple[str, str, str, str]:
    """Rows that are alike and stand together share a line."""
    return row.state, _entry(row.stage), row.experiment, row.text


def _entry(stage: str) -> str:
    return stage.partition("@")[0]


def _named(stages: list[str]) -> str:
    """`train@s`, `train@s,m`, or how many there are."""
    entry, items = _entry(stages[0]), [stage.partition("@")[2] for stage in stages]
    if len(stages) > FEW:
        return f"{entry} ({len(stages)})"
    return f"{entry}@{','.join(items)}" if items[0] else entry
