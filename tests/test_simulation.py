"""Where the answer is known: the budget holds, and noise decides nothing."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from support import ROOT

from autox3d.core import settings
from autox3d.search import constraint, simulation
from autox3d.search.costs import SpaceCosts
from autox3d.search.decisions import bound, decided_by_noise, preference, states
from autox3d.search.files import alpha_record
from autox3d.search.space import Space
from autox3d.search.state import Costs

CHANNELS = Space.load(ROOT / "architectures/space_demo_channels.yaml")
COSTS = SpaceCosts(CHANNELS, 8)
SEARCH = settings.load(ROOT / "params.yaml").search
DEMO = dataclasses.replace(
    SEARCH,
    alpha_draws=6,
    alpha_lr=0.02,
    alpha_eps=1e-8,
    cost="dual",
    beta=None,
    floor=None,
    target=0.00505,
)
CLIPS, NOISE = 8, 0.24  # a chunk's clips, and the deviation of its log-likelihood in nats


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def tasty(slope):
    """The clips like size, by so many nats a clip for each e-fold of cost."""
    noise = simulation.noise(NOISE)

    def values(draws, generator):
        sizes = [[math.log(COSTS.of(one) / DEMO.target) for one in chunk] for chunk in draws]
        return noise(draws, generator) + CLIPS * slope * torch.tensor(sizes, dtype=torch.float64)

    return values


def run(search, slope, steps=1200, seed=1):
    """The state after a simulated search, and the expected cost over the target at each step."""
    counts = [len(choice.candidates) for choice in CHANNELS.choices]
    state = simulation.fresh(counts, search)
    how = simulation.schedule(search, Costs(COSTS, COSTS), chunks=1)
    over = []
    for _ in simulation.steps(state, how, tasty(slope), steps, seed):
        over.append(COSTS.expected(state.prior.probabilities()) / search.target - 1)
    return state, over


@pytest.mark.parametrize("alpha_eps", [1e-8, 0.1])
@pytest.mark.parametrize("slope", [0.05, 0.2, 1.0])
def test_the_budget_holds_whatever_the_clips_like(slope, alpha_eps):
    """At most 5 % over at the end, and under only where the multiplier is 0."""
    state, over = run(dataclasses.replace(DEMO, alpha_eps=alpha_eps), slope)

    assert max(over[-100:]) < 0.05
    assert min(over[-100:]) > -0.05 or state.multiplier == 0
    assert state.multiplier > 0.05


@pytest.mark.parametrize(("rho", "eta"), [(1, 0.05), (10, 0.05), (3, 0.02), (3, 0.2)])
def test_neither_damping_nor_rate_needs_tuning(monkeypatch, rho, eta):
    """Over a factor of ten in each, at the strongest taste for size."""
    monkeypatch.setattr(constraint, "RHO", rho)
    monkeypatch.setattr(constraint, "ETA", eta)
    _, over = run(DEMO, 1.0)

    assert max(map(abs, over[-50:])) < 0.06


def test_a_penalty_of_the_papers_does_not_bound_the_cost():
    """The control: the log form ends far over the same target, where clips like size."""
    log = dataclasses.replace(DEMO, cost="log", beta=0.2)
    _, over = run(log, 0.2)

    assert over[-1] > 1


def test_a_budget_that_nothing_presses_against_pulls_nothing():
    """Clips that like small networks leave lambda at 0, and the cost under the target."""
    state, over = run(DEMO, -0.2, 600)

    assert state.multiplier == 0
    assert over[-1] < -0.05


NULL = dataclasses.replace(DEMO, target=1e9, alpha_lr=0.1)  # no budget


def decided(seed, signal=0.0, alpha_eps=0.1, steps=800):
    """The record of a search in which the first candidate of each choice is worth so many nats."""
    counts = [len(choice.candidates) for choice in CHANNELS.choices]
    search = dataclasses.replace(NULL, alpha_eps=alpha_eps)
    state = simulation.fresh(counts, search)
    how = simulation.schedule(search, Costs(COSTS, COSTS), chunks=1)
    noise = simulation.noise(NOISE)

    def values(draws, generator):
        right = torch.from_numpy((np.array(draws) == 0).sum(-1))
        return noise(draws, generator) + CLIPS * signal * right

    for _ in simulation.steps(state, how, values, steps, seed):
        pass
    state.alphas = [state.prior.alpha.detach().clone()]
    return alpha_record(CHANNELS, state), state.prior


def test_noise_decides_nothing_although_alpha_is_sure():
    """With torch's epsilon most choices are over 0.8 in the end; none is called decided."""
    alpha, prior = decided(1, alpha_eps=1e-8, steps=1500)
    open_ones = [row for row in prior.probabilities() if len(row) > 1]

    assert sum(max(row) > 0.8 for row in open_ones) > len(open_ones) / 2
    assert sum(preference(choice) > bound(alpha) for choice in alpha.choices) == 0
    assert decided_by_noise(alpha) == 0


def test_a_signal_is_decided_by_the_clips_and_rightly():
    """0.01 nats a clip for each choice."""
    alpha, prior = decided(1, signal=0.01)
    found = states(alpha, prior.mode())
    open_ones = [n for n, choice in enumerate(alpha.choices) if len(choice.candidates) > 1]

    right = [n for n in open_ones if found[n].by == "clips" and prior.mode()[n] == 0]
    assert len(right) >= len(open_ones) - 1
    assert all(found[n].t > found[n].threshold for n in right)
    assert decided_by_noise(alpha) == 0  # the weights of other networks say nothing here, too
