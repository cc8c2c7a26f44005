"""What warm-up and search share: the supernet, its clips, its steps and its files."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file

from autox3d.core import atomic, settings
from autox3d.core.tables import HALVES
from autox3d.runtime import tracking
from autox3d.runtime.checkpoint import Checkpoints
from autox3d.runtime.distributed import World
from autox3d.runtime.resumable import newest, resumable
from autox3d.search.constraint import Constraint
from autox3d.search.loop import Batch, Batches, Costs, Recipe, State, Step, fit
from autox3d.search.parsec import Likelihood
from autox3d.search.prior import Prior
from autox3d.search.space import Space, SpaceCosts
from autox3d.search.supernet import Supernet, load_weights
from autox3d.vision.clips.augment import chunks
from autox3d.vision.clips.loader import epoch_order, epoch_shape, train_batches
from autox3d.vision.clips.store import Clips
from autox3d.vision.learning.schedule import cosine, scaled_rate, sgd
from autox3d.vision.models.network import open_branches, set_training

MEANS = ("loss", "alpha_loss", "effective_draws", "over_target", "drawn_gmacs")  # over an epoch
ALPHAS = ("alpha_loss", "over_target")  # those of them that warm-up has not: it knows no target


class Phase:
    """The parts of a warm-up or search, and its straight line: `autox3d.runtime.resumable.Work`.

    Args:
        epochs: of warm-up and search
    """

    def __init__(
        self,
        clips: Path,
        space: Space,
        shared: settings.Supernet,
        world: World,
        epochs: tuple[int, int],
    ) -> None:
        self.space, self.shared, self.world, self.epochs = space, shared, world, epochs
        self.halves = {half: Clips.load(clips, split="train", half=half) for half in HALVES}
        smaller = min(map(len, self.halves.values()))
        self.steps, self.batch = epoch_shape(smaller, shared.batch)
        self.classes = self.halves["weights"].classes
        self._before, self._began = 0.0, time.monotonic()
        torch.manual_seed(shared.seed)
        net = Supernet(space, len(self.classes), shared.selection).to(world.device)
        set_training(net, bn_clips=shared.bn_clips, dropout=shared.dropout)
        open_branches(net, shared.branch_gamma)
        prior = Prior([len(choice.candidates) for choice in space.choices])
        weights = sgd(net, shared.momentum, shared.weight_decay)
        self.state = State(net, prior, weights, torch.optim.Adam(prior.parameters()))

    def recipe(self, until: int, search: settings.Search, draws: int) -> Recipe:
        """What the loop needs; alpha's part plays no role in warm-up."""
        costs = SpaceCosts(self.space, len(self.classes))
        total = sum(self.epochs) * self.steps
        peak = scaled_rate(self.shared.lr, self.batch)
        likelihood = self.shared.likelihood
        return Recipe(
            seed=self.shared.seed,
            until=until,
            steps=self.steps,
            batch=self.batch,
            draws=draws,
            alpha_draws=search.alpha_draws,
            shared=self.shared.shared_draws,
            likelihood=Likelihood(likelihood.reduction, likelihood.temperature),
            constraint=Constraint(search.cost, search.beta, search.floor, search.target),
            costs=Costs(costs.of, costs.expected),
            rate=lambda step: cosine(step, total, 0, peak),
        )

    def batches(self, half: str) -> Batches:
        """A half's clips, normalised on the device."""
        clip = self.space.input

        def epoch(number: int, start: int) -> Iterator[Batch]:
            found = train_batches(
                self.halves[half],
                self.shared.sampling,
                clip.frames,
                clip.stride,
                clip.crop,
                seed=self._order_seed(half),
                epoch=number,
                batch=self.batch,
                chunk=self.shared.likelihood.clips,
                world=(self.world.rank, self.world.size),
                start=start,
            )
            for batch in islice(found, self.steps - start):  # the halves may differ in size
                yield chunks(batch, self.shared.likelihood.clips, self.world.device)

        return epoch

    def go(
        self,
        stage: str,
        recipe: Recipe,
        alpha: Batches | None,
        kept: Checkpoints,
        mirror: tracking.Run,
    ) -> None:
        """Every step, from the newest checkpoint on; one more now and then."""
        if found := newest(kept, self.world):
            self._before = found["seconds"]
            self.state.load_state_dict(found["state"])
        self._began = time.monotonic()
        steps = fit(self.state, recipe, self.batches("weights"), alpha, self.world.sum_)
        left = (recipe.until - self.state.epoch) * self.steps - self.state.step
        for step in resumable(self, steps, left, stage, kept):
            if self.ends_epoch():
                self.world.agree("alpha", self.state.prior.alpha)
                rows = [row for row in self.state.rows if row.epoch == step.epoch]
                mirror.log(step.epoch + 1, epoch_row(rows))

    @property
    def net(self) -> torch.nn.Module:
        return self.state.supernet

    @property
    def seconds(self) -> float:
        """At work so far, in all processes that one after another had this run."""
        return self._before + time.monotonic() - self._began

    def saved(self) -> tuple[int, dict[str, Any]]:
        """Steps done, and the whole state."""
        return len(self.state.rows), {"state": self.state.state_dict(), "seconds": self.seconds}

    def ends_epoch(self) -> bool:
        """Whether all steps of the epoch are done."""
        return self.state.step == self.steps

    def is_best(self) -> bool:
        """Never: nothing is validated here."""
        return False

    def clips_of(self, error: FloatingPointError, *, done: bool) -> list[str]:
        """Keys of a step's clips, those for the weights first."""
        step, keys = self.state.step - done, []
        for half, clips in self.halves.items():
            seed, repeats = self._order_seed(half), self.shared.sampling.repeats
            order = epoch_order(len(clips), self.batch, seed, self.state.epoch, repeats)
            keys += [key.decode() for key in clips.keys[order[step]].tolist()]
        return keys

    def _order_seed(self, half: str) -> int:
        """Each half has an order of its own."""
        return self.shared.seed * len(HALVES) + HALVES.index(half)


