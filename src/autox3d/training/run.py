"""A training run: one network on one table of clips, from scratch or from given weights.

    with session("train", "s", parts=parts, params=asdict(recipe), data=table) as run:
        result = train(genotype, TrainingClips.load(table), recipe, run)

A stage, a study and a notebook call it in the same way. It resumes from the newest checkpoint of
the session and ends with the same bits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from autox3d.core.device_table import REFERENCE, Kernels
from autox3d.core.errors import Refused
from autox3d.core.settings import Train
from autox3d.runtime.checkpoint import Checkpoints
from autox3d.runtime.resumable import newest, resumable, save, until_stopped
from autox3d.runtime.session import Session
from autox3d.runtime.timing import interleaved
from autox3d.runtime.work_time import WorkTime
from autox3d.training.drop_connect import spread
from autox3d.training.graph import CAPTURED, PLAIN, choose
from autox3d.training.loop import NotFinite, Schedule, State, train_steps
from autox3d.training.passes import Pass, Passes
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.augment import chunk_count, chunks
from autox3d.vision.clips.feed import MUCH, Feed, waiting
from autox3d.vision.clips.loader import Batch, TrainLoader
from autox3d.vision.clips.order import epoch_order, epoch_shape
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import centre_clips, shown_in_tests
from autox3d.vision.kernels.choice import decided
from autox3d.vision.kernels.trial import Layer, layers, tried
from autox3d.vision.learning.capture import cuda_graph
from autox3d.vision.learning.schedule import scaled_rate, sgd
from autox3d.vision.learning.scoring import Scorer, at_once, fetched, grouped, ready
from autox3d.vision.learning.statistics import recalibrate_batch_norm
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet, open_branches, set_training
from autox3d.vision.tasks.task import Task, together

VALIDATED = 2  # times `bn_clips`: without a gradient they take less memory than those in training
SCRATCH = "params/scratch"  # as `init`: start from random weights


class TrainingClips(NamedTuple):
    """The clips that a network is trained on, and those that validate it after each epoch."""

    train: Clips
    held_out: Clips | None  # None if no video of `val` has a label

    @classmethod
    def load(cls, table: Path) -> TrainingClips:
        """Loads the training and validation clips of a table.

        Raises:
            Refused: the table does not exist, or has no training clip.
        """
        held_out = Clips.load_if_any(table, split="val")
        if held_out and not held_out.task.labelled(held_out.labels).any():
            held_out = None
        return cls(Clips.load(table, split="train"), held_out)


class TrainingResult(NamedTuple):
    """A trained network and the history of its training."""

    net: VideoNet
    genotype: Genotype
    task: Task
    classes: list[str]
    history: list[dict[str, float]]  # one row for each epoch
    seconds: float  # of work, in all processes that continued this run one after another
    data_wait: float  # share of them in which it waited for clips
    kernels: str  # the table whose kernels it took

    @property
    def metrics(self) -> dict[str, float | None]:
        """The headline metric of the last epoch, on training clips and on validation videos."""
        last, headline = self.history[-1], self.task.headline.name
        return {f"train_{headline}": last[headline], f"val_{headline}": last.get(f"val_{headline}")}


def train(
    genotype: Genotype,
    clips: TrainingClips,
    recipe: Train,
    session: Session,
) -> TrainingResult:
    """Trains the network of a genotype on the task of its clips.

    Raises:
        Refused: a loss or a weight is not finite, or the initial weights do not fit the network.
        SystemExit: the run received a stop signal; its state is saved.
    """
    run = Training(genotype, clips, recipe, session)
    saved = newest(session.kept, session.world)
    if saved:
        run.resume(saved)
    clock = interleaved if saved is None and session.table is None else None
    with (
        decided(session.world, session.table, saved),
        tried(f"train {genotype.name}", run.layers, session.world, clock) as run.kernels,
    ):
        run.go()
    net = run.state.net
    assert isinstance(net, VideoNet)
    classes = list(clips.train.classes)
    times = run.time.seconds, run.time.data_wait, run.kernels.name
    return TrainingResult(net, genotype, run.task, classes, run.state.history, *times)


class Training:
    """One training run, from its parts to its last step (see `runtime.resumable`)."""

    def __init__(
        self, genotype: Genotype, clips: TrainingClips, recipe: Train, session: Session
    ) -> None:
        self.genotype, self.clips, self.recipe, self.session = genotype, clips, recipe, session
        self.task, self.world = clips.train.task, session.world
        self.kernels = Kernels(REFERENCE, ())
        self.feed = Feed(self.world.device)
        self.time = WorkTime(lambda: self.feed.waited)
        steps, batch = epoch_shape(len(clips.train), recipe.batch)
        self.schedule = Schedule(
            seed=recipe.seed,
            epochs=recipe.epochs,
            steps=steps,
            warmup=recipe.warmup * steps,
            peak=scaled_rate(recipe.lr, batch),
            batch=batch,
            chunk=recipe.bn_clips,
            drops=recipe.drops,
            pass_clips=recipe.pass_clips,
            compiled=recipe.compile,
        )
        self.loader = TrainLoader(
            clips=clips.train,
            spec=genotype.input,
            sampling=recipe.sampling,
            seed=recipe.seed,
            batch=batch,
            chunk=recipe.bn_clips,
            world=self.world.place,
        )
        net = started(genotype, len(clips.train.classes), recipe, verbose=session.writes)
        if (shares := clips.train.shares()) is not None and recipe.init == SCRATCH:
            net.head.expect(torch.from_numpy(shares), len(clips.train))
        net = net.to(self.world.device)
        self.state = State(net, sgd(net, recipe.momentum, recipe.weight_decay))

    def layers(self) -> list[Layer]:
        """The depthwise convolutions of a pass."""
        spec, size = self.genotype.input, self.schedule.pass_clips or self.schedule.chunk
        clips = torch.empty(size, 3, spec.frames, spec.crop, spec.crop, device="meta")
        return layers(self.state.net, clips)

    def resume(self, saved: dict[str, Any]) -> None:
        """Restores the state of a checkpoint."""
        self.time.resume(saved)
        self.state.load_state_dict(saved["state"])

    def go(self) -> None:
        """Does all the steps that are left; each epoch is measured and logged."""
        kept = self.session.kept
        if (
            self.ends_epoch() and not self._measured()
        ):  # it was stopped between the last step and the measurement
            self._end_epoch(kept)
            save(self, kept)
        choose = self._choose if self.world.device.type == "cuda" else None
        steps = train_steps(self.state, self.task, self.schedule, self._batches, self.world, choose)
        left = self.schedule.epochs * self.schedule.steps - self._done()
        for _ in resumable(self, steps, left, f"train {self.genotype.name}", kept):
            if self.ends_epoch():
                self._end_epoch(kept)

    @property
    def net(self) -> torch.nn.Module:
        return self.state.net

    def saved(self) -> tuple[int, dict[str, Any]]:
        """The number of steps done, and the whole state."""
        state = {"state": self.state.state_dict(), "kernels": self.kernels.plain()}
        return self._done(), state | self.time.saved()

    def ends_epoch(self) -> bool:
        """Whether all steps of the current epoch are done."""
        return self.state.step == self.schedule.steps

    def is_best(self) -> bool:
        """Whether the latest epoch is better than all others on the validation clips."""
        if not (self.clips.held_out and self.ends_epoch() and self._measured()):
            return False
        *before, now = (row[f"val_{self.task.headline.name}"] for row in self.state.history)
        return now > max((value for value in before if not isnan(value)), default=-1.0)

    def clips_of(self, error: FloatingPointError, *, done: bool) -> list[str]:
        """The keys of the clips of a step, or of the chunks that the error names."""
        step, size = self.state.step - done, self.schedule.chunk
        seed, repeats = self.recipe.seed, self.recipe.sampling.repeats
        clips, batch = self.clips.train, self.schedule.batch
        order = epoch_order(len(clips), batch, seed, self.state.epoch, repeats)[step]
        odd = error.chunks if isinstance(error, NotFinite) else []
        rows = [row for c in odd for row in order[c * size : (c + 1) * size]] or order
        return [key.decode() for key in clips.keys[rows].tolist()]

    def _choose(self, passes: Passes, first: Pass) -> None:
        """Captures a pass as a CUDA graph, unless an earlier process of this run could not."""
        if self.state.form == PLAIN:
            return
        reason = choose(passes, first, cuda_graph, self.world.gather)
        self.state.form = PLAIN if reason else CAPTURED
        if reason and self.session.writes:
            print(f"train {self.genotype.name}: no CUDA graph: {reason}.", file=sys.stderr)

    def _measured(self) -> bool:
        """Whether the history already has the current epoch."""
        return len(self.state.history) > self.state.epoch

    def _end_epoch(self, kept: Checkpoints) -> None:
        """Adds the row of the epoch to the history; recalibrates batch norm in the last one."""
        clips, headline = self.schedule.steps * self.schedule.batch, self.task.headline.name
        if self.state.epoch == self.schedule.epochs - 1 and self.recipe.bn_steps:
            self._recalibrate(kept)
        row = {
            "epoch": self.state.epoch + 1,
            "lr": self._lr(),
            "loss": self.state.sums[0] / clips,
            headline: self.state.sums[1] / clips,
        }
        if self.clips.held_out:
            row[f"val_{headline}"] = (
                self._validate(self.clips.held_out, kept) if self._validates() else nan
            )
        self.state.history.append(row)
        logged = {k: v for k, v in row.items() if k != "epoch" and not isnan(v)}
        self.session.mirror.log(row["epoch"], logged | {"data_wait": self._data_wait()})

    def _validates(self) -> bool:
        """Whether the current epoch is validated: every so many, and the last one."""
        done = self.state.epoch + 1
        return done % self.recipe.validate_every == 0 or done == self.schedule.epochs

    def _data_wait(self) -> float:
        """`data_wait` of the slowest process; rank 0 says once what to change where it is much."""
        name, repeats = self.genotype.name, self.recipe.sampling.repeats
        return self.time.slowest(
            self.world,
            MUCH,
            lambda share: waiting(f"train {name}", share, f"train.{name}.sampling", repeats),
        )

    def _lr(self) -> float:
        """The learning rate of the last step."""
        return self.schedule.rate(self._done() - 1)

    def _batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on, on the device."""
        return self.feed(self.loader.epoch(epoch, start), ("clips", "labels"))

    def _recalibrate(self, kept: Checkpoints) -> None:
        """Recalibrates the batch-norm statistics, on training clips in an order of their own."""
        count = min(self.recipe.bn_steps, self.schedule.steps)
        batches = until_stopped(self._batches(self.schedule.epochs), count, self, kept)
        steps = (chunks(batch, self.world.device) for batch in batches)
        size = chunk_count(self.schedule.batch, self.schedule.chunk)
        recalibrate_batch_norm(self.net, steps, size, self.world.sum_)

    def _validate(self, clips: Clips, kept: Checkpoints) -> float:
        """The headline metric on one centre clip of each video, with the current statistics."""
        world = self.world
        batch = VALIDATED * self.recipe.bn_clips
        net = self.state.net
        assert isinstance(net, VideoNet)
        scorer = Scorer(ready(net, world.device), self.task, world.device, batch)
        spec = shown_in_tests(self.task, self.genotype.input)
        loader = centre_clips(clips, spec, self.recipe.sampling.rule, world.place)
        size = at_once(1, batch, world.device)
        moved = Feed(world.device)(loader.decoded(), ("times", "frames"))
        rounds = -(-len(clips) // (world.size * size))
        groups = until_stopped(grouped(moved, size), rounds, self, kept)
        views = ([video.views("center", spec) for video in some] for some in groups)
        mine = {
            video.row: self._answer(clips, video.row, of_video)
            for some, scores in fetched((some, scorer.videos(some)) for some in views)
            for video, of_video in zip(some, scores.numpy(), strict=True)
        }
        every = {row: scores for part in world.collect(mine) for row, scores in part.items()}
        found = [every[row] for row in range(len(every))]
        return world.share(
            self.task.measure(together(self.task, found), clips.labels)[self.task.headline.name]
            if found
            else 0.0
        )

    def _answer(self, clips: Clips, row: int, scores: np.ndarray) -> np.ndarray:
        """What the scores of its only view say of a video, (C,), or of its boxes, (A, C)."""
        merged = self.task.merge(scores[None])
        return self.task.boxed.answers(merged, clips.labels[row]) if self.task.boxed else merged

    def _done(self) -> int:
        return self.state.epoch * self.schedule.steps + self.state.step


def started(genotype: Genotype, classes: int, recipe: Train, *, verbose: bool) -> VideoNet:
    """The network before its first step, with seeded random weights or those of `init`.

    Args:
        verbose: whether to print on stderr which tensors start from random values
    """
    torch.manual_seed(recipe.seed)
    net = VideoNet(genotype, classes)
    set_training(net, bn_clips=recipe.bn_clips, dropout=recipe.dropout)
    spread(net, recipe.drop_connect)
    open_branches(net, recipe.branch_gamma)
    for source in given(recipe).values():
        left_out = weights.initialise(net, source)
        if left_out and verbose:
            print(f"{source}: starting from random values: {', '.join(left_out)}", file=sys.stderr)
    return net


def given(recipe: Train) -> dict[str, Path]:
    """The folder of weights to start from, under the key `init`; empty for a random start.

    Raises:
        Refused: the folder does not exist.
    """
    if recipe.init == SCRATCH:
        return {}
    source = Path(recipe.init)
    if not source.is_dir():
        raise Refused(f"params.yaml: no folder of weights: {source}. Make it, or use {SCRATCH}.")
    return {"init": source}
