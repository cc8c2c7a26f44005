"""A search without clips: alpha moves by made-up log-likelihoods, thousands of steps a minute.

It shows what a search does where the answer is known: with no signal, with a known one, or with a
taste for size that a budget must hold. Nothing else differs from the search: the prior, Adam, the
multiplier and the evidence are the same code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from autox3d.core.settings import Search
from autox3d.search.constraint import Constraint
from autox3d.search.likelihood import Likelihood
from autox3d.search.loop import Draws, move_alpha
from autox3d.search.prior import Prior
from autox3d.search.state import Costs, SearchSchedule, SearchState
from autox3d.search.strategy import named
from autox3d.search.trace import unpack

Values = Callable[[Draws, torch.Generator], Tensor]  # l_k of the networks of each chunk, (C, K)


def fresh(candidates: list[int], search: Search) -> SearchState:
    """The state at the start of a search, without weights."""
    prior = Prior(candidates)
    adam = torch.optim.Adam(prior.parameters(), lr=search.alpha_lr, eps=search.alpha_eps)
    return SearchState(nn.Module(), prior, torch.optim.SGD(prior.parameters(), lr=0.0), adam)


def schedule(search: Search, costs: Costs, *, chunks: int, scale: float = 1.0) -> SearchSchedule:
    """The settings of a simulated search; `scale` divides the log-likelihoods of a chunk."""
    return SearchSchedule(
        seed=0,
        until=0,
        steps=1,
        batch=chunks,
        chunk=1,
        draws=search.draws,
        alpha_draws=search.alpha_draws,
        shared=False,
        strategy=named(search.strategy),
        likelihood=Likelihood("sum", scale),
        constraint=Constraint(search.cost, search.beta, search.floor, search.target),
        costs=costs,
        rate=lambda _: 0.0,
    )


def steps(
    state: SearchState, how: SearchSchedule, values: Values, count: int, seed: int
) -> Iterator[int]:
    """Makes `count` steps of alpha; yields the number of each step after it."""
    generator = torch.Generator().manual_seed(seed)
    for number in range(1, count + 1):
        drawn = state.prior.sample(how.chunks * how.alpha_draws, generator)
        draws = [drawn[i : i + how.alpha_draws] for i in range(0, len(drawn), how.alpha_draws)]
        move_alpha(state, how, draws, values(draws, generator))
        yield number


def noise(deviation: float) -> Values:
    """Log-likelihoods that say nothing: independent, with this standard deviation in nats."""

    def values(draws: Draws, generator: torch.Generator) -> Tensor:
        shape = len(draws), len(draws[0])
        return deviation * torch.randn(shape, generator=generator, dtype=torch.float64)

    return values


def drawn_on(state: SearchState, how: SearchSchedule, until: int) -> list[dict[str, float | str]]:
    """Goes on with a null control by noise, as large as between its networks in its last epoch.

    Args:
        until: last epoch (exclusive), counted over warm-up and search

    Returns:
        a row for each epoch, as in trace.csv, with phase `simulated` and its entropy
    """
    further = SearchState(state.supernet, copy.deepcopy(state.prior), state.sgd, state.adam)
    further.adam = torch.optim.Adam(further.prior.parameters())
    further.adam.load_state_dict(state.adam.state_dict())
    further.multiplier = state.multiplier
    last = unpack(state.past[-1], len(state.prior.candidates))
    deviation = sum(row.spread for row in last) / len(last)
    count = (until - state.epoch) * how.steps
    made: list[dict[str, float | str]] = []
    for step in steps(further, how, noise(deviation), count, how.seed):
        if step % how.steps == 0:
            entropy = [value for value in further.prior.entropy() if value > 0] or [0.0]
            mean = sum(entropy) / len(entropy)
            epoch = state.epoch + step // how.steps
            made.append({"epoch": epoch, "phase": "simulated", "entropy": mean})
    return made