def epoch_row(rows: Sequence[Step]) -> dict[str, float]:
    """An epoch of the trace: means over its steps, and where alpha stands at its end."""
    last, count = rows[-1], len(rows)
    means = [name for name in MEANS if not (name in ALPHAS and math.isnan(getattr(last, name)))]
    open_choices = [value for value in last.entropy if value > 0] or [0.0]
    return {
        "epoch": last.epoch + 1,
        "lr": last.lr,
        **{name: sum(getattr(row, name) for row in rows) / count for name in means},
        "expected_gmacs": last.expected_gmacs,
        "mode_gmacs": last.mode_gmacs,
        "entropy": sum(open_choices) / len(open_choices),
    }


def write_curve(path: Path, phase: str, rows: Sequence[Step]) -> None:
    """One line an epoch; where there is none, the head alone."""
    means = [name for name in MEANS if phase != "warmup" or name not in ALPHAS]
    columns = ["epoch", "phase", "lr", *means, "expected_gmacs", "mode_gmacs", "entropy"]
    epochs = groupby(rows, key=lambda row: row.epoch)
    lines = [epoch_row(list(steps)) | {"phase": phase} for _, steps in epochs]
    found = pd.DataFrame(lines, columns=pd.Index(columns))
    atomic.write_text(path, found.to_csv(index=False, lineterminator="\n"))


def save_weights(path: Path, state: State) -> None:
    """The shared weights and the momentum of each: the search goes on as if never stopped."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in state.supernet.named_parameters():
        tensors[f"weight.{name}"] = weight.detach().cpu().contiguous()
        moved = state.sgd.state[weight].get("momentum_buffer")
        if moved is not None:
            tensors[f"momentum.{name}"] = moved.detach().cpu().contiguous()
    with atomic.replacing(path) as part:
        save_file(tensors, part)


def take_over(path: Path, state: State) -> None:
    """What `save_weights` wrote at the end of the warm-up.

    Raises:
        Refused: the file is missing, or holds the weights of another space.
    """
    assert isinstance(state.supernet, Supernet)
    tensors = load_weights(state.supernet, path, "warmup")
    for name, weight in state.supernet.named_parameters():
        if (moved := tensors.get(f"momentum.{name}")) is not None:
            state.sgd.state[weight]["momentum_buffer"] = moved.to(weight.device)
