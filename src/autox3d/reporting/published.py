"""The tables of the papers, as `published.yaml` has them: every row, and nothing computed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from autox3d.core import schema
from autox3d.core.errors import Refused

PUBLISHED = Path(__file__).with_name("published.yaml")
KINETICS400 = "Kinetics-400"
FIGURE_1 = ("Auto-X3D, Table 5", "Auto-X3D supplement, Table 1")  # its networks, with numbers


@schema.table
class PrintedTable:
    """A table of a paper, or the part of it that is on one split of one data set."""

    source: str
    dataset: str
    split: str | None
    study: str | None  # the kind of our study that its rows are compared with
    columns: tuple[str, ...]  # fields of `Published`
    rows: tuple[tuple[float | int | str | None, ...], ...]


@schema.table
class PublishedTables:
    """The content of published.yaml."""

    tables: tuple[PrintedTable, ...]


class Published(NamedTuple):
    """A printed row; what is not printed is None. Percents and G multiply-adds, as printed."""

    source: str
    dataset: str
    network: str
    split: str | None = None
    study: str | None = None
    name: str | None = None  # of the row of our study that it is compared with
    pretrain: str | None = None
    frames: int | None = None
    views: int | None = None
    top1: float | None = None
    top5: float | None = None
    test: float | None = None  # mean of top-1 and top-5 on the test split
    map: float | None = None
    gmacs: float | None = None  # a view
    total_gmacs: float | None = None  # all views
    params_m: float | None = None  # millions
    seconds: float | None = None  # all views
    floor: float | None = None  # of a search, G
    target: float | None = None  # of a search or a regime, G


def published() -> list[Published]:
    """All printed rows, table by table.

    Raises:
        Refused: published.yaml names an unknown column, or a row is too long or short.
    """
    rows: list[Published] = []
    for table in schema.load(PUBLISHED, PublishedTables).tables:
        if unknown := set(table.columns) - set(Published._fields):
            raise Refused(f"{PUBLISHED}: {table.source}: unknown column '{min(unknown)}'. Fix it.")
        shared = (table.source, table.dataset, table.split, table.study)
        for number, row in enumerate(table.rows, 1):
            if len(row) != len(table.columns):
                raise Refused(
                    f"{PUBLISHED}: {table.source}, row {number}: {len(row)} values for"
                    f" {len(table.columns)} columns. Fix the row."
                )
            given = dict(zip(("source", "dataset", "split", "study"), shared, strict=True))
            rows.append(Published(**given | dict(zip(table.columns, row, strict=True))))  # pyright: ignore[reportArgumentType]
    return rows


def of_study(kind: str, dataset: str | None) -> dict[str, Published]:
    """The rows printed of a data set that a kind of study is compared with, by our own names."""
    alike = [row for row in published() if row.study == kind and row.dataset == dataset]
    return {row.name: row for row in alike if row.name}


def rivals() -> list[Published]:
    """The networks of Auto-X3D's Figure 1: those of its tables with a cost, each once."""
    found: dict[tuple[str, str | None], Published] = {}
    for row in published():
        if row.source in FIGURE_1 and row.gmacs is not None:
            found.setdefault((row.network, row.pretrain), row)
    return list(found.values())
