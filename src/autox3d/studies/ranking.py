"""Whether the supernet ranks networks as training does, among networks that all can see motion.

Samples random networks of the space whose first group has a temporal kernel: a supernet knows at
once that this kernel is needed, so networks without it would make any ranking look good. Each
network is trained from scratch with several seeds.
"""

from __future__ import annotations

from autox3d.core.search_records import StudyRecord
from autox3d.core.settings import Study
from autox3d.search.space import Draw, Space, within
from autox3d.studies.kind import Kind, alone, record
from autox3d.studies.lab import Lab


def run(lab: Lab, study: Study) -> StudyRecord:
    """Trainings, with the seeds outermost, so that every network soon has its first."""
    networks = seeing_time(lab, study.networks)
    for seed in map(int, study.values):
        for name, draw in networks.items():
            lab.train(lab.space.genotype(draw, name), study.train or "", seed)
    return record(lab, study, [])


def seeing_time(lab: Lab, count: int) -> dict[str, Draw]:
    """`count` random networks of any cost that have a temporal kernel in the first group."""
    kernels = lab.space.choices[0].candidates
    drawn = within(lab.space, lab.costs, 0.0, 1e9, lab.space.size // 2, lab.params.supernet.seed)
    seeing = [draw for draw in drawn if not str(kernels[draw[0]]).startswith("t1_")]
    return {f"random_{number}": draw for number, draw in enumerate(seeing[:count], 1)}


KIND = Kind(
    run,
    values="one or more seeds of the trainings",
    counts=range(1, 1000),
    draws=True,
    trains="always",
)
