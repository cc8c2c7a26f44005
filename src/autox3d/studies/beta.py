"""The weight of the log form (TS-S, Table 1): one warm-up, then one search per beta."""

from __future__ import annotations

from autox3d.core.search_records import StudyRecord
from autox3d.core.settings import Study
from autox3d.studies.kind import Kind, ended, record
from autox3d.studies.lab import Lab


def run(lab: Lab, study: Study) -> StudyRecord:
    """One row per beta, with the end of its search."""
    recipe = lab.recipe()
    warm = lab.warm_up("warmup", recipe)
    rows = []
    for value in study.values:
        result = lab.search(
            f"beta{value:g}", lab.recipe(search={"cost": "log", "beta": value}), warm
        )
        rows.append(ended(f"beta {value:g}", result, {"beta": value}))
    limits = {"floor_gmacs": recipe.search.floor, "target_gmacs": recipe.search.target}
    return record(lab, study, rows, limits)


KIND = Kind(run, values="one or more weights of the cost", counts=range(1, 1000))
