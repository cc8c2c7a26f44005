"""The search learns what helps, moves alpha by its gradient, and stops at no step for good."""

import copy
import itertools
import math
from collections import Counter

import pytest
import torch
from support.toy_search import (
    BATCH,
    CANDIDATES,
    CHUNK,
    alone,
    batches,
    cost,
    expected,
    fresh,
    same,
    schedule,
    search,
)

from autox3d.search.constraint import Constraint
from autox3d.search.likelihood import Likelihood
from autox3d.search.loop import alpha_step, search_steps, seed_of
from autox3d.search.prior import Prior
from autox3d.search.trace import pack, unpack
from autox3d.vision.tasks.classify import TASK


def test_it_finds_the_choice_that_helps_and_the_null_control_does_not():
    """Only the second candidate of the first choice sees the label.

    With alpha's labels shuffled, to be sure of what it sees is of no use to it: rather the reverse.
    """
    found, null = fresh(), fresh()
    list(search(found, 4, 40))
    list(search(null, 4, 40, shuffled=True))

    assert found.prior.probabilities()[0][1] > 0.9
    assert null.prior.probabilities()[0][1] < 0.6


def test_alpha_stays_as_it_is_in_warm_up():
    """Every choice is uniform at its end, and the weights are not as they were."""
    state, before = fresh(), fresh()
    list(search_steps(state, TASK, schedule(2), batches(0), None, alone))

    assert state.prior.alpha.abs().sum() == 0
    assert not same(state.supernet.state_dict(), before.supernet.state_dict())
    assert all(math.isnan(row.alpha_loss) for row in state.rows)
    assert [tuple(alpha.shape) for alpha in state.alphas] == [(2, 3), (2, 3)]


@pytest.mark.parametrize("stop", [1, 4, 7, 10, 17])
def test_a_restart_from_any_step_gives_the_same_bits(stop):
    """In warm-up, at its end, in the search, inside an epoch and at its edge."""
    whole, first, second = fresh(), fresh(), fresh()
    list(search(whole))
    list(itertools.islice(search(first), stop))
    saved = copy.deepcopy(first.state_dict())
    torch.manual_seed(99)  # whatever the later process did before

    second.load_state_dict(saved)
    list(search(second))

    assert same(whole.state_dict(), second.state_dict())


def test_a_restart_costs_no_step_twice():
    """The batches of an epoch are asked for from the step on that is due."""
    state = fresh()
    list(itertools.islice(search(state), 4))
    asked = []

    def watched(epoch, start):
        asked.append((epoch, start))
        return batches(0)(epoch, start)

    list(search_steps(state, TASK, schedule(2), watched, None, alone))
    assert asked == [(1, 1)]


def test_draws_follow_from_seed_step_and_chunk():
    """Chunks of a step have draws of their own, or the same ones where the setting says so."""
    own, shared, again = fresh(), fresh(), fresh()
    for state, changes in [(own, {}), (again, {}), (shared, {"shared": True})]:
        list(search_steps(state, TASK, schedule(1, **changes), batches(0), None, alone))

    assert same(own.state_dict(), again.state_dict())
    assert not same(own.supernet.state_dict(), shared.supernet.state_dict())


