"""Which candidate a step of an expansion takes, and whether the videos or noise decided.

A candidate is trained once for each seed, and tested on the same videos as the others. The lead is
the mean headline metric of the best candidate over the seeds, less that of the next one. With d_v,
the difference of the two at video v, averaged over S seeds, and D_s, their difference with seed s,

    noise^2 = variance of d_v / videos + variance of D_s / S

The first part is chance in the choice of the videos (for one seed, that of a paired difference of
two binomial shares), the second one chance in training. With one seed the second part is not
known, and the record says so. The videos decided if the lead is more than twice the noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, pvariance, variance
from typing import Literal

from autox3d.core import atomic
from autox3d.core.record_files import read_record
from autox3d.core.schema import table
from autox3d.core.values import Axis, Regularisation, Unit
from autox3d.sizing.expansion import Factors

Counts = Literal["videos", "videos and seeds", "seeds", "nothing"]
BEYOND = 2  # times the noise: what chance exceeds in one case of twenty


@table
class Trained:
    """trained/<step>/<axis>_<seed>.json: one training of a candidate, and its test."""

    seed: int
    metric: str  # name of the task's headline metric
    value: float  # on the validation videos: centre crops, the most clips of `evaluate.clips`
    training: float  # on the training clips, as they are augmented, in the last epoch
    hits: tuple[bool, ...]  # whether each video is right, by key; empty: it is no share of videos


@table
class CandidateRecord:
    """The file of a training that may not have taken place."""

    trained: Trained | None
    why: str  # nothing was trained; empty if it was

    def write(self, path: Path) -> None:
        atomic.write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> CandidateRecord:
        """Reads the file; raises Refused if it is missing or damaged."""
        return read_record(path, cls)


@table
class Contest:
    """The candidates of a step against each other."""

    metric: str
    seeds: tuple[int, ...]
    scores: dict[str, tuple[float, ...]]  # axis -> its value with each seed
    runner_up: str | None  # None: there was one candidate
    lead: float | None  # over the runner-up, in the mean over the seeds
    noise: float | None  # standard deviation of the lead; None: not known
    counts: Counts  # what the noise counts
    decided: Literal["clips", "noise", "alone"]  # alone: there was one candidate
    gap: float  # of the taken one: error on validation videos less that on training clips


@table
class StepChoice:
    """choices/<step>.json: the network that a step of an expansion takes, and how surely."""

    step: str  # its name, or that of the base
    number: int  # 0: the base
    axis: Axis | None  # None: the base
    factors: Factors
    unit: Unit
    price: float
    gmacs: float
    level: Regularisation | None
    gaps: tuple[float, ...]  # of the steps so far
    contest: Contest | None  # None: nothing was trained
    absent: dict[str, str]  # axis -> why it has no candidate

    def write(self, path: Path) -> None:
        atomic.write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> StepChoice:
        """Reads the file; raises Refused if it is missing or damaged."""
        return read_record(path, cls)


def contest(trained: Mapping[str, Sequence[Trained]]) -> tuple[str, Contest]:
    """The axis with the best mean over the seeds, and how surely it is the best.

    Of equal means the first axis wins.

    Args:
        trained: axis -> its trainings, with the same seeds in the same order
    """
    means = {axis: fmean(one.value for one in runs) for axis, runs in trained.items()}
    best = max(means, key=lambda axis: means[axis])
    others = [axis for axis in means if axis != best]
    second = max(others, key=lambda axis: means[axis]) if others else None
    runs = trained[best]
    noise, counts = noise_of(runs, trained[second]) if second else (None, "nothing")
    lead = means[best] - means[second] if second else None
    if lead is None:
        decided = "alone"
    else:
        decided = "clips" if noise is not None and lead > BEYOND * noise else "noise"
    return best, Contest(
        metric=runs[0].metric,
        seeds=tuple(one.seed for one in runs),
        scores={axis: tuple(one.value for one in trained[axis]) for axis in trained},
        runner_up=second,
        lead=lead,
        noise=noise,
        counts=counts,
        decided=decided,
        gap=fmean(one.training - one.value for one in runs),
    )


def noise_of(one: Sequence[Trained], two: Sequence[Trained]) -> tuple[float | None, Counts]:
    """The standard deviation of the difference of two candidates' means, and what it counts."""
    pairs = list(zip(one, two, strict=True))
    seeds = variance([a.value - b.value for a, b in pairs]) / len(pairs) if len(pairs) > 1 else None
    videos = None
    if all(a.hits and b.hits for a, b in pairs):
        by_seed = [[int(x) - int(y) for x, y in zip(a.hits, b.hits, strict=True)] for a, b in pairs]
        differences = [fmean(video) for video in zip(*by_seed, strict=True)]
        videos = pvariance(differences) / len(differences)
    counts: dict[tuple[bool, bool], Counts] = {
        (False, False): "nothing",
        (True, False): "videos",
        (False, True): "seeds",
        (True, True): "videos and seeds",
    }
    what = counts[videos is not None, seeds is not None]
    return None if what == "nothing" else math.sqrt((videos or 0) + (seeds or 0)), what
