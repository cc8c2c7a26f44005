"""Attention alone (A3D, Table 3): units placed by a search, by hand, and none at all."""

from __future__ import annotations

import itertools

from autox3d.core.search_records import StudyRecord, StudyRow
from autox3d.core.settings import Study
from autox3d.search.space import Draw, Space
from autox3d.studies.kind import Kind, alone, record
from autox3d.studies.lab import Lab

# Placement by hand, as in the table: stage -> number of units, after its first blocks.
MANUAL = {"stage 1": {1: 2}, "stage 2": {2: 2}, "stage 3": {3: 2}, "stages 3, 4": {3: 2, 4: 3}}


def run(lab: Lab, study: Study) -> StudyRecord:
    """One row per network; the searched one has the probability of a unit after each open block."""
    space = lab.space
    free = {"cost": "log", "beta": 0.0, "floor": None, "target": lab.costs.dearest}  # no cost term
    recipe = lab.recipe(search=free)
    result = lab.search("search", recipe, lab.warm_up("warmup", recipe))
    draws = {"without": tuple(0 for _ in space.choices)}
    draws |= {name: by_hand(space, units) for name, units in MANUAL.items()}
    draws["searched"] = result.prior.mode()
    *rows, searched = (alone(lab, study, name, draw) for name, draw in draws.items())
    open_ = [
        (float(choice.group + 1), 1 - row[0])
        for choice, row in zip(space.choices, result.prior.probabilities(), strict=True)
        if len(row) > 1
    ]
    blocks, chances = zip(*open_, strict=True) if open_ else ((), ())
    series = {"block": blocks, "P(unit)": chances}
    return record(
        lab, study, [*rows, StudyRow(name="searched", numbers=searched.numbers, series=series)]
    )


def by_hand(space: Space, units: dict[int, int]) -> Draw:
    """Places GloRe units after the first blocks of the stages; `units` maps stage -> number."""
    stages = list(itertools.accumulate(group.stride == 2 for group in space.groups))
    left, draw = dict(units), []
    for choice in space.choices:
        stage = stages[choice.group]
        here = left.get(stage, 0) > 0 and "glore" in choice.candidates
        draw.append(choice.candidates.index("glore") if here else 0)
        if here:
            left[stage] -= 1
    return tuple(draw)


KIND = Kind(run, trains="if asked")
