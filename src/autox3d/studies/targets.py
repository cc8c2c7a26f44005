"""How close a search comes to a target cost: a range and two hinges at each target.

Targets are interpolated between the cheapest and the median cost of random networks. A range
extends 5 % to each side of the target (`search.floor`, `search.target`). A hinge penalises only
networks above the target, with the form and weight in the settings, or in the plain form.
"""

from __future__ import annotations

import itertools
from typing import Any

from autox3d.core.records import Metrics
from autox3d.core.search_records import StudyRecord
from autox3d.core.settings import Study
from autox3d.studies.kind import Kind, ended, record
from autox3d.studies.lab import Lab

WIDTH = 0.05  # half-width of the two-sided range, as a share of its target
PLAIN = 20.0  # beta of the plain form; no paper gives a value


def run(lab: Lab, study: Study) -> StudyRecord:
    """One row per form and target: the target, and the final relative distance from it."""
    warm = lab.warm_up("warmup", lab.recipe())
    least, median = lab.spread()
    rows = []
    for form, share in itertools.product(("range", "hinge", "plain"), study.values):
        target = round(least + share * (median - least), 6)
        result = lab.search(f"{form}{share:g}", lab.recipe(search=asked(form, target)), warm)
        off = result.costs[-1] / target - 1
        numbers: Metrics = {"target_gmacs": target, "off_target": off}
        rows.append(ended(f"{form} {share:g}", result, numbers))
    return record(lab, study, rows, {"cheapest_gmacs": least, "median_gmacs": median})


def asked(form: str, target: float) -> dict[str, Any]:
    """The settings of `search` for a form and a target in G multiply-adds."""
    if form == "range":
        return {"floor": (1 - WIDTH) * target, "target": (1 + WIDTH) * target}
    plain = {"cost": "plain", "beta": PLAIN} if form == "plain" else {}
    return {"floor": None, "target": target} | plain


KIND = Kind(run, values="one or more shares of the way to the median", counts=range(1, 1000))
