"""The search with several seeds, each with its null control, and the agreement of the seeds.

The claim: if classes differ only in motion, the search makes some group's kernels temporal (t3, t5)
with probability 0.9 or more; with the labels of alpha's half shuffled, it makes none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from autox3d.core.errors import Refused
from autox3d.core.search_records import StudyRecord
from autox3d.core.settings import Study
from autox3d.search.prior import Prior
from autox3d.search.space import Draw, Space
from autox3d.studies.kind import Kind, ended, record
from autox3d.studies.lab import Lab


def run(lab: Lab, study: Study) -> StudyRecord:
    """Two rows per seed, search and null control: the probability of temporal kernels by group."""
    whole_seeds(lab, study)
    check(lab)
    rows, modes = [], []
    for seed in map(int, study.values):
        recipe = lab.recipe(supernet={"seed": seed})
        warm = lab.warm_up(f"seed{seed}_warmup", recipe)
        search = lab.search(f"seed{seed}_search", recipe, warm)
        modes.append(search.prior.mode())
        ends = {"search": search}
        if lab.params.control.epochs:
            ends["null control"] = lab.control(f"seed{seed}_control", recipe, warm)
        for name, result in ends.items():
            row = ended(f"seed {seed}, {name}", result, {"seed": float(seed)})
            rows.append(replace(row, series=temporal(lab.space, result.prior)))
    return record(lab, study, rows, {"agreement": agreement(lab.space, modes)})


def whole_seeds(lab: Lab, study: Study) -> None:
    """Raises Refused for a value that is not a seed."""
    if any(value < 0 or value != int(value) for value in study.values):
        raise Refused(
            f"params.yaml: 'studies.{lab.study}.values' must be seeds, whole numbers: "
            f"{list(study.values)}."
        )


def check(lab: Lab) -> None:
    """Raises Refused for a control longer than the search."""
    control, search = lab.params.control.epochs, lab.params.search.epochs
    if control > search:
        raise Refused(
            f"params.yaml: 'studies.{lab.study}': 'control.epochs' is {control}, but the "
            f"search has {search}. Set it to {search} or less in the overrides."
        )


def temporal(space: Space, prior: Prior) -> dict[str, tuple[float, ...]]:
    """The probability of a temporal kernel, for each group whose kernel is searched."""
    rows = [
        (
            float(choice.group + 1),
            math.fsum(
                chance
                for chance, kernel in zip(row, choice.candidates, strict=True)
                if not kernel.startswith("t1_")
            ),
        )
        for choice, row in zip(space.choices, prior.probabilities(), strict=True)
        if choice.column == "kernel" and len(row) > 1
    ]
    groups, chances = zip(*rows, strict=True) if rows else ((), ())
    return {"group": groups, "P(temporal)": chances}


def agreement(space: Space, modes: Sequence[Draw]) -> float:
    """The share of open choices in which two seeds agree, averaged over the pairs of seeds."""
    choices = [number for number, choice in enumerate(space.choices) if len(choice.candidates) > 1]
    pairs = list(itertools.combinations(modes, 2))
    alike = sum(one[choice] == two[choice] for one, two in pairs for choice in choices)
    return alike / (len(pairs) * len(choices)) if pairs else 1.0


KIND = Kind(run, values="one or more seeds", counts=range(1, 1000))
