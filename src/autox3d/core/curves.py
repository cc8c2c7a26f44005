"""The CSV files that stages write for each other and for the report: curves and confusions.

Numbers are written with enough digits to read back the same bits.
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

TEXTS, WHOLE = ("phase",), ("epoch",)  # columns of text and of whole numbers; the others are floats


@dataclass(frozen=True)
class Curve:
    """Columns of equal length with one row per epoch; a missing number is nan.

    Training has epoch, lr, loss, the task's headline metric, and the same with the prefix `val_`.
    Warm-up and search have epoch, phase, and the means of `autox3d.search.trace`.
    """

    columns: Mapping[str, Sequence[float | str]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, float | str]], names: Sequence[str] = ()) -> Curve:
        """Makes a curve of rows, with the columns `names`; by default, those of the first row."""
        names = names or list(rows[0])
        return cls({name: [row.get(name, math.nan) for row in rows] for name in names})

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> list[float]:
        """The numbers of one column."""
        return [float(value) for value in self.columns[name]]

    def write(self, path: Path) -> None:
        rows = zip(*self.columns.values(), strict=True)
        _write(path, [list(self.columns), *([_cell(value) for value in row] for row in rows)])

    @classmethod
    def read(cls, path: Path, wanted: Sequence[str]) -> Curve:
        """Reads all columns of a file, which must include those in `wanted`.

        Raises:
            Refused: the file is missing or damaged, or lacks a column.
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
    """The actual and the predicted class of a labelled video."""

    actual: str
    predicted: str


def write_confusion(pairs: Iterable[Pair], path: Path) -> None:
    """Writes one row per labelled video."""
    _write(path, [Pair._fields, *pairs])


def read_confusion(path: Path) -> list[Pair]:
    """Reads a file of `write_confusion`.

    Raises:
        Refused: the file is missing or damaged.
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
    """The header and the rows, all of equal length."""
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
