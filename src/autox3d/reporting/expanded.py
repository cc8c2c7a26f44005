"""results/expand/ as typed records: what each step of an expansion tried, found and took.

The accuracy of a candidate is the mean of its trainings, one for each seed. Its interval counts
the videos alone where there is one seed (Wilson's), and otherwise, as the noise of a choice does,
the videos and the seeds (`autox3d.sizing.choice`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist, fmean, pvariance, variance
from typing import Any, NamedTuple

from autox3d.core.intervals import LEVEL, Interval, wilson
from autox3d.core.records import Provenance
from autox3d.sizing.choice import CandidateRecord, StepChoice, Trained
from autox3d.sizing.steps import STEP, ExpansionStep

FOLDER = "expand"


class Tried(NamedTuple):
    """A step of the path, or the reduction to a target, as far as it has come."""

    name: str
    step: ExpansionStep | None  # its candidates
    taken: StepChoice | None
    runs: dict[str, list[Trained]]  # axis -> its trainings that are done, by seed


class Expansion(NamedTuple):
    """An expansion, as far as it has come."""

    base: str  # its name
    path: list[Tried]
    targets: list[Tried]
    made: dict[str, Provenance]  # of each training, by its stage: candidate@step1-depth-1
    missing: list[str]  # files that are not there yet

    @property
    def hours(self) -> float:
        """Device-hours of all trainings of candidates."""
        return sum(made.hours * made.processes for made in self.made.values())


def read(folder: Path, settings: Mapping[str, Any]) -> Expansion | None:
    """Reads what is there of the expansion that the settings ask for; None if they ask for none.

    Args:
        folder: of all results
        settings: the content of params.yaml

    Raises:
        Refused: a file is damaged.
    """
    asked = settings.get("expand") or {}
    if not (path := asked.get("path")):
        return None
    top, seeds, missing = folder / FOLDER, asked["seeds"], []
    made: dict[str, Provenance] = {}

    def tried(stage: str, name: str, axes: Sequence[str]) -> Tried:
        places = {"candidate": ("steps", "choices"), "reduced": ("targets", "selected")}[stage]
        sized, taken = top / places[0] / name, top / places[1] / f"{name}.json"
        step = ExpansionStep.read(sized) if (sized / STEP).exists() else None
        choice = StepChoice.read(taken) if taken.exists() else None
        missing.extend([] if choice else [str(taken)])
        runs: dict[str, list[Trained]] = {}
        for axis in axes:
            for seed in seeds:
                record, of = (
                    top / "trained" / name / f"{axis}_{seed}.json",
                    top / "made" / f"{name}_{axis}_{seed}.json",
                )
                if record.exists() and (found := CandidateRecord.read(record).trained):
                    runs.setdefault(axis, []).append(found)
                    if of.exists():
                        made[f"{stage}@{name}-{axis}-{seed}"] = Provenance.read(of)
        return Tried(name, step, choice, runs)

    return Expansion(
        base=next(iter(asked["base"])),
        path=[tried("candidate", name, asked["axes"]) for name in path],
        targets=[tried("reduced", name, asked["contract"]) for name in asked["targets"]],
        made=made,
        missing=missing,
    )


def mean(runs: Sequence[Trained]) -> float:
    """The headline metric of a candidate, over its seeds."""
    return fmean(one.value for one in runs)


def interval(runs: Sequence[Trained], level: float = LEVEL) -> Interval | None:
    """The interval of that mean; None where neither videos nor seeds say anything of its chance.

    Of several seeds it is normal, with the variance of the videos, each averaged over the seeds,
    and that of the seeds, and does not leave [0, 1].
    """
    counted = all(one.hits for one in runs)
    if len(runs) == 1:
        (alone,) = runs
        return wilson(sum(alone.hits), len(alone.hits), level) if counted else None
    chance = variance([one.value for one in runs]) / len(runs)
    if counted:
        videos = [fmean(answers) for answers in zip(*(one.hits for one in runs), strict=True)]
        chance += pvariance(videos) / len(videos)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(chance)
    return Interval(max(0.0, mean(runs) - half), min(1.0, mean(runs) + half))


def guessing(classes: int, videos: int) -> Interval:
    """What a network that guesses reaches in 19 trainings of 20, on so many videos."""
    share = 1 / classes
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(share * (1 - share) / videos)
    return Interval(max(0.0, share - half), min(1.0, share + half))
