"""What the search was worth: its device-hours, against random networks trained for as long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from autox3d.core.intervals import LEVEL, Interval
from autox3d.core.records import Provenance
from autox3d.core.search_records import StudyRecord
from autox3d.reporting.layout import digits
from autox3d.reporting.results import Results
from autox3d.vision.tasks import task as tasks

KIND = "random_networks"  # of study
APART = "null control"
RESAMPLES, SEED = 2000, 1
RUN = f"dvc repro study@{KIND}"


class Worth(NamedTuple):
    """A search and random networks of its cost, trained alike."""

    hours: float  # of all devices: warm-up and search
    each: float  # device-hours a random network, mean
    random: tuple[float, ...]  # the headline of each, on the validation videos
    searched: float  # of the network that the search found

    @property
    def networks(self) -> float:
        """How many random networks could have been trained in the time of the search."""
        return self.hours / self.each


def sentences(results: Results) -> list[str]:
    """For the first screen: the hours of the search, and what they would have bought otherwise."""
    if not (phases := results.phases):
        return []
    parts = [f"{name} {_hours(made)}" for name, made in phases.items()]
    total = sum(map(device_hours, phases.values()))
    apart = results.searches.get(APART)
    control = f"; the null control apart, {_hours(apart)}" if apart and apart.hours else ""
    lines = [f"The search took {digits(total)} device-hours ({', '.join(parts)}{control})."]
    record = next((r for r in results.studies.values() if r.kind == KIND), None)
    measured = record and worth(results, record)
    if not (record and measured):
        asked = KIND in [
            study.get("kind") for study in (results.settings.get("studies") or {}).values()
        ]
        entry = "" if asked else ", with its entry of params/studies in params.yaml"
        return [*lines, f"Against random networks trained as long: not measured; {RUN}{entry}."]
    return [*lines, compared(measured, record)]


def worth(results: Results, record: StudyRecord) -> Worth | None:
    """The numbers of a study of random networks; None if its hours or accuracies are not known."""
    headline = tasks.named(record.task).headline.name
    made = {
        name.rpartition("/train_")[2]: run
        for name, run in results.study_runs.items()
        if name.startswith(f"study@{record.study}/train_")
    }
    searched, *others = record.rows
    values = [row.numbers.get(headline) for row in others]
    hours = [device_hours(made[row.name]) for row in others if row.name in made]
    known = [value for value in values if value is not None]
    ours = searched.numbers.get(headline)
    if ours is None or len(known) < 2 or not sum(hours):
        return None
    each = sum(hours) / len(hours)
    return Worth(sum(map(device_hours, results.phases.values())), each, tuple(known), ours)


def compared(of: Worth, record: StudyRecord) -> str:
    """The best of so many random networks with its interval, and the network found."""
    metric = tasks.named(record.task).headline
    found = f"the network found {metric.text(of.searched)}"
    where = f"({metric.label} on the validation videos, each trained once)"
    if of.networks < 1:
        share = f"{100 * of.networks:.0f} % of the time of one random network"
        return f"That is {share}; {found}, their mean {metric.text(_mean(of.random))} {where}."
    best, (low, high) = best_of(of.random, of.networks)
    more = (
        f" More than the {len(of.random)} that were trained: their best bounds it."
        if of.networks > len(of.random)
        else ""
    )
    return (
        f"In that time {of.networks:.1f} random networks of its cost could be trained: the best of "
        f"them is expected at {metric.text(best)} ({100 * LEVEL:.0f} %: {metric.text(low)} to "
        f"{metric.text(high)}), {found} {where}.{more}"
    )


def best_of(values: Sequence[float], count: float) -> tuple[float, Interval]:
    """The expected best of `count` networks drawn from those measured, and its interval.

    With the values in order, the probability that the best of n is at most the i-th of m is
    (i/m)^n, which holds for fractions of a network as well. The interval is the bootstrap's over
    the networks.
    """
    m = len(values)
    weights = np.diff((np.arange(m + 1) / m) ** count)
    rng = np.random.default_rng(SEED)
    drawn = np.sort(rng.choice(np.asarray(values, np.float64), (RESAMPLES, m)), axis=1) @ weights
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(np.sort(values) @ weights), Interval(float(low), float(high))


def device_hours(made: Provenance) -> float:
    """Hours of wall time, times the devices."""
    return made.hours * made.processes


def _hours(made: Provenance) -> str:
    return digits(device_hours(made))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
