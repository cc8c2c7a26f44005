"""How close a search comes to a target cost, by four forms of the cost term.

Targets are interpolated between the cheapest and the median cost of random networks. The multiplier
(`dual`) follows the expected cost. The papers' forms penalise sampled networks: a range that
extends 5 % to each side of the target, and the hinge, which penalises only networks above it, in
the log form and in the plain one.
"""

from __future__ import annotations

import itertools
from typing import Any

from autox3d.core.scores import Metrics
from autox3d.core.search_records import StudyRecord
from autox3d.core.settings import Study
from autox3d.studies.kind import Kind, ended, record
from autox3d.studies.lab import Lab

WIDTH = 0.05  # half-width of the two-sided range, as a share of its target
LOG = 0.2  # beta of the log form, as in TS-S
PLAIN = 20.0  # beta of the plain form; no paper gives a value
FORMS = ("dual", "range", "hinge", "plain")


def run(lab: Lab, study: Study) -> StudyRecord:
    """One row per form and target: the target, and the final relative distance from it."""
    warm = lab.warm_up("warmup", lab.recipe())
    least, median = lab.spread()
    rows = []
    for form, share in itertools.product(FORMS, study.values):
        target = round(least + share * (median - least), 6)
        result = lab.search(f"{form}{share:g}", lab.recipe(search=asked(form, target)), warm)
        mode, expected = result.costs[-1], result.epochs[-1]["expected_gmacs"]
        off: Metrics = {"off_target": mode / target - 1, "expected_off": expected / target - 1}
        numbers: Metrics = {"target_gmacs": target} | off
        rows.append(ended(f"{form} {share:g}", result, numbers))
    return record(lab, study, rows, {"cheapest_gmacs": least, "median_gmacs": median})


def asked(form: str, target: float) -> dict[str, Any]:
    """The settings of `search` for a form and a target in G multiply-adds."""
    if form == "range":
        bounds = {"floor": (1 - WIDTH) * target, "target": (1 + WIDTH) * target}
        return {"cost": "log", "beta": LOG} | bounds
    forms = {"dual": ("dual", None), "hinge": ("log", LOG), "plain": ("plain", PLAIN)}
    cost, beta = forms[form]
    return {"cost": cost, "beta": beta, "floor": None, "target": target}


KIND = Kind(run, values="one or more shares of the way to the median", counts=range(1, 1000))
