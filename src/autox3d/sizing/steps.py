"""The steps of an expansion and the contractions behind them: records, and what makes them.

    begin      the base -> choices/<base>.json
    grow       choices/<before>.json -> steps/<step>/: step.json, and a genotype for each axis
    choose     trained/<step>/ -> choices/<step>.json (`sizing.choice`)
    contract   all choices -> targets/<target>/: the same files as of a step
    select     trained/<target>/ -> selected/<target>.json, and the genotype to train

An axis that has no candidate in a step is recorded with the reason, so that the graph of stages
does not depend on what is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.core.record_files import read_record
from autox3d.core.schema import table
from autox3d.core.values import Axis, Expand, Regularisation, Unit
from autox3d.sizing import regularisation
from autox3d.sizing.choice import CandidateRecord, StepChoice, Trained, contest
from autox3d.sizing.expansion import (
    AS_IT_IS,
    TIME,
    Factors,
    Price,
    candidates,
    contracted,
    jitter,
    network,
    reached,
    start,
)
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

STEP = "step.json"
FIX = "Change it, or the steps of expand.path."
UNITS: dict[Unit, str] = {"gmacs": "G", "params": "M", "memory": "MB", "ms": "ms"}


@table
class Candidate:
    """One network of a step, and what it costs at its centre crop."""

    factors: Factors
    price: float  # in the unit of the budget
    gmacs: float
    params: int
    memory_mb: float  # most activations that are kept at once
    jitter: tuple[int, int]  # range of the shorter side in training, px


@table
class ExpansionStep:
    """step.json: the candidates of a step or of a contraction."""

    step: str  # its name: step1, or the target's
    number: int  # of the step, from 1
    unit: Unit
    before: float  # price of the network before; of a contraction: the target
    level: Regularisation | None  # None: the candidates are trained as the entry of `train` says
    candidates: dict[str, Candidate]  # by axis
    absent: dict[str, str]  # axis -> why it has no candidate
    grew: Axis | None = None  # of a contraction: the axis of the step that it reduces, or keeps

    def write(self, folder: Path) -> None:
        atomic.write_json(folder / STEP, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> ExpansionStep:
        """Reads it in a folder of candidates; raises Refused if it is missing or damaged."""
        return read_record(folder / STEP, cls)


def begin(
    base: Genotype, name: str, stride: int, unit: Unit, price: Price, classes: int
) -> StepChoice:
    """The record of the base, as if a step 0 had taken it.

    Raises:
        Refused: the base has two streams, whose axes the method does not know.
    """
    if base.dense:
        raise Refused(
            f"{base.name}: has two streams, and an expansion grows one. Take another base."
        )
    return StepChoice(
        step=name,
        number=0,
        axis=None,
        factors=start(base, stride),
        unit=unit,
        price=price(base),
        gmacs=cost(base, classes).gmacs,
        level=None,
        gaps=(),
        contest=None,
        absent={},
    )


def grow(
    base: Genotype, before: StepChoice, step: str, asked: Expand, price: Price, classes: int
) -> tuple[ExpansionStep, dict[str, Genotype]]:
    """The candidates of a step, and their genotypes by axis.

    Args:
        before: what the step before has chosen
        step: the name of this one
        classes: of the head, where a network's size is recorded

    Raises:
        Refused: no axis multiplies the cost, or no candidate fits the memory; a target is below
            the base.
    """
    number = before.number + 1
    if number == 1:
        for target, most in asked.targets.items():
            _refuse_below(target, most, before.price)
    try:
        found = candidates(base, before.factors, price, asked.rate, asked.axes)
        level = level_of(asked, number, before.gaps)
    except ValueError as error:
        raise Refused(
            f"params.yaml: 'expand.path.{step}': {error}. Change expand.axes or rate."
        ) from error
    made = {axis: network(base, factors, f"{step}_{axis}") for axis, factors in found.items()}
    sized = {axis: candidate(base, found[axis], made[axis], price, classes) for axis in found}
    absent = {axis: _why_not(axis, before) for axis in asked.axes if axis not in found}
    heavy = _too_large(sized, step, asked.memory_mb)
    absent |= {axis: f"needs {mb:.4g} MB of activations" for axis, mb in heavy.items()}
    kept = {axis: one for axis, one in sized.items() if axis not in heavy}
    record = ExpansionStep(
        step=step,
        number=number,
        unit=asked.budget,
        before=before.price,
        level=level,
        candidates=kept,
        absent=absent,
    )
    return record, {axis: made[axis] for axis in kept}


def contract(
    base: Genotype,
    choices: Sequence[StepChoice],
    target: str,
    asked: Expand,
    price: Price,
    classes: int,
) -> tuple[ExpansionStep, dict[str, Genotype]]:
    """The networks of a path that meet a target: a step as it is, or the next one reduced.

    Args:
        choices: of the base and of all steps, in order

    Raises:
        Refused: the target is below the base or above the last step, or no reduction meets it.
    """
    most = asked.targets[target]
    try:
        step, over = reached([one.price for one in choices], most)
        taken = choices[step]
        last = taken.axis
        if not over or last is None:
            found = {"last": taken.factors}
        else:
            which = "last" if tuple(asked.contract) == ("last",) else "all"
            reduced = contracted(base, taken.factors, last, price, most, which)
            found = {"last" if axis == last else axis: reduced[axis] for axis in reduced}
    except ValueError as error:
        raise Refused(f"params.yaml: 'expand.targets.{target}': {error}. {FIX}") from error
    found = {axis: found[axis] for axis in asked.contract if axis in found}
    if not found:
        raise Refused(
            f"params.yaml: 'expand.targets.{target}': no network reduced along "
            f"{', '.join(asked.contract)} costs {most:g} at most. {FIX}"
        )
    why = "cannot meet the target alone" if over else f"{taken.step} meets the target as it is"
    made = {axis: network(base, factors, f"{target}_{axis}") for axis, factors in found.items()}
    record = ExpansionStep(
        step=target,
        number=taken.number,
        unit=asked.budget,
        before=most,
        level=taken.level,
        candidates={a: candidate(base, found[a], made[a], price, classes) for a in found},
        absent={axis: why for axis in asked.contract if axis not in found},
        grew=last,
    )
    return record, made


def candidate(
    base: Genotype, factors: Factors, made: Genotype, price: Price, classes: int
) -> Candidate:
    """What is recorded of a network."""
    size = cost(made, classes)
    return Candidate(
        factors=factors,
        price=price(made),
        gmacs=size.gmacs,
        params=size.params,
        memory_mb=size.peak_bytes / 1e6,
        jitter=jitter(base, factors.crop),
    )


def level_of(asked: Expand, number: int, gaps: Sequence[float]) -> Regularisation | None:
    """How a step's candidates are regularised; None if the settings name no level."""
    rule = asked.regularise
    if not rule.levels:
        return None
    if rule.rule == "steps":
        return regularisation.by_step(rule.levels, number)
    assert rule.most is not None  # the settings say so
    return regularisation.by_gap(rule.levels, gaps, rule.most)


