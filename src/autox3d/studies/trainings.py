"""Each network trained with several seeds, none left out: how far a single training is luck.

The networks are those of `train`, with the genotypes of `studies.NAME.genotypes`, or the one that
`studies.NAME.train` names. Every training is tested as `evaluate` says.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autox3d.core.errors import Refused
from autox3d.core.intervals import bootstrap, wilson
from autox3d.core.scores import Metrics
from autox3d.core.search_records import StudyRecord, StudyRow
from autox3d.core.settings import Study
from autox3d.studies.kind import Kind, record
from autox3d.studies.lab import Answers, Lab
from autox3d.studies.seeds import whole_seeds
from autox3d.training.run import SCRATCH
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.tasks import task as tasks

RESAMPLING = 1  # seed of the bootstrap


class Trial(NamedTuple):
    """One training: a network with a seed."""

    seed: int
    validated: float | None  # the headline on the validation videos
    tested: Answers


def run(lab: Lab, study: Study) -> StudyRecord:
    """A row per training; for each network the minimum and the median of its seeds.

    The numbers of the whole study are each network's headline less that of the first one, paired
    by video and averaged over the seeds, with a bootstrapped interval over the videos.
    """
    names = [study.train] if study.train else list(lab.params.train)
    check(lab, names)
    genotypes = {name: Genotype.load(Path(study.genotypes) / f"{name}.yaml") for name in names}
    headline, rows = tasks.named(lab.task).headline.name, []
    trials: dict[str, list[Trial]] = {}
    for name, genotype in genotypes.items():
        gmacs = cost(genotype, lab.classes).gmacs
        trials[name] = [trial(lab, genotype, name, int(seed)) for seed in study.values]
        rows += [of_seed(name, gmacs, headline, one) for one in trials[name]]
        rows += over_seeds(name, gmacs, headline, trials[name])
    first, *others = names
    compared: Metrics = {}
    for name in others:
        compared |= less(f"{name} less {first}", trials[name], trials[first])
    return record(lab, study, rows, compared)


def check(lab: Lab, names: Sequence[str]) -> None:
    """Raises Refused for a value that is not a seed, or a training that starts from weights."""
    whole_seeds(lab, lab.params.studies[lab.study])
    for name in names:
        if (init := lab.params.train[name].init) != SCRATCH:
            raise Refused(
                f"params.yaml: 'train.{name}.init' is {init}, but a study trains from scratch. "
                f"Set it to {SCRATCH} in 'studies.{lab.study}.overrides'."
            )


def trial(lab: Lab, genotype: Genotype, name: str, seed: int) -> Trial:
    """Trains a network with a seed, and tests it."""
    one = replace(genotype, name=f"{name}_seed{seed}")
    (validated,) = lab.train(one, name, seed).values()
    return Trial(seed, validated, lab.test(one.name))


def of_seed(name: str, gmacs: float, headline: str, one: Trial) -> StudyRow:
    """The row of one training, with Wilson's interval if the headline is a share of the videos."""
    hits = one.tested.hits
    low, high = wilson(sum(hits), len(hits)) if hits else (None, None)
    numbers: Metrics = {headline: one.tested.headline, "low": low, "high": high}
    numbers |= {"validated": one.validated, "gmacs": gmacs}
    return StudyRow(name=f"{name}, seed {one.seed}", numbers=numbers, series={})


def over_seeds(name: str, gmacs: float, headline: str, trials: Sequence[Trial]) -> list[StudyRow]:
    """The rows of a network's minimum and median over its seeds."""
    rows = []
    for word, of in (("minimum", min), ("median", statistics.median)):
        tested = [one.tested.headline for one in trials if one.tested.headline is not None]
        validated = [one.validated for one in trials if one.validated is not None]
        numbers: Metrics = {headline: of(tested) if tested else None, "low": None, "high": None}
        numbers |= {"validated": of(validated) if validated else None, "gmacs": gmacs}
        rows.append(StudyRow(name=f"{name}, {word}", numbers=numbers, series={}))
    return rows


def less(key: str, one: Sequence[Trial], two: Sequence[Trial]) -> Metrics:
    """The mean difference of two networks on the same videos, over all seeds, and its interval."""
    if not all(trial.tested.hits for trial in (*one, *two)):
        return {}
    shares = [np.mean([trial.tested.hits for trial in trials], axis=0) for trials in (one, two)]
    differences = shares[0] - shares[1]
    low, high = bootstrap(differences, RESAMPLING)
    return {key: float(differences.mean()), f"{key}, low": low, f"{key}, high": high}


KIND = Kind(
    run, values="one or more seeds", counts=range(1, 1000), trains="if asked", genotypes=True
)
