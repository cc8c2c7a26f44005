"""How the multiplier holds a budget on clips: three targets, on several seeds.

Targets are interpolated between the cheapest and the median cost of random networks. For each there
is the expected cost at the end of the search, and the costs of the two networks that it leads to:
the mode, whatever it costs, and the most probable one in the window of the budget.
"""

from __future__ import annotations

import itertools

from autox3d.core.scores import Metrics
from autox3d.core.search_records import StudyRecord
from autox3d.core.settings import Study
from autox3d.studies.kind import Kind, ended, record
from autox3d.studies.lab import Lab

SHARES = (0.25, 0.5, 0.75)  # of the way from the cheapest to the median cost


def run(lab: Lab, study: Study) -> StudyRecord:
    """One row per seed and target."""
    least, median = lab.spread()
    rows = []
    for seed, share in itertools.product(map(int, study.values), SHARES):
        target = round(least + share * (median - least), 6)
        changed = {"cost": "dual", "beta": None, "floor": None, "budget": "gmacs", "target": target}
        recipe = lab.recipe(supernet={"seed": seed}, search=changed)
        warm = lab.warm_up(f"seed{seed}_warmup", recipe)
        name = f"seed{seed}_target{share:g}"
        result = lab.search(name, recipe, warm)
        chosen = lab.derived(name, result, recipe)
        last = result.epochs[-1]
        numbers: Metrics = {
            "seed": float(seed),
            "target_gmacs": target,
            "expected_off": last["budget"] - 1,
            "mode_off": lab.costs.of(chosen.mode) / target - 1,
            "off_target": lab.costs.of(chosen.found) / target - 1,
            "window_nats": chosen.window_nats,
            "multiplier": last["multiplier"],
        }
        rows.append(ended(f"seed {seed}, target {share:g}", result, numbers))
    return record(lab, study, rows, {"cheapest_gmacs": least, "median_gmacs": median})


KIND = Kind(run, values="one or more seeds", counts=range(1, 1000))
