"""The loop of warm-up and search: weights alone, then weights and alpha (A3D 5.1.2, A3D-S 1).

    C  chunks of clips in a step
    K  networks sampled for a chunk

The clips of a step come in chunks of fixed size. Each chunk has its own sampled networks (unless
all share them), its own importances and batch-norm statistics, so the result does not depend on
which process handles it. The networks of a chunk follow from (seed, half, step, chunk), the random
numbers of a pass from these and the number of the draw (see `passes`).

The passes are dealt over the processes (see `dealing`). The log-likelihoods, C times K numbers, are
summed over the processes, and each of them computes alpha's step from all of them. The weights'
half needs a second message, with the gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from autox3d.search.passes import (
    Batch,
    Draws,
    Reduce,
    Work,
    alpha_likelihoods,
    seed_of,
    streamed,
    twice,
)
from autox3d.search.prior import Prior
from autox3d.search.state import SearchSchedule, SearchState
from autox3d.search.trace import Half, Step, half_of, pack
from autox3d.vision.tasks.task import Task

Batches = Callable[[int, int], Iterable[Batch]]  # (epoch, first step) -> the rest of its batches
WEIGHTS, ALPHA = 0, 1  # the halves of the training clips


def search_steps(
    state: SearchState,
    task: Task,
    schedule: SearchSchedule,
    weight_batches: Batches,
    alpha_batches: Batches | None,
    reduce: Reduce,
) -> Iterator[Step]:
    """Runs the remaining steps from `state`, and yields the metrics of each one after it.

    The rows of an epoch are in `state.past` once its last step has been yielded.

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
            half = weight_step(state, task, schedule, batch, reduce, done, rate)
            other = (
                alpha_step(state, task, schedule, next(others), reduce, done) if others else None
            )
            row = _row(state, schedule, rate, half, other)
            state.rows.append(row)
            state.step += 1
            yield row
        end_epoch(state)


def end_epoch(state: SearchState) -> None:
    """Keeps alpha and the rows of the epoch, and moves on to the next one."""
    state.alphas.append(state.prior.alpha.detach().clone())
    state.past.append(pack(state.rows))
    state.rows = []
    state.epoch, state.step = state.epoch + 1, 0


def weight_step(
    state: SearchState,
    task: Task,
    schedule: SearchSchedule,
    batch: Batch,
    reduce: Reduce,
    done: int,
    rate: float,
) -> Half:
    """Updates the weights once, by the mean gradient over the clips of all processes."""
    state.supernet.train()
    draws = step_draws(state.prior, schedule, WEIGHTS, done, schedule.draws)
    summed = streamed if schedule.per_pass == 1 else twice
    work = Work(state.supernet, task, schedule, draws, (schedule.seed, WEIGHTS, done))
    total, likelihoods = summed(work, batch, reduce)
    _check(likelihoods, done)
    _move_weights(state, total, schedule.batch, rate)
    return half_of(likelihoods, schedule.weigh(likelihoods), _drawn(schedule, draws))


def alpha_step(
    state: SearchState,
    task: Task,
    schedule: SearchSchedule,
    batch: Batch,
    reduce: Reduce,
    done: int,
) -> Half:
    """Updates alpha once, by the mean over all chunks; each chunk takes K forward passes."""
    state.supernet.eval()  # no dropout
    draws = step_draws(state.prior, schedule, ALPHA, done, schedule.alpha_draws)
    work = Work(state.supernet, task, schedule, draws, (schedule.seed, ALPHA, done))
    likelihoods = alpha_likelihoods(work, batch)
    reduce([likelihoods])
    _check(likelihoods, done)
    noise = move_alpha(state, schedule, draws, likelihoods)
    half = half_of(likelihoods, schedule.weigh(likelihoods), _drawn(schedule, draws))
    return half._replace(noise=noise)


def move_alpha(
    state: SearchState, schedule: SearchSchedule, draws: Draws, likelihoods: Tensor
) -> float:
    """Makes the step of alpha, lambda and the evidence that the log-likelihoods (C, K) ask for.

    Returns:
        the root mean square of the clips' part of the gradient, over the entries of open choices
    """
    prior, constraint, chunks = state.prior, schedule.constraint, schedule.chunks
    weights = schedule.weigh(likelihoods)
    gradient = schedule.strategy.alpha_gradient
    clips = gradient(prior, draws, weights) / chunks
    null = gradient(prior, draws, state.evidence.others(weights)) / chunks
    if constraint.form == "dual":
        cost, state.multiplier = constraint.push(prior, schedule.costs.budget, state.multiplier)
    else:
        cost = constraint.penalty(prior, draws, schedule.costs.budget) / chunks
    state.evidence.add(clips, cost, null)
    prior.alpha.grad = -(clips + cost)  # ascent on the likelihood
    state.adam.step()
    state.adam.zero_grad()
    return clips[prior.open].square().mean().sqrt().item() if prior.open.any() else 0.0


def step_draws(prior: Prior, schedule: SearchSchedule, half: int, done: int, count: int) -> Draws:
    """Samples the networks of all chunks of a step; the same on every process."""
    draws: Draws = []
    for chunk in range(schedule.chunks):
        if half == WEIGHTS and schedule.paths:
            turn = done if schedule.shared else done * schedule.chunks + chunk
            draws.append(schedule.paths(prior, schedule.seed, turn * count, count))
            continue
        key = seed_of(schedule.seed, half, done, -1 if schedule.shared else chunk)
        generator = torch.Generator().manual_seed(key)
        draws.append(schedule.strategy.propose(prior, count, generator))
    return draws


def _move_weights(state: SearchState, total: list[Tensor], clips: int, rate: float) -> None:
    """One step of SGD by the gradient `total`, summed over so many clips."""
    for parameter, gradient in zip(state.supernet.parameters(), total, strict=True):
        parameter.grad = gradient.div_(-clips)  # ascent on the likelihood
    for group in state.sgd.param_groups:
        group["lr"] = rate
    state.sgd.step()
    state.sgd.zero_grad()


def _check(likelihoods: Tensor, done: int) -> None:
    loss = -likelihoods.sum().item()
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss of step {done} is {loss}")


def _drawn(schedule: SearchSchedule, draws: Draws) -> tuple[float, float]:
    """Of the networks of a step: the mean G multiply-adds, and the share above the target."""
    drawn = [one for chunk in draws for one in chunk]
    gmacs = math.fsum(map(schedule.costs.gmacs.of, drawn)) / len(drawn)
    over = sum(schedule.costs.budget.of(one) > schedule.constraint.most for one in drawn)
    return gmacs, over / len(drawn)


def _row(
    state: SearchState, schedule: SearchSchedule, rate: float, half: Half, other: Half | None
) -> Step:
    """The metrics of a step; `other` is alpha's half, None in warm-up."""
    drawn = other or half
    probabilities = state.prior.probabilities()
    budget = schedule.costs.budget.expected(probabilities) / schedule.constraint.most
    return Step(
        epoch=state.epoch,
        step=state.step,
        lr=rate,
        loss=half.nats / schedule.batch,
        alpha_loss=other.nats / schedule.batch if other else math.nan,
        effective_draws=drawn.effective,
        over_target=drawn.over if other else math.nan,
        drawn_gmacs=drawn.gmacs,
        expected_gmacs=schedule.costs.gmacs.expected(probabilities),
        mode_gmacs=schedule.costs.gmacs.of(schedule.strategy.choose(state.prior)),
        budget=budget,
        multiplier=state.multiplier,
        noise=drawn.noise if other else math.nan,
        spread=drawn.spread,
        entropy=tuple(state.prior.entropy()),
    )
