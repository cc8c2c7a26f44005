"""What a search costs that was asked to cost something: a range and two hinges at each target.

The target lies on the way from the cheapest network of the space to the median of random ones. A
range reaches a twentieth to each side of it (`search.floor`, `search.target`); a hinge pulls at
what is dearer, in the form and with the weight of the settings, or in the plain form.
"""

from __future__ import annotations

import itertools
from typing import Any

from autox3d.core.records import Metrics
from autox3d.core.search_records import StudyRecord
from autox3d.core.settings import Study
from autox3d.studies.kind import Kind, ended, record
from autox3d.studies.lab import Lab

WIDTH = 0.05  # of the two-sided range, to each side of its target
PLAIN = 20.0  # beta of the plain form, which no paper gives


def run(lab: Lab, study: Study) -> StudyRecord:
    """A row a form and a target: what was asked for, and how far from it the search has ended."""
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
    """The settings of `search` that ask for so many G multiply-adds."""
    if form == "range":
        return {"floor": (1 - WIDTH) * target, "target": (1 + WIDTH) * target}
    plain = {"cost": "plain", "beta": PLAIN} if form == "plain" else {}
    return {"floor": None, "target": target} | plain


KIND = Kind(run, values="one or more shares of the way to the median", counts=range(1, 1000))
