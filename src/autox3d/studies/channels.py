"""Fair and naive selection of the parts of a shared kernel (A3D, Figure 4, Table 4).

Two warm-ups and two searches differ only in the parts that a candidate uses. Both have the same
one-sided target, half-way between the cheapest and the median cost of random networks.
"""

from __future__ import annotations

from autox3d.core.search_records import StudyRecord, StudyRow
from autox3d.core.settings import Study
from autox3d.search.channel_sets import Selection, uses
from autox3d.studies.kind import Kind, alone, record
from autox3d.studies.lab import Lab

SELECTIONS: tuple[Selection, ...] = ("naive", "fair")


def run(lab: Lab, study: Study) -> StudyRecord:
    """One row per selection: the network's cost by epoch, and the uses of each part."""
    least, median = lab.spread()
    target = round((least + median) / 2, 6)
    rows = []
    for selection in SELECTIONS:
        supernet, search = {"selection": selection}, {"floor": None, "target": target}
        recipe = lab.recipe(supernet=supernet, search=search)
        warm = lab.warm_up(f"{selection}_warmup", recipe)
        result = lab.search(selection, recipe, warm)
        row = alone(lab, study, selection, result.prior.mode())
        series = {"gmacs by epoch": result.costs, **counted(lab, selection)}
        rows.append(StudyRow(name=row.name, numbers=row.numbers, series=series))
    return record(lab, study, rows, {"target_gmacs": target, "median_gmacs": median})


def counted(lab: Lab, selection: Selection) -> dict[str, tuple[float, ...]]:
    """Counts the candidates that use each part of a shared kernel, by group and axis."""
    counts = {}
    for row, axes in enumerate(lab.space.axes(selection), 1):
        for name, ring in (("channels", axes.outputs), ("expansion", axes.expansions)):
            counts[f"uses of {name}, group {row}"] = uses(ring.arcs.values(), ring.count)
    return counts


KIND = Kind(run, trains="if asked")
