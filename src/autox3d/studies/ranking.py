"""Whether the supernet ranks networks as training does, among networks that all can see motion.

Samples random networks near the target whose first group has a temporal kernel: that this kernel is
needed a supernet learns at once, so that networks without it would make any ranking look good. Each
network is trained from scratch with several seeds. Beside it stands its log-likelihood on the
validation videos, with the weights of a warm-up for each way to draw paths (`warmup.paths`) and
to share channels, with equally many passes through the supernet. Kendall's tau tells how well two
orders agree (1: the same order, 0: unrelated); its interval is over networks and seeds.
"""

from __future__ import annotations

import itertools

import numpy as np

from autox3d.core.errors import Refused
from autox3d.core.scores import Metrics
from autox3d.core.search_records import StudyRecord, StudyRow
from autox3d.core.settings import Paths, Study
from autox3d.search.channel_sets import Selection
from autox3d.search.ranking import LIKELIHOOD, kendall_interval
from autox3d.search.space import Draw
from autox3d.studies.kind import Kind, record
from autox3d.studies.lab import Lab, draws
from autox3d.vision.tasks import task as tasks

WINDOW = 0.9, 1.0  # of the target: networks among which a search would have to choose
WARM_UPS: dict[str, tuple[Selection, Paths]] = {
    "random": ("fair", "random"),
    "strict": ("fair", "strict"),
    "naive": ("naive", "random"),
    "sandwich": ("naive", "sandwich"),
}


def run(lab: Lab, study: Study) -> StudyRecord:
    """A row for each network; Kendall's tau for each way to draw paths, and for the cost alone."""
    networks, headline = seeing_time(lab, study.networks), tasks.named(lab.task).headline.name
    trained = alone(lab, study, networks, headline)  # (networks, seeds)
    measured = {"cost": np.array([[lab.costs.of(draw)] for draw in networks.values()])}
    for name, (selection, paths) in WARM_UPS.items():
        recipe = lab.recipe(supernet={"selection": selection}, warmup={"paths": paths})
        weights = lab.warm_up(f"warmup_{name}", recipe)
        ranked = lab.ranked(list(networks.values()), weights, recipe)
        measured[name] = np.array([[one.mean] for one in ranked])
    numbers: Metrics = {}
    for name, values in measured.items():
        tau, low, high = kendall_interval(values, trained)
        numbers |= {f"tau_{name}": tau, f"tau_{name}_low": low, f"tau_{name}_high": high}
    rows = []
    for row, name in enumerate(networks):
        of: Metrics = {
            "gmacs": measured["cost"][row, 0].item(),
            headline: trained[row].mean().item(),
        }
        of |= {f"{LIKELIHOOD}_{what}": measured[what][row, 0].item() for what in WARM_UPS}
        seeds = {"seed": study.values, f"{headline} by seed": tuple(trained[row].tolist())}
        rows.append(StudyRow(name=name, numbers=of, series=seeds))
    return record(lab, study, rows, numbers)


def seeing_time(lab: Lab, count: int) -> dict[str, Draw]:
    """`count` random networks near the target whose first group has a temporal kernel.

    Raises:
        Refused: there are not enough of them.
    """
    kernels, target = lab.space.choices[0].candidates, lab.params.search.target
    seen = {number for number, kernel in enumerate(kernels) if not kernel.startswith("t1_")}
    least, most = (share * target for share in WINDOW)
    for asked in itertools.count(count, count):
        drawn = draws(lab.space, lab.costs, least, most, asked, lab.params.supernet.seed)
        found = [draw for draw in drawn if draw[0] in seen][:count]
        if len(found) == count:
            return {f"random_{number}": draw for number, draw in enumerate(found, 1)}
    raise AssertionError


def alone(lab: Lab, study: Study, networks: dict[str, Draw], headline: str) -> np.ndarray:
    """Trains every network with every seed, (networks, seeds); the first seed of all comes first.

    Raises:
        Refused: no validation video has a label.
    """
    found = np.zeros((len(networks), len(study.values)))
    for column, seed in enumerate(map(int, study.values)):
        for row, (name, draw) in enumerate(networks.items()):
            genotype = lab.space.genotype(draw, f"{name}_seed{seed}")
            value = lab.train(genotype, study.train or "", seed)[headline]
            if value is None:
                raise Refused("ranking is compared by accuracy: no video of val has a label.")
            found[row, column] = value
    return found


KIND = Kind(
    run,
    values="one or more seeds of the trainings",
    counts=range(1, 1000),
    draws=True,
    trains="always",
)