def write(folder: Path, record: ExpansionStep, made: dict[str, Genotype]) -> None:
    """Writes the record and a genotype for each candidate, such as `depth.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    for axis, genotype in made.items():
        what = f"{record.step} of an expansion, {axis}: {record.candidates[axis].price:.4g} "
        genotype.save(folder / f"{axis}.yaml", f"{what}{UNITS[record.unit]}.")
    record.write(folder)


def choose(
    record: ExpansionStep, before: Sequence[float], trained: Mapping[str, Sequence[CandidateRecord]]
) -> StepChoice:
    """The candidate that a step or a contraction takes, by its trainings.

    Args:
        before: the gaps of the steps before
        trained: axis -> its records, one for each seed, for every axis that was asked for
    """
    runs: dict[str, list[Trained]] = {}
    for axis, records in trained.items():
        if known := [one.trained for one in records if one.trained]:
            runs[axis] = known
    if runs:
        key, found = contest(runs)
    else:  # a single candidate need not be trained to be taken
        (key,), found = record.candidates, None
    taken = record.candidates[key]
    return StepChoice(
        step=record.step,
        number=record.number,
        axis=record.grew if key == "last" else cast("Axis", key),
        factors=taken.factors,
        unit=record.unit,
        price=taken.price,
        gmacs=taken.gmacs,
        level=record.level,
        gaps=(*before, found.gap) if found else tuple(before),
        contest=found,
        absent=record.absent,
    )


def records(
    folder: Path, axes: Sequence[str], seeds: Sequence[int]
) -> dict[str, list[CandidateRecord]]:
    """Reads the records of all trainings of a step, by axis; other files are left alone."""
    names = {axis: [folder / f"{axis}_{seed}.json" for seed in seeds] for axis in axes}
    return {axis: [CandidateRecord.read(path) for path in paths] for axis, paths in names.items()}


def selected(folder: Path, step: ExpansionStep, chosen: StepChoice, target: str) -> Genotype:
    """The genotype of what a contraction takes, under the name of its target."""
    (axis, *_) = (a for a, one in step.candidates.items() if one.factors == chosen.factors)
    return replace(Genotype.load(folder / f"{axis}.yaml"), name=target)


def line(chosen: StepChoice) -> str:
    """What a step has taken, for the terminal."""
    named = f"{chosen.step}: {chosen.axis or 'the base'}, {chosen.price:.4g} {UNITS[chosen.unit]}"
    found = chosen.contest
    if found is None or found.lead is None:
        return f"{named}; it was the only candidate"
    noise = f" (its noise is {found.noise:.4f}, of {found.counts})" if found.noise else ""
    who = "the clips decided" if found.decided == "clips" else "no more than noise"
    lead = f"{found.lead:.4f} ahead of {found.runner_up}{noise}"
    return f"{named}; {found.metric} {lead}: {who}; gap {found.gap:+.4f}"


def _why_not(axis: Axis, before: StepChoice) -> str:
    """Why a step has no candidate along an axis."""
    if before.factors.frames == 1 and axis in TIME:
        return "fast and temporal are one, where there is a single frame"
    return "the cost does not follow it"


def _too_large(
    sized: Mapping[str, Candidate], step: str, memory_mb: float | None
) -> dict[str, float]:
    """The candidates with too many activations, MB; raises Refused if all have."""
    if memory_mb is None:
        return {}
    heavy = {a: one.memory_mb for a, one in sized.items() if one.memory_mb > memory_mb}
    if len(heavy) == len(sized):
        raise Refused(
            f"params.yaml: 'expand.memory_mb': no candidate of {step} keeps within "
            f"{memory_mb:g} MB; the smallest needs {min(heavy.values()):.4g}. Raise it."
        )
    return heavy


def _refuse_below(target: str, most: float, price: float) -> None:
    """Raises Refused for a target that not even the base meets, before anything is trained."""
    if price > AS_IT_IS[1] * most:
        what = f"the target {most:g} is below the base, which costs {price:.4g}"
        raise Refused(f"params.yaml: 'expand.targets.{target}': {what}. {FIX}")
