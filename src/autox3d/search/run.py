"""Warm-up (shared weights alone) and search (weights and alpha alternately).

    with session("search", parts=parts, params=params, data=table) as work:
        result = search(space, SearchClips.load(table), recipe, work, init=warmed_up)

Stages, studies and notebooks call the same functions. An interrupted run resumes from the newest
checkpoint of the session and ends with the same bits.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from autox3d.core.device_table import REFERENCE, Kernels
from autox3d.core.records import Provenance
from autox3d.core.settings import Params, Search, Warmup
from autox3d.core.settings import Supernet as Shared
from autox3d.core.tables import HALVES
from autox3d.runtime import provenance
from autox3d.runtime.distributed import World
from autox3d.runtime.resumable import newest, resumable
from autox3d.runtime.session import Session
from autox3d.runtime.timing import interleaved
from autox3d.runtime.work_time import WorkTime
from autox3d.search.constraint import Constraint
from autox3d.search.costs import SpaceCosts, of_budget
from autox3d.search.dealing import deal
from autox3d.search.files import earlier_rows, epoch_row, save_rows, take_over
from autox3d.search.halves import Halves
from autox3d.search.latency import told
from autox3d.search.likelihood import Likelihood
from autox3d.search.loop import search_steps
from autox3d.search.paths import Drawing, drawing
from autox3d.search.space import Space
from autox3d.search.state import Costs, SearchSchedule, SearchState
from autox3d.search.strategy import named
from autox3d.search.supernet import Supernet
from autox3d.vision.clips.feed import MUCH, Feed, waiting
from autox3d.vision.clips.loader import TrainLoader
from autox3d.vision.clips.order import epoch_order, epoch_shape
from autox3d.vision.clips.store import Clips
from autox3d.vision.kernels.choice import decided
from autox3d.vision.kernels.trial import Layer, layers, tried, widest
from autox3d.vision.learning.schedule import cosine, scaled_rate, sgd
from autox3d.vision.models.network import open_branches, set_training


class SearchClips(NamedTuple):
    """The training clips of a search in two halves: one for the weights, one for alpha."""

    weights: Clips
    alpha: Clips

    @classmethod
    def load(cls, table: Path) -> SearchClips:
        """Loads both halves from a table.

        Raises:
            Refused: the table is missing, or one of the halves is empty.
        """
        return cls(*(Clips.load(table, split="train", half=half) for half in HALVES))

    def shuffle(self, seed: int) -> None:
        """Shuffles the labels of alpha's half once, for the null control."""
        self.alpha.shuffle(np.random.default_rng((seed, len(self.alpha))))


class SearchRecipe(NamedTuple):
    """The sections of params.yaml that warm-up and search use."""

    supernet: Shared
    warmup: Warmup
    search: Search

    @classmethod
    def of(cls, params: Params) -> SearchRecipe:
        """Takes the sections from all settings."""
        return cls(params.supernet, params.warmup, params.search)

    @property
    def drawn_by(self) -> dict[str, Any]:
        """A part of the warm-up's fingerprint: the settings of the search that decide its draws.

        Empty for PARSEC without a memory cap, as in earlier versions.
        """
        name, cap = self.search.strategy, self.search.memory_mb
        strategy = {} if name == "parsec" else {"strategy": name}
        return strategy if cap is None else strategy | {"memory_mb": cap}

    @property
    def timings(self) -> dict[str, Path]:
        """A part of the search's fingerprint: the latency table, if the budget is in ms."""
        return {"latency": Path(self.search.latency)} if self.search.budget == "ms" else {}

    @property
    def epochs(self) -> int:
        """The epochs of warm-up and search together, which share one cosine."""
        return self.warmup.epochs + self.search.epochs


class SearchResult(NamedTuple):
    """The final state of a warm-up or a search."""

    space: Space
    state: SearchState
    schedule: SearchSchedule
    seconds: float  # working time, summed over interruptions
    data_wait: float  # share of it in which this process waited for clips
    kernels: str  # the table whose kernels it took

    def made(self, world: World, seed: int) -> Provenance:
        """How the result was made, on the processes of a world."""
        how = {"seed": seed, "data_wait": self.data_wait, "kernels": self.kernels}
        return provenance.measured(self.seconds, world.device, world.size, **how)


def warm_up(
    space: Space, clips: SearchClips, recipe: SearchRecipe, session: Session
) -> SearchResult:
    """Trains the shared weights alone, with every network equally probable.

    Raises:
        Refused: a loss or a weight is not finite, or the paths need another selection of channels.
        SystemExit: the run received a stop signal; its state is saved.
    """
    phase = Phase(space, clips, recipe, session, first=0)
    warmup = recipe.warmup
    paths = drawing(warmup.paths, space, recipe.supernet.selection)
    schedule = phase.schedule(until=warmup.epochs, draws=warmup.draws, paths=paths)
    phase.go("warmup", schedule, searches=False)
    return phase.result(schedule)


