"""The CSV files that stages leave for each other and for the report: numbers by epoch, pairs.

A number is written with as many digits as it takes to read the same bits again.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.core.origin import run_again

TEXTS, WHOLE = ("phase",), ("epoch",)  # columns of words and of whole numbers; the rest is float


@dataclass(frozen=True)
class Curve:
    """Columns of one length, a row an epoch; a missing number is not-a-number.

    Training: epoch, lr, loss, the task's headline metric, and `val_` of it. Warm-up and search:
    epoch, phase, and the means of `autox3d.search.trace`.
    """

    columns: Mapping[str, Sequence[float | str]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, float | str]], names: Sequence[str] = ()) -> Curve:
        """The rows as columns: those that are named, or those of the first row."""
        names = names or list(rows[0])
        return cls({name: [row.get(name, math.nan) for row in rows] for name in names})

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> list[float]:
        """A column of numbers."""
        return [float(value) for value in self.columns[name]]

    def write(self, path: Path) -> None:
        rows = zip(*self.columns.values(), strict=True)
        _write(path, [list(self.columns), *([_cell(value) for value in row] for row in rows)])

    @classmethod
    def read(cls, path: Path, wanted: Sequence[str]) -> Curve:
        """The whole table, which must have the columns `wanted`.

        Raises:
            Refused: a missing or damaged file, or one that lacks a column.
        """
        head, *rows = _read(path, wanted)
        columns: dict[str, list[float | str]] = {name: [] for name in head}
        for number, row in enumerate(rows, 2):
            for name, cell in zip(head, row, strict=True):
                try:
                    columns[name].append(_value(name, cell))
                except ValueError as error:
                    raise Refused(
                        f"{path}: line {number}: '{name}' must be a number, not '{cell}'. "
                        f"{run_again(path)}"
                    ) from error
        return cls(columns)


class Pair(NamedTuple):
    """A labelled video: its class, and the one that the network predicts."""

    actual: str
    predicted: str


def write_confusion(pairs: Iterable[Pair], path: Path) -> None:
    """One row a labelled video."""
    _write(path, [Pair._fields, *pairs])


def read_confusion(path: Path) -> list[Pair]:
    """What `write_confusion` wrote.

    Raises:
        Refused: a missing or damaged file.
    """
    head, *rows = _read(path, Pair._fields)
    at = [head.index(name) for name in Pair._fields]
    return [Pair(*(row[column] for column in at)) for row in rows]


def _cell(value: float | str) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return str(value)


def _value(name: str, cell: str) -> float | str:
    if name in TEXTS:
        return cell
    if cell == "":
        return math.nan
    return int(cell) if name in WHOLE else float(cell)


def _write(path: Path, rows: Iterable[Sequence[str]]) -> None:
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerows(rows)
    atomic.write_text(path, target.getvalue())


def _read(path: Path, wanted: Sequence[str]) -> list[list[str]]:
    """Head and rows, all of one length."""
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    except FileNotFoundError as error:
        raise Refused(f"{path}: there is no such file. {run_again(path)}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise Refused(f"{path}: not a CSV table ({error}). {run_again(path)}") from error
    if not rows:
        raise Refused(f"{path}: is empty. {run_again(path)}")
    for name in wanted:
        if name not in rows[0]:
            raise Refused(f"{path}: missing column '{name}'. {run_again(path)}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise Refused(
                f"{path}: line {number} has {len(row)} cells, the head has {len(rows[0])}. "
                f"{run_again(path)}"
            )
    return rows
