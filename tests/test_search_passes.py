"""A pass of the search may take several chunks of shared draws; it computes what they compute."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
import torch
from bench.counting import shared_draw
from support import ARCHITECTURES
from support import toy_search as toy
from torch import Tensor

from autox3d.search.constraint import Constraint
from autox3d.search.costs import SpaceCosts
from autox3d.search.likelihood import Likelihood
from autox3d.search.loop import alpha_step, weight_step
from autox3d.search.prior import Prior
from autox3d.search.space import Space
from autox3d.search.state import Costs, SearchSchedule, SearchState
from autox3d.search.strategies.parsec import STRATEGY
from autox3d.search.supernet import Supernet
from autox3d.vision.kernels import cpu, reference, using
from autox3d.vision.models.network import open_branches, set_training
from autox3d.vision.tasks.classify import TASK

BATCH, CHUNK, K = 10, 4, 3  # three chunks, the last one smaller


def small() -> Space:
    space = Space.load(ARCHITECTURES / "space_demo.yaml")
    return replace(space, input=replace(space.input, frames=4, crop=32, short=32))


def state(space: Space) -> SearchState:
    """With dropout, and branches that do something from the first step on."""
    torch.manual_seed(1)
    net, prior = Supernet(space, 5, "fair"), Prior([len(c.candidates) for c in space.choices])
    set_training(net, bn_clips=2, dropout=0.4)
    open_branches(net, 0.5)
    sgd = torch.optim.SGD(net.parameters(), lr=0.0)
    return SearchState(net, prior, sgd, torch.optim.Adam(prior.parameters(), lr=0.1))


def schedule(space: Space, per_pass: int, **changes: object) -> SearchSchedule:
    costs = SpaceCosts(space, 5)
    made = SearchSchedule(
        seed=1,
        until=1,
        steps=1,
        batch=BATCH,
        chunk=CHUNK,
        draws=K,
        alpha_draws=K,
        shared=True,
        strategy=STRATEGY,
        likelihood=Likelihood("mean", 0.5),
        constraint=Constraint("log", 0.2, None, 1.0),
        costs=Costs(costs, costs),
        rate=lambda _: 1.0,
        per_pass=per_pass,
    )
    return made._replace(**changes)


def batch(space: Space) -> list[tuple[int, Tensor, Tensor]]:
    torch.manual_seed(2)
    shape = (BATCH, 3, space.input.frames, space.input.crop, space.input.crop)
    clips, labels = torch.randn(shape).split(CHUNK), (torch.arange(BATCH) % 5).split(CHUNK)
    return list(zip(range(len(clips)), clips, labels, strict=True))


def moved(per_pass: int) -> tuple[Tensor, Tensor, list[float]]:
    """How a step moves weights and alpha, and the losses of both halves."""
    space = small()
    one, how = state(space), schedule(space, per_pass)
    before = torch.cat([p.detach().flatten() for p in one.supernet.parameters()])
    half = weight_step(one, TASK, how, batch(space), toy.alone, 0, 1.0)
    other = alpha_step(one, TASK, how, batch(space), toy.alone, 0)
    after = torch.cat([p.detach().flatten() for p in one.supernet.parameters()])
    return after - before, one.prior.alpha.detach().clone(), [half.nats, other.nats]


@pytest.fixture(scope="module")
def alone() -> tuple[Tensor, Tensor, list[float]]:
    return moved(1)


@pytest.mark.parametrize("per_pass", [2, 3])
@pytest.mark.parametrize("backend", [cpu, reference], ids=["cpu", "reference"])
def test_several_chunks_a_pass_are_the_chunks(per_pass, backend, alone):
    """Gradient, alpha and losses, with dropout: to rounding; a smaller chunk is among them."""
    with using(backend):
        gradient, alpha, losses = moved(per_pass)
    wanted, other, nats = alone

    assert (gradient - wanted).norm() < 1e-5 * wanted.norm()
    torch.testing.assert_close(alpha, other, rtol=1e-4, atol=1e-6)
    assert losses == pytest.approx(nats, rel=1e-6)


def test_a_network_that_nothing_weighs_is_not_passed_back():
    """Its gradient would be zero: of K draws, the best of each chunk alone."""

    def best(likelihoods: Tensor, scale: float) -> Tensor:
        return torch.nn.functional.one_hot(likelihoods.argmax(), len(likelihoods)).double()

    space, backward = small(), []
    one = state(space)
    strategy = dataclasses.replace(STRATEGY, weigh=best)
    net = one.supernet
    assert isinstance(net, Supernet)
    net.widest.head.classify.weight.register_hook(lambda grad: backward.append(1))
    weight_step(one, TASK, schedule(space, 3, strategy=strategy), batch(space), toy.alone, 0, 1.0)

    assert 1 <= len(backward) < 2 * K


def test_groups_are_the_chunks_in_turn():
    """The last one may be smaller."""
    for per_pass, wanted in (
        (1, [[0], [1], [2], [3]]),
        (2, [[0, 1], [2, 3]]),
        (3, [[0, 1, 2], [3]]),
    ):
        how = toy.schedule(1, per_pass=per_pass)
        assert [list(how.members(group)) for group in range(how.groups)] == wanted


def test_a_draw_of_eight_chunks_a_pass_launches_half_as_much_for_each():
    """The paper's space, its networks passed twice; the host waits once for all of them."""
    launches, waits = shared_draw(8)

    assert launches <= 800
    assert waits == 1