def search(
    space: Space,
    clips: SearchClips,
    recipe: SearchRecipe,
    session: Session,
    *,
    init: Path,
    epochs: int | None = None,
    name: str = "search",
) -> SearchResult:
    """Updates weights and alpha alternately, starting from the weights of a warm-up.

    Args:
        init: the file of weights that the warm-up wrote
        epochs: how many epochs of the search to run; all by default
        name: the name in progress messages

    Raises:
        Refused: `init` is missing or belongs to another space; or a loss or a weight is not
            finite.
        SystemExit: the run received a stop signal; its state is saved.
    """
    phase = Phase(space, clips, recipe, session, first=recipe.warmup.epochs)
    take_over(init, phase.state)
    count = recipe.search.epochs if epochs is None else epochs
    schedule = phase.schedule(until=recipe.warmup.epochs + count, draws=recipe.search.draws)
    phase.go(name, schedule, searches=True)
    return phase.result(schedule)


class Phase:
    """One run of a warm-up or a search, which can be resumed (see `runtime.resumable`)."""

    def __init__(
        self,
        space: Space,
        clips: SearchClips,
        recipe: SearchRecipe,
        session: Session,
        *,
        first: int,
    ) -> None:
        """`first` is the number of the run's first epoch, counted over warm-up and search."""
        self.space, self.recipe, self.session, self.first = space, recipe, session, first
        self.world, self.task = session.world, clips.weights.task
        self.halves: dict[str, Clips] = dict(zip(HALVES, clips, strict=True))
        shared = recipe.supernet
        self.steps, self.batch = epoch_shape(min(map(len, clips)), shared.batch)
        self.classes = clips.weights.classes
        self.feed = Feed(self.world.device)
        self.time = WorkTime(lambda: self.feed.waited)
        self.kernels = Kernels(REFERENCE, ())
        torch.manual_seed(shared.seed)
        net = Supernet(space, len(self.classes), shared.selection).to(self.world.device)
        set_training(net, bn_clips=shared.bn_clips, dropout=shared.dropout)
        open_branches(net, shared.branch_gamma)
        if (shares := clips.weights.shares()) is not None:
            net.widest.head.expect(torch.from_numpy(shares), len(clips.weights))
        self.budget = of_budget(space, len(self.classes), recipe.search)
        if session.writes:
            for path in recipe.timings.values():
                print(told(path), file=sys.stderr, flush=True)
        prior = self.budget.prior()
        weights = sgd(net, shared.momentum, shared.weight_decay)
        rate, eps = recipe.search.alpha_lr, recipe.search.alpha_eps
        adam = torch.optim.Adam(prior.parameters(), lr=rate, eps=eps)
        self.state = SearchState(net, prior, weights, adam, epoch=first)

    def schedule(self, *, until: int, draws: int, paths: Drawing | None = None) -> SearchSchedule:
        """The settings of the loop; those of alpha are unused in warm-up."""
        costs = SpaceCosts(self.space, len(self.classes))
        shared, search = self.recipe.supernet, self.recipe.search
        total = self.recipe.epochs * self.steps
        peak = scaled_rate(shared.lr, self.batch)
        return SearchSchedule(
            seed=shared.seed,
            until=until,
            steps=self.steps,
            batch=self.batch,
            chunk=shared.likelihood.clips,
            draws=draws,
            alpha_draws=search.alpha_draws,
            shared=shared.shared_draws,
            paths=paths,
            per_pass=(shared.pass_clips or shared.likelihood.clips) // shared.likelihood.clips,
            strategy=named(search.strategy),
            likelihood=Likelihood(
                shared.likelihood.reduction,
                shared.likelihood.temperature,
                len(self.classes) if self.task.several else 1,
            ),
            constraint=Constraint(search.cost, search.beta, search.floor, search.target),
            costs=Costs(costs, self.budget),
            rate=lambda step: cosine(step, total, 0, peak),
            place=self.world.place,
        )

    def loader(self, half: str, draws: int) -> TrainLoader | None:
        """Loads the clips of a half that this process needs; None where it has no pass of it.

        Args:
            draws: networks sampled per chunk
        """
        shared, schedule = self.recipe.supernet, self.schedule(until=0, draws=draws)
        pieces = deal(schedule.groups, draws, *self.world.place)
        numbers = [chunk for piece in pieces for chunk in schedule.members(piece.group)]
        if not numbers:
            return None
        return TrainLoader(
            clips=self.halves[half],
            spec=self.space.input,
            sampling=shared.sampling,
            seed=self._order_seed(half),
            batch=self.batch,
            chunk=shared.likelihood.clips,
            numbers=numbers,
        )

    def go(self, name: str, schedule: SearchSchedule, *, searches: bool) -> None:
        """Runs all steps from the newest checkpoint, and saves new ones regularly.

        Args:
            searches: whether alpha is updated, too
        """
        kept, table = self.session.kept, self.session.table
        if saved := newest(kept, self.world):
            self.time.resume(saved)
            self.state.load_state_dict(saved["state"])
            self.state.past = earlier_rows(kept, self.first, self.state.epoch, saved["state"])
        self.time.begin()
        draws = (schedule.draws, schedule.alpha_draws) if searches else (schedule.draws,)
        loaders = [self.loader(*half) for half in zip(HALVES, draws, strict=False)]
        clips = Halves(loaders, self.steps, self.world.device)
        self.feed = clips.feed
        weights, *others = clips.batches()
        alpha = others[0] if others else None
        steps = search_steps(self.state, self.task, schedule, weights, alpha, self.world.sum_)
        left = (schedule.until - self.state.epoch) * self.steps - self.state.step
        clock = interleaved if saved is None and table is None else None
        with (
            decided(self.world, table, saved),
            tried(name, self.layers, self.world, clock) as self.kernels,
        ):
            for step in resumable(self, steps, left, name, kept):
                if self.ends_epoch():
                    self.world.agree("alpha", self.state.prior.alpha)
                    if kept.writes:
                        save_rows(kept.folder, step.epoch, self.state.rows)
                    row = epoch_row(self.state.rows) | {"data_wait": self._data_wait(name)}
                    self.session.mirror.log(step.epoch + 1, row)

    def layers(self) -> list[Layer]:
        """The depthwise convolutions of a pass."""
        shared = self.recipe.supernet
        clips = min(self.batch, shared.pass_clips or shared.likelihood.clips)
        return layers_of(self.net, self.space, clips)

    @property
    def net(self) -> torch.nn.Module:
        return self.state.supernet

    def result(self, schedule: SearchSchedule) -> SearchResult:
        """What the phase ended with."""
        how = self.time.seconds, self.time.data_wait, self.kernels.name
        return SearchResult(self.space, self.state, schedule, *how)

    def saved(self) -> tuple[int, dict[str, Any]]:
        """The number of finished steps, and the state for a checkpoint."""
        done = (self.state.epoch - self.first) * self.steps + self.state.step
        state = {"state": self.state.state_dict(), "kernels": self.kernels.plain()}
        return done, state | self.time.saved()

    def ends_epoch(self) -> bool:
        """Whether the last step was the last of its epoch."""
        return self.state.step == self.steps

    def is_best(self) -> bool:
        """Always false, as a search does not validate."""
        return False

    def clips_of(self, error: FloatingPointError, *, done: bool) -> list[str]:
        """Keys of the clips of a step, those of the weights' half first, for error messages."""
        step, keys = self.state.step - done, []
        for half, clips in self.halves.items():
            seed, repeats = self._order_seed(half), self.recipe.supernet.sampling.repeats
            order = epoch_order(len(clips), self.batch, seed, self.state.epoch, repeats)
            keys += [key.decode() for key in clips.keys[order[step]].tolist()]
        return keys

    def _data_wait(self, name: str) -> float:
        """`data_wait` of the slowest process; rank 0 says once what to change where it is much."""
        repeats = self.recipe.supernet.sampling.repeats
        return self.time.slowest(
            self.world, MUCH, lambda share: waiting(name, share, "supernet.sampling", repeats)
        )

    def _order_seed(self, half: str) -> int:
        """The seed for the order of a half, different for each half."""
        return self.recipe.supernet.seed * len(HALVES) + HALVES.index(half)


def layers_of(net: torch.nn.Module, space: Space, clips: int) -> list[Layer]:
    """The depthwise convolutions of the networks that take the nth candidate of each choice.

    So each kernel of each group is there, at all of its sizes but not all of its widths.
    """
    spec = space.input
    given = torch.empty(clips, 3, spec.frames, spec.crop, spec.crop, device="meta")
    last = [len(choice.candidates) - 1 for choice in space.choices]
    draws = [tuple(min(n, most) for most in last) for n in range(max(last) + 1)]
    return widest([one for draw in draws for one in layers(net, given, draw)])
