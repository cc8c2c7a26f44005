"""The loop of warm-up and search: weights alone, then weights and alpha (A3D 5.1.2, A3D-S 1).

The clips of a step come in chunks of fixed size. Each chunk has its own batch-norm statistics,
sampled networks and importances, so the result does not depend on which process handles it. All
randomness in a chunk follows from (seed, half, step, chunk).

Each half of a step needs one reduction over the processes: one flat message with the gradients of
the weights and one with the float64 sums; for alpha, a single message with gradient and sums.
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

Chunk = tuple[int, Tensor, Tensor]  # index in step, clips (B, 3, T, H, W), labels (B, ...)
Batch = Iterable[Chunk]  # this process's share of one step
Batches = Callable[[int, int], Iterable[Batch]]  # (epoch, first step) -> the rest of its batches
Reduce = Callable[[list[Tensor]], None]  # sums tensors over all processes, in place
WEIGHTS, ALPHA = 0, 1  # the halves of the training clips


class Costs(NamedTuple):
    """Functions for the cost of networks, G multiply-adds."""

    of: Callable[[Draw], float]  # cost of one network
    expected: Callable[[list[list[float]]], float]  # mean under the choices' probabilities


class SearchSchedule(NamedTuple):
    """The settings of a run that the loop needs."""

    seed: int
    until: int  # last epoch (exclusive), counted over warm-up and search
    steps: int  # per epoch
    batch: int  # clips per step of each half, over all processes
    draws: int  # K, networks sampled per chunk for the weights
    alpha_draws: int  # K for alpha; unused in warm-up
    shared: bool  # whether all chunks of a step use the same networks
    strategy: Strategy
    likelihood: Likelihood
    constraint: Constraint
    costs: Costs
    rate: Callable[[int], float]  # learning rate by step, counted over warm-up and search


@dataclass
class SearchState:
    """Everything that a resumed process needs to reach the same bits."""

    supernet: nn.Module  # (clips, draw) -> logits
    prior: Prior
    sgd: torch.optim.Optimizer
    adam: torch.optim.Optimizer
    epoch: int = 0  # of the next step, counted over warm-up and search
    step: int = 0  # next step of the epoch
    rows: list[Step] = field(default_factory=list)
    alphas: list[Tensor] = field(default_factory=list)  # alpha at the end of each epoch

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data, for a checkpoint."""
        parts = {name: getattr(self, name).state_dict() for name in self._parts}
        place = {"epoch": self.epoch, "step": self.step}
        return parts | place | {"rows": pack(self.rows), "alphas": list(self.alphas)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores a state of `state_dict`."""
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
    """Runs the remaining steps from `state`, and yields the metrics of each one after it.

    Args:
        alpha_batches: None in warm-up, which does not change alpha

    Raises:
        FloatingPointError: a loss is not finite. This half of the step has updated nothing; if it
            is alpha's half, the weights have already been updated.
    """
    if alpha_batches is not None and schedule.alpha_draws < 2:
        raise ValueError("one network alone always has importance 1: K must be 2 or more")
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
    """Updates the weights once, by the mean gradient over the clips of all processes."""
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
        parameter.grad = gradient.div_(-schedule.batch)  # ascent on the likelihood
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
    """Updates alpha once, by the mean over all chunks; each chunk takes K forward passes."""
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
    summed = Sums(*sums.tolist())
    state.prior.alpha.grad = total.div_(-summed.chunks)
    state.adam.step()
    state.adam.zero_grad()
    return summed


def _draws(
    state: SearchState, schedule: SearchSchedule, half: int, done: int, chunk: int, count: int
) -> list[Draw]:
    """Samples the networks of a chunk, and seeds the random numbers of dropout."""
    torch.manual_seed(seed_of(schedule.seed, half, done, chunk))
    key = seed_of(schedule.seed, half, done, -1 if schedule.shared else chunk)
    generator = torch.Generator().manual_seed(key)
    return schedule.strategy.propose(state.prior, count, generator)


def seed_of(*numbers: int) -> int:
    """Hashes a tuple of numbers to a seed."""
    text = " ".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def _forward(
    net: nn.Module, task: Task, clips: Tensor, labels: Tensor, draw: Draw
) -> Callable[[], Tensor]:
    """Returns a function that computes l_k with its autograd graph."""

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
    """The metrics of a step; `other` has the sums of the alpha half, None in warm-up."""
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
