"""A candidate of an expansion's step: trained from scratch, then tested on the validation videos.

X3D compares the candidates of a step by their top-1 accuracy on the validation videos, from
centre crops of ten clips of each (10-Center).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch
from pandas import DataFrame

from autox3d.core.errors import Refused
from autox3d.core.records import Provenance
from autox3d.core.settings import Evaluate, Params, Train
from autox3d.evaluation.run import every_view, known, main_scores
from autox3d.runtime import provenance
from autox3d.runtime.session import Session, session
from autox3d.sizing.choice import CandidateRecord, Trained
from autox3d.sizing.steps import ExpansionStep
from autox3d.training.announcement import announce
from autox3d.training.run import SCRATCH, TrainingClips, TrainingResult, train
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.models import weights


def run_candidate(
    stage: str, folder: Path, axis: str, seed: int, clips: Path, params: Params
) -> tuple[CandidateRecord, Provenance] | None:
    """Trains and tests one candidate with one seed; None in a process that writes nothing.

    Args:
        stage: of dvc.yaml, for the names of its runs
        folder: of the candidates of the step
        clips: the table of clips

    Raises:
        Refused: the training starts from weights, there is no labelled validation video, or a
            loss or a weight is not finite.
        SystemExit: the run received a stop signal; its state is saved.
    """
    step, entry = ExpansionStep.read(folder), params.expand.candidate
    assert entry is not None  # the settings say so where there are steps
    recipe = recipe_of(step, axis, seed, params.train[entry], entry)
    genotype = Genotype.load(folder / f"{axis}.yaml")
    parts = {"params": recipe, "genotype": genotype, "clips": clips}
    name = f"{step.step}_{axis}_{seed}"
    shown = {"step": step.step, "axis": axis, "gmacs": step.candidates[axis].gmacs}
    shown |= asdict(recipe)  # with the seed, so that runs can be told apart by all three
    about = {"params": shown, "data": clips, "table": params.device.table}
    with session(stage, name, parts=parts, **about) as work:
        trained, result = score(genotype, clips, recipe, params.evaluate, work)
        if not work.writes:
            return None
        work.mirror.log(recipe.epochs, {f"center.{trained.metric}": trained.value})
        device, size = work.world.device, work.world.size
        how = {"seed": seed, "kernels": result.kernels}
        made = provenance.measured(result.seconds, device, size, **how)
        return CandidateRecord(trained=trained, why=""), made


def untrained(why: str) -> tuple[CandidateRecord, Provenance]:
    """The record of an axis that has no candidate, or of one that need not be trained."""
    made = provenance.measured(0.0, torch.device("cpu"), 1)
    return CandidateRecord(trained=None, why=why), made


def recipe_of(step: ExpansionStep, axis: str, seed: int, recipe: Train, entry: str) -> Train:
    """How a candidate is trained: an entry of `train` with the step's level, sides and seed.

    A level multiplies batch and epochs, and the learning rate follows the batch.

    Raises:
        Refused: the entry starts from weights, which another network does not fit; or its passes
            are no multiple of the level's chunks.
    """
    if recipe.init != SCRATCH:
        raise Refused(
            f"params.yaml: 'train.{entry}.init' is {recipe.init}, but candidates are trained from "
            f"scratch. Set it to {SCRATCH}, or name another entry in 'expand.candidate'."
        )
    sampling = replace(recipe.sampling, jitter=step.candidates[axis].jitter)
    recipe = replace(recipe, seed=seed, sampling=sampling)
    if (level := step.level) is None:
        return recipe
    if recipe.pass_clips and recipe.pass_clips % level.bn_clips:
        raise Refused(
            f"params.yaml: 'train.{entry}.pass_clips' is {recipe.pass_clips}, no multiple of the "
            f"{level.bn_clips} clips of batch norm in {step.step} of the expansion. "
            "Take one, or null."
        )
    epochs = max(1, round(level.epochs * recipe.epochs))
    return replace(
        recipe,
        batch=max(1, round(level.batch * recipe.batch)),
        epochs=epochs,
        warmup=min(epochs, round(level.epochs * recipe.warmup)),
        bn_clips=level.bn_clips,
        drop_connect=level.drop_connect,
    )


def score(
    genotype: Genotype, table: Path, recipe: Train, tests: Evaluate, work: Session
) -> tuple[Trained, TrainingResult]:
    """The result of a training, tested by centre crops of the most clips that tests have.

    Returns:
        The record, and the training.

    Raises:
        Refused: no validation video has a label.
        SystemExit: the run received a stop signal; its state is saved.
    """
    clips, held_out = TrainingClips.load(table), Clips.load(table, split="val")
    if clips.held_out is None:
        raise Refused(f"{table}: no video of val has a label, so candidates cannot be compared.")
    announce(genotype, clips.train, recipe, work.world)
    result = train(genotype, clips, recipe, work)
    trained = weights.Trained(
        result.net.eval(), genotype, result.classes, how={}, metrics={}, task=result.task
    )
    tests = replace(tests, split="val", splits=(), clips=(max(tests.clips),), crops=1)
    views = every_view(trained, held_out, tests, work.world, work.kept.folder)
    found = views.table()
    tested = (None, ()) if found is None else _tested(found, held_out, tests)
    value, hits = work.world.share(tested)
    assert value is not None  # a video has a label
    if work.writes:
        views.discard()
    headline = result.task.headline.name
    training = result.metrics[f"train_{headline}"]
    assert training is not None
    record = Trained(
        seed=recipe.seed,
        metric=headline,
        value=value,
        training=training,
        hits=hits,
    )
    return record, result


def _tested(
    table: DataFrame, clips: Clips, tests: Evaluate
) -> tuple[float | None, tuple[bool, ...]]:
    """The headline from centre crops, and the hits by key where it is their share."""
    task = clips.task
    scores, labels = main_scores(table, clips, tests)
    value = known(task.measure(scores, labels)[task.headline.name])
    pairs = task.outcome(scores, labels, clips.classes)
    hits = tuple(pair.actual == pair.predicted for pair in pairs)
    share = bool(hits) and not task.several  # of videos; else the pairs are of labels
    share = share and value is not None and abs(sum(hits) / len(hits) - value) < 1e-9
    return value, hits if share else ()
