"""The search: weights alone at first, then weights and alpha in turn (A3D 5.1.2, A3D-S 1).

A step's clips come in chunks of fixed size. A chunk shares batch-norm statistics, has draws of its
own, and the importance of a draw is that for the chunk alone; so it does not matter which process
works on it. All that is random in a chunk follows from (seed, half, step, chunk).

Each half of a step is reduced over the processes once: a flat message of the weights' gradients
and, being float64, one of the sums; for alpha a single one, gradient and sums together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from autox3d.search.constraint import Constraint
from autox3d.search.likelihood import Likelihood
from autox3d.search.prior import Prior
from autox3d.search.space import Draw
from autox3d.search.strategy import Strategy
from autox3d.search.trace import Step, Sums, chunk_sums, pack, unpack
from autox3d.vision.tasks.task import Task

Chunk = tuple[int, Tensor, Tensor]  # number in the step, clips (B, 3, T, H, W), labels (B, ...)
Batch = Iterable[Chunk]  # this process's share of one step
Batches = Callable[[int, int], Iterable[Batch]]  # (epoch, first step) -> the rest of the epoch
Reduce = Callable[[list[Tensor]], None]  # sums tensors over all processes, in place
WEIGHTS, ALPHA = 0, 1  # the halves of the training clips


class Costs(NamedTuple):
    """What networks cost, G multiply-adds."""

    of: Callable[[Draw], float]
    expected: Callable[[list[list[float]]], float]  # of a draw, by each choice's probabilities


class SearchSchedule(NamedTuple):
    """The numbers of a run that the loop needs."""

    seed: int
    until: int  # epochs, counted over warm-up and search
    steps: int  # an epoch
    batch: int  # clips a step, over all processes, of each half
    draws: int  # K for the weights
    alpha_draws: int  # K for alpha; not used in warm-up
    shared: bool  # whether the chunks of a step share their draws
    strategy: Strategy
    likelihood: Likelihood
    constraint: Constraint
    costs: Costs
    rate: Callable[[int], float]  # of the weights, by step counted over warm-up and search


@dataclass
class SearchState:
    """Everything that a later process needs to go on to the same bits."""

    supernet: nn.Module  # (clips, draw) -> logits
    prior: Prior
    sgd: torch.optim.Optimizer
    adam: torch.optim.Optimizer
    epoch: int = 0  # the next step to do
    step: int = 0
    rows: list[Step] = field(default_factory=list)
    alphas: list[Tensor] = field(default_factory=list)  # at the end of each epoch

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data only."""
        parts = {name: getattr(self, name).state_dict() for name in self._parts}
        place = {"epoch": self.epoch, "step": self.step}
        return parts | place | {"rows": pack(self.rows), "alphas": list(self.alphas)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes over a saved state."""
        for name in self._parts:
            getattr(self, name).load_state_dict(saved[name])
        self.epoch, self.step = saved["epoch"], saved["step"]
        self.rows, self.alphas = unpack(saved["rows"]), list(saved["alphas"])

    @property
    def _parts(self) -> tuple[str, ...]:
        return ("supernet", "prior", "sgd", "adam")


def search_steps(
    state: SearchState,
    task: Task,
    schedule: SearchSchedule,
    weight_batches: Batches,
    alpha_batches: Batches | None,
    reduce: Reduce,
) -> Iterator[Step]:
    """Goes on from where `state` stands and hands over after every step.

    Args:
        alpha_batches: None in warm-up, where alpha stays as it is.

    Raises:
        FloatingPointError: a loss is not finite. Its own half has updated nothing; where it is
            alpha's, the weights have done their part of the step.
    """
    if alpha_batches is not None and schedule.alpha_draws < 2:
        raise ValueError("one draw has importance 1 whatever it is worth: K must be 2 or more")
    while state.epoch < schedule.until:
        batches = weight_batches(state.epoch, state.step)
        others = iter(alpha_batches(state.epoch, state.step)) if alpha_batches else None
        for batch in batches:
            done = state.epoch * schedule.steps + state.step
            rate = schedule.rate(done)
            sums = weight_step(state, task, schedule, batch, reduce, done, rate)
            other = (
                alpha_step(state, task, schedule, next(others), reduce, done) if others else None
            )
            row = _row(state, schedule, rate, sums, other)
            state.rows.append(row)
            state.step += 1
            yield row
        state.alphas.append(state.prior.alpha.detach().clone())
        state.epoch, state.step = state.epoch + 1, 0


def weight_step(
    state: SearchState,
    task: Task,
    schedule: SearchSchedule,
    batch: Batch,
    reduce: Reduce,
    done: int,
    rate: float,
) -> Sums:
    """One update of the weights, by the mean over the clips of all processes."""
    state.supernet.train()
    parameters = list(state.supernet.parameters())
    total = [torch.zeros_like(parameter) for parameter in parameters]
    sums = torch.zeros(len(Sums._fields), dtype=torch.float64)
    for number, clips, labels in batch:
        draws = _draws(state, schedule, WEIGHTS, done, number, schedule.draws)
        scale = schedule.likelihood.scale(len(labels))
        forwards = [_forward(state.supernet, task, clips, labels, draw) for draw in draws]
        gradient, likelihoods = schedule.strategy.weight_gradient(forwards, parameters, scale)
        torch._foreach_add_(total, gradient)  # pyright: ignore[reportPrivateImportUsage]
        costs = [schedule.costs.of(draw) for draw in draws]
        weights = schedule.strategy.weigh(likelihoods, scale)
        sums += chunk_sums(likelihoods, weights, costs, schedule.constraint.most)
    reduce([*total, sums])
    _check(sums, done)
    for parameter, gradient in zip(parameters, total, strict=True):
        parameter.grad = gradient.div_(-schedule.batch)  # up the likelihood is down the loss
    for group in state.sgd.param_groups:
        group["lr"] = rate
    state.sgd.step()
    state.sgd.zero_grad()
    return Sums(*sums.tolist())


def alpha_step(
    state: SearchState,
    task: Task,
    schedule: SearchSchedule,
    batch: Batch,
    reduce: Reduce,
    done: int,
) -> Sums:
    """One update of alpha, by the mean over the chunks of all processes: K forward passes each."""
    state.supernet.eval()  # no dropout
    total = torch.zeros_like(state.prior.alpha)
    sums = torch.zeros(len(Sums._fields), dtype=torch.float64)
    for number, clips, labels in batch:
        draws = _draws(state, schedule, ALPHA, done, number, schedule.alpha_draws)
        with torch.no_grad():
            each = [_forward(state.supernet, task, clips, labels, draw)() for draw in draws]
        likelihoods = torch.stack(each)
        scale = schedule.likelihood.scale(len(labels))
        weights = schedule.strategy.weigh(likelihoods, scale)
        costs = [schedule.costs.of(draw) for draw in draws]
        pull = schedule.constraint.pull([schedule.constraint.excess(cost) for cost in costs])
        total += schedule.strategy.alpha_gradient(state.prior, draws, weights, pull)
        sums += chunk_sums(likelihoods, weights, costs, schedule.constraint.most)
    reduce([total, sums])
    _check(sums, done)
    found = Sums(*sums.tolist())
    state.prior.alpha.grad = total.div_(-found.chunks)
    state.adam.step()
    state.adam.zero_grad()
    return found


def _draws(
    state: SearchState, schedule: SearchSchedule, half: int, done: int, chunk: int, count: int
) -> list[Draw]:
    """The chunk's draws; also starts the stream that dropout takes its noise from."""
    torch.manual_seed(seed_of(schedule.seed, half, done, chunk))
    key = seed_of(schedule.seed, half, done, -1 if schedule.shared else chunk)
    generator = torch.Generator().manual_seed(key)
    return schedule.strategy.propose(state.prior, count, generator)


def seed_of(*numbers: int) -> int:
    """One seed for each tuple of numbers."""
    text = " ".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def _forward(
    net: nn.Module, task: Task, clips: Tensor, labels: Tensor, draw: Draw
) -> Callable[[], Tensor]:
    """A call that gives l_k with its graph."""

    def forward() -> Tensor:
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
            logits = net(clips, draw)
        return -task.loss(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)

    return forward


def _check(sums: Tensor, done: int) -> None:
    loss = Sums(*sums.tolist()).loss
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss of step {done} is {loss}")


def _row(
    state: SearchState, schedule: SearchSchedule, rate: float, sums: Sums, other: Sums | None
) -> Step:
    """The trace of a step; `other` is what the alpha half added up."""
    drawn = other or sums
    losses = [
        math.nan if half is None else half.loss * half.chunks / (half.draws * schedule.batch)
        for half in (sums, other)
    ]
    return Step(
        epoch=state.epoch,
        step=state.step,
        lr=rate,
        loss=losses[0],
        alpha_loss=losses[1],
        effective_draws=drawn.effective / drawn.chunks,
        over_target=drawn.over / drawn.draws if other else math.nan,
        drawn_gmacs=drawn.cost / drawn.draws,
        expected_gmacs=schedule.costs.expected(state.prior.probabilities()),
        mode_gmacs=schedule.costs.of(schedule.strategy.choose(state.prior)),
        entropy=tuple(state.prior.entropy()),
    )
