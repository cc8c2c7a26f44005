"""The derived network compared with random ones of similar cost (TS-S, section 5, Figure 2).

The network is the one that `derive` would take of the search: the most probable one in the window
of the budget. Samples random networks of the space within 5 % of its cost, or in the range in
`values`. On the validation videos each network has a log-likelihood with the calibrated weights of
the supernet, and an accuracy after a training from scratch. Kendall's tau of the two tells whether
the supernet ranks networks as training does (1: same order, 0: unrelated), with its interval over
networks. The number of random networks that the searched one beats is the benefit of the search.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autox3d.core.errors import Refused
from autox3d.core.scores import Metrics
from autox3d.core.search_records import SUPERNET, StudyRecord, StudyRow
from autox3d.core.settings import Study
from autox3d.search.ranking import LIKELIHOOD, kendall_interval
from autox3d.search.space import Draw
from autox3d.studies.kind import Kind, alone, record
from autox3d.studies.lab import Lab, draws
from autox3d.vision.tasks import task as tasks

SEARCHED = "searched"
WIDTH = 0.05  # half-width of the cost window, as a share of that network's cost


def run(lab: Lab, study: Study) -> StudyRecord:
    """One row per network, the searched one first; Kendall's tau and the number beaten."""
    recipe = lab.recipe()
    result = lab.search("search", recipe, lab.warm_up("warmup", recipe))
    found = lab.derived("search", result, recipe).found
    gmacs = lab.costs.of(found)
    least, most = study.values or ((1 - WIDTH) * gmacs, (1 + WIDTH) * gmacs)
    networks = {SEARCHED: found} | beside(lab, study.networks, found, least, most)
    assert result.weights is not None
    by_supernet = lab.ranked(list(networks.values()), result.weights)
    rows = [
        with_supernet(alone(lab, study, name, draw), measured.metrics)
        for (name, draw), measured in zip(networks.items(), by_supernet, strict=True)
    ]
    range_ = {"least_gmacs": least, "most_gmacs": most}
    return record(lab, study, rows, range_ | compared(rows, tasks.named(lab.task).headline.name))


def beside(lab: Lab, count: int, found: Draw, least: float, most: float) -> dict[str, Draw]:
    """Samples `count` random networks other than the searched one; returns them by name."""
    drawn = draws(lab.space, lab.costs, least, most, count + 1, lab.params.supernet.seed)
    others = [draw for draw in drawn if draw != found][:count]
    return {f"random_{number}": draw for number, draw in enumerate(others, 1)}


def with_supernet(row: StudyRow, measured: Metrics) -> StudyRow:
    """Adds the headline with the supernet's weights to a row."""
    inside = {f"{SUPERNET}{name}": value for name, value in measured.items()}
    return StudyRow(name=row.name, numbers=row.numbers | inside, series=row.series)


def compared(rows: Sequence[StudyRow], headline: str) -> dict[str, float]:
    """Kendall's tau over the random networks, and how many of them the first row beats.

    Raises:
        Refused: no validation video has a label, so there is no accuracy.
    """
    values: list[tuple[float, float]] = []
    for row in rows:
        one, two = row.numbers[f"{SUPERNET}{LIKELIHOOD}"], row.numbers[headline]
        if one is None or two is None:
            raise Refused("random networks are compared by accuracy: no video of val has a label.")
        values.append((one, two))
    (_, searched), *others = values
    inside, alone = (np.array(column)[:, None] for column in zip(*others, strict=True))
    tau, low, high = kendall_interval(inside, alone)
    taus = {"kendall_tau": tau, "kendall_tau_low": low, "kendall_tau_high": high}
    return taus | {"beaten": float(sum(searched > two for _, two in others))}


KIND = Kind(
    run,
    values="empty, or the least and the most G multiply-adds of a random network",
    counts=(0, 2),
    draws=True,
    trains="always",
)