def drawn(half, count, step=0, chunks=BATCH // CHUNK):
    """The draws of a step from the uniform prior, chunk by chunk."""
    keys = (seed_of(3, half, step, chunk) for chunk in range(chunks))
    sample = Prior(CANDIDATES).sample
    return [sample(count, torch.Generator().manual_seed(key)) for key in keys]


def test_the_trace_tells_cost_and_entropy_of_each_step():
    """Of the draws for alpha, before the step; of alpha, after it. The target is 1.4."""
    state = fresh()
    row = next(search_steps(state, TASK, schedule(1), batches(0), batches(1), alone))
    costs = [cost(draw) for chunk in drawn(1, 4) for draw in chunk]

    assert row.drawn_gmacs == pytest.approx(sum(costs) / 16, rel=1e-12)
    assert row.over_target == sum(one > 1.4 for one in costs) / 16
    assert 0 < row.over_target < 1
    assert row.expected_gmacs == expected(state.prior.probabilities())
    assert row.mode_gmacs == cost(state.prior.mode())
    assert row.entropy == tuple(state.prior.entropy())
    assert 1 <= row.effective_draws <= 4
    assert unpack(pack([row]), 2) == [row]


def test_the_trace_of_warm_up_knows_no_target():
    """Uniform alpha: entropy 1, expected cost the mean of the candidates'; the rest is nan."""
    row = next(search_steps(fresh(), TASK, schedule(1), batches(0), None, alone))
    costs = [cost(draw) for chunk in drawn(0, 2) for draw in chunk]

    assert row.entropy == pytest.approx((1, 1))
    assert row.expected_gmacs == pytest.approx(1.5)
    assert row.mode_gmacs == 1.0
    assert row.drawn_gmacs == pytest.approx(sum(costs) / 8, rel=1e-12)
    assert 1 <= row.effective_draws <= 2
    assert math.isnan(row.alpha_loss)
    assert math.isnan(row.over_target)
    (again,) = unpack(pack([row]), 2)
    assert math.isnan(again.alpha_loss)
    assert math.isnan(again.over_target)
    known = {"alpha_loss": 0.0, "over_target": 0.0, "noise": 0.0}
    assert again._replace(**known) == row._replace(**known)


CONSTRAINTS = {
    "none": Constraint("log", 0.0, None, 1.4),
    "plain": Constraint("plain", 0.3, None, 1.4),
    "log": Constraint("log", 0.3, None, 1.4),
    "range": Constraint("log", 0.3, 1.2, 1.7),
}


def by_hand(net, alpha, likelihood, form):
    """What alpha must move by: the mean over the chunks of sum_k m_k (one-hot - P), in floats."""
    rows = [alpha[choice, :count].tolist() for choice, count in enumerate(CANDIDATES)]
    chances = [[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in rows]
    prior = Prior(CANDIDATES)
    with torch.no_grad():
        prior.alpha.copy_(alpha)
    moved = [[0.0] * count for count in CANDIDATES]
    batch = next(iter(batches(1)(0, 0)))
    for number, clips, labels in batch:
        draws = prior.sample(4, torch.Generator().manual_seed(seed_of(3, 1, 0, number)))
        found = []
        for draw in draws:
            seen = clips.double() if draw[0] else clips.double().abs()
            logits = torch.tanh(seen @ net.first[draw[0]]) @ net.last[draw[1]]
            pairs = zip(logits.tolist(), labels.tolist(), strict=True)
            nats = sum(math.log(sum(map(math.exp, row))) - row[label] for row, label in pairs)
            clips_in_mean = len(labels) if likelihood.reduction == "mean" else 1
            found.append(-nats / clips_in_mean / likelihood.temperature)
        weights = [math.exp(one - max(found)) for one in found]
        costs = [1.0 + 0.5 * draw[1] for draw in draws]
        missed = [max(0, one / (1.7 if form == "range" else 1.4) - 1) for one in costs]
        if form == "range":
            missed = [c + max(0, 1 - one / 1.2) for c, one in zip(missed, costs, strict=True)]
        for k, draw in enumerate(draws):
            share = weights[k] / sum(weights) - 1 / 4
            if form == "plain":
                share -= 0.3 * (missed[k] - sum(missed) / 4) / 3
            elif form in ("log", "range") and sum(missed):
                share -= 0.3 * missed[k] / sum(missed)
            for choice, taken in enumerate(draw):
                for i, chance in enumerate(chances[choice]):
                    moved[choice][i] += share * ((i == taken) - chance) / len(batch)
    return moved


@pytest.mark.parametrize("form", CONSTRAINTS)
@pytest.mark.parametrize("likelihood", [Likelihood("sum", 0.7), Likelihood("mean", 0.2)], ids=str)
def test_a_step_of_alpha_is_the_gradient_by_hand(form, likelihood):
    """In float64, every form of the cost, a temperature, both reductions; dropout is off."""
    state = fresh()
    state.supernet.double().train()
    with torch.no_grad():
        state.prior.alpha[0, :2] = torch.tensor([0.3, -0.2])
        state.prior.alpha[1, :3] = torch.tensor([-0.5, 0.1, 0.4])
    before = state.prior.alpha.detach().clone()
    state.adam = torch.optim.SGD(state.prior.parameters(), lr=1.0)
    how = schedule(1, constraint=CONSTRAINTS[form], likelihood=likelihood)
    batch = [(n, clips.double(), labels) for n, clips, labels in next(iter(batches(1)(0, 0)))]

    alpha_step(state, TASK, how, batch, alone, 0)

    moved = state.prior.alpha.detach() - before
    wanted = by_hand(state.supernet, before, likelihood, form)
    for row, expected_row in zip(moved.tolist(), wanted, strict=True):
        assert row[: len(expected_row)] == pytest.approx(expected_row, rel=0, abs=1e-12)
    assert max(map(abs, itertools.chain(*wanted))) > 1e-3


def test_a_step_is_reduced_once_for_each_half():
    """The weights' gradients with the log-likelihoods beside them; alpha's need no gradient."""
    said = []
    reduce = lambda tensors: said.append(Counter(tensor.dtype for tensor in tensors))  # noqa: E731
    next(search_steps(fresh(), TASK, schedule(1), batches(0), batches(1), reduce))

    assert said == [{torch.float32: 2, torch.float64: 1}, {torch.float64: 1}]


def test_one_draw_for_alpha_is_refused():
    """Before any step is made."""
    state = fresh()
    with pytest.raises(ValueError, match="K must be 2 or more"):
        next(search_steps(state, TASK, schedule(1, alpha_draws=1), batches(0), batches(1), alone))


def test_a_loss_that_is_not_finite_stops_the_run_and_moves_nothing():
    """Named by its step."""
    state = fresh()

    def broken(epoch, start):
        for step in batches(0)(epoch, start):
            yield [(number, clips * math.nan, labels) for number, clips, labels in step]

    with pytest.raises(FloatingPointError, match="step 0"):
        next(search_steps(state, TASK, schedule(1), broken, None, alone))
    assert same(state.state_dict(), fresh().state_dict())


def test_a_loss_for_alpha_that_is_not_finite_leaves_alpha_alone():
    """The weights of that step have moved by then; no step is counted."""
    state, before = fresh(), fresh()

    def broken(epoch, start):
        for step in batches(1)(epoch, start):
            yield [(number, clips * math.nan, labels) for number, clips, labels in step]

    with pytest.raises(FloatingPointError, match="step 0"):
        next(search_steps(state, TASK, schedule(1), batches(0), broken, alone))
    assert same(state.prior.state_dict(), before.prior.state_dict())
    assert same(state.adam.state_dict(), before.adam.state_dict())
    assert not same(state.supernet.state_dict(), before.supernet.state_dict())
    assert (state.step, state.rows) == (0, [])
