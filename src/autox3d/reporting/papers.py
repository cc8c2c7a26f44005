"""What the papers print: beside results on the same data set, and in a page of its own.

Numbers of other data are never shown beside a result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from autox3d.reporting import figures
from autox3d.reporting.figures import Point
from autox3d.reporting.layout import Figure, Section, Source, Table
from autox3d.reporting.published import KINETICS400, Published, published, rivals
from autox3d.reporting.results import Results
from autox3d.vision.tasks import task as tasks

KINETICS = tasks.named("classify").headline  # what the papers print
ORIGIN = Source("src/autox3d/reporting/published.yaml")
DATA_SETS = {  # the forms of `annotate.dataset`, with the number of classes
    ("kinetics", 400): KINETICS400,
    ("kinetics", 600): "Kinetics-600",
    ("somethingv2", 174): "Something-Something-V2",
    ("charades", 157): "Charades",
    ("ava 2.1", 60): "AVA 2.1",
    ("ava 2.2", 60): "AVA 2.2",
}
AVA = re.compile(r"_v(2\.[12])\.csv$")  # the version, in the names of its lists
PRINTED = {  # columns of `Published` in the order that they are shown
    "network": "network",
    "pretrain": "pretraining",
    "frames": "frames",
    "views": "views",
    "top1": "top-1, %",
    "top5": "top-5, %",
    "test": "test, %",
    "map": "mAP, %",
    "floor": "least, G",
    "target": "target, G",
    "gmacs": "G a view",
    "total_gmacs": "G, all views",
    "params_m": "parameters, M",
    "seconds": "seconds",
}
CAPTION = (
    "Kinetics-400, as Auto-X3D's Figure 1; most with 30 views, left, centre and right crops. "
    "* after pretraining on ImageNet."
)


def papers(results: Results) -> Section:
    """The printed tables of the results' own data set; nothing where the papers have none."""
    section = Section("papers", "The papers")
    dataset = dataset_of(results)
    rows = [row for row in published() if row.dataset == dataset]
    if not rows or dataset is None:
        return section
    section.lead = (
        f"Printed on {dataset}, of which every copy lacks other videos, and after other trainings. "
        "Costs as the papers print them."
    )
    if dataset == KINETICS400:
        section.elements.append(_figure(_ours(results)))
    section.elements += _tables(rows)
    return section


def all_papers() -> Section:
    """Every printed table, for the page of its own."""
    lead = "Every row as it is printed, and nothing computed. Costs as the papers print them."
    section = Section("papers", "The papers", lead)
    section.elements.append(_figure([]))
    section.elements += _tables(published())
    return section


def dataset_of(results: Results) -> str | None:
    """The data set by the name that the papers' tables have it; None for another one."""
    asked = results.settings.get("annotate") or {}
    form = str(asked.get("dataset"))
    if form == "ava" and (version := AVA.search(str(asked["files"]["train"]))):
        form = f"ava {version[1]}"
    return DATA_SETS.get((form, results.data.classes)) if results.data else None


def _ours(results: Results) -> list[Point]:
    """The tested networks of this run, in percent as the papers print it."""
    return [
        Point(n.name, True, n.evaluation.gmacs(n.evaluation.crops), 100 * n.headline)
        for n in results.tested
        if n.evaluation.split == "val"
    ]


def _figure(ours: Sequence[Point]) -> Figure:
    svg = figures.published_over_cost(rivals(), KINETICS, ours)
    title = "Accuracy over cost in print"
    return Figure(f"{title}, and here" if ours else title, svg, CAPTION, ORIGIN, wide=True)


def _tables(rows: Sequence[Published]) -> list[Table]:
    titles = dict.fromkeys(map(_title, rows))
    return [_printed(title, [row for row in rows if _title(row) == title]) for title in titles]


def _title(row: Published) -> str:
    """A table of a paper, on one split of one data set."""
    return f"{row.source}: {row.dataset}{f' {row.split}' if row.split else ''}"


def _printed(title: str, rows: Sequence[Published]) -> Table:
    """A table of a paper, with the columns that it prints."""
    shown = [field for field in PRINTED if any(getattr(row, field) is not None for row in rows)]
    cells = [[_cell(getattr(row, field)) for field in shown] for row in rows]
    return Table(title, [PRINTED[field] for field in shown], cells, ORIGIN, folded=True)


def _cell(value: str | float | None) -> str:
    return "-" if value is None else str(value)
