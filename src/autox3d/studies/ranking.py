"""Whether the supernet ranks networks as training does, among networks that all can see motion.

Samples random networks of the space whose first group has a temporal kernel: a supernet knows at
once that this kernel is needed, so networks without it would make any ranking look good. Each
network is trained from scratch with several seeds.
"""

from __future__ import annotations

import itertools

from autox3d.core.search_records import StudyRecord
from autox3d.core.settings import Study
from autox3d.search.space import Draw
from autox3d.studies.kind import Kind, record
from autox3d.studies.lab import Lab, draws

WINDOW = 0.9, 1.0  # of the target: networks among which a search would have to choose


def run(lab: Lab, study: Study) -> StudyRecord:
    """Trainings, with the seeds outermost, so that every network soon has its first."""
    networks = seeing_time(lab, study.networks)
    for seed in map(int, study.values):
        for name, draw in networks.items():
            lab.train(lab.space.genotype(draw, name), study.train or "", seed)
    return record(lab, study, [])


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


KIND = Kind(
    run,
    values="one or more seeds of the trainings",
    counts=range(1, 1000),
    draws=True,
    trains="always",
)
