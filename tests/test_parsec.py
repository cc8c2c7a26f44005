"""The search's gradients are those of the papers: held against sums over a whole small space.

The space has two choices, of 2 and 3 candidates: 6 networks A, whose log-likelihoods l(A) are
differentiable functions of weights that they share. All in float64.
"""

import itertools
import math
from collections import Counter

import pytest
import torch

from autox3d.search.constraint import Constraint
from autox3d.search.likelihood import Likelihood, effective_draws
from autox3d.search.prior import Prior
from autox3d.search.strategies.parsec import alpha_gradient, importance, weight_gradient
from autox3d.vision.tasks.classify import TASK

CANDIDATES = (2, 3)
SPACE = list(itertools.product(range(2), range(3)))
COSTS = {draw: 1.0 + 0.5 * draw[0] + 0.4 * draw[1] for draw in SPACE}


class TABLE:
    """The cost of the networks, as the search asks for it."""

    of = COSTS.__getitem__


CONSTRAINTS = {
    "none": Constraint("log", 0.0, None, 1.5),
    "log hinge": Constraint("log", 0.2, None, 1.5),
    "plain hinge": Constraint("plain", 0.2, None, 1.5),
    "log range": Constraint("log", 0.2, 1.3, 1.5),
    "plain range": Constraint("plain", 0.2, 1.3, 1.5),
}


class Toy(torch.nn.Module):
    """A classifier whose weights are partly shared between the networks of the space."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        self.first = torch.nn.Parameter(make(2, 4, 5))
        self.last = torch.nn.Parameter(make(3, 5, 3))
        self.clips, self.labels = make(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])

    def log_likelihood(self, draw):
        hidden = torch.tanh(self.clips @ self.first[draw[0]])
        return -TASK.loss((hidden @ self.last[draw[1]])[:, None], self.labels)


@pytest.fixture
def toy():
    return Toy()


@pytest.fixture
def prior():
    prior = Prior(CANDIDATES)
    with torch.no_grad():
        prior.alpha[0, :2] = torch.tensor([0.3, -0.2])
        prior.alpha[1, :3] = torch.tensor([-0.5, 0.1, 0.4])
    return prior


def tuples(prior, count):
    """Every way to draw so many networks, without regard to order, and its probability."""
    chances = prior.log_prob(SPACE).exp().tolist()
    for picked in itertools.combinations_with_replacement(range(len(SPACE)), count):
        orders = math.factorial(count)
        for times in Counter(picked).values():
            orders //= math.factorial(times)
        chance = orders * math.prod(chances[i] for i in picked)
        yield [SPACE[i] for i in picked], chance


def all_at_once(toy, draws, scale=1.0):
    """The K-draw objective, K log-likelihoods in one graph: scale * log mean exp(l / scale)."""
    each = torch.stack([toy.log_likelihood(draw) for draw in draws])
    return scale * (torch.logsumexp(each / scale, 0) - math.log(len(draws)))


def stream(toy, draws, scale=1.0):
    """Ours: one draw at a time."""
    forwards = [lambda draw=draw: toy.log_likelihood(draw) for draw in draws]
    return weight_gradient(forwards, list(toy.parameters()), scale)


@pytest.mark.parametrize("scale", [1.0, 0.05, 8.0])
def test_streaming_equals_all_at_once(toy, scale):
    """To 1e-12, also where the softmax is sharp and the running maximum jumps."""
    draws = [SPACE[i] for i in (3, 0, 5, 1, 1, 4, 2)]

    found, _ = stream(toy, draws, scale)
    wanted = torch.autograd.grad(all_at_once(toy, draws, scale), list(toy.parameters()))

    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


def test_streaming_does_not_depend_on_the_order_of_draws(toy):
    """Rising, falling or mixed likelihoods: the same sum to 1e-12."""
    found = [stream(toy, order)[0] for order in itertools.permutations(SPACE[:4])]

    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert torch.allclose(one, two, rtol=0, atol=1e-12)


def test_a_part_that_no_draw_touched_has_gradient_zero(toy):
    """Not none: it is summed over processes, and weight decay applies to it."""
    gradient, _ = stream(toy, [(0, 0), (0, 1)])

    assert gradient[0][0].abs().sum() > 0
    assert gradient[0][1].abs().sum() == 0
    assert gradient[1][2].abs().sum() == 0


@pytest.mark.parametrize("count", [2, 3])
def test_the_mean_over_draws_is_the_expected_k_draw_gradient_of_the_weights(toy, prior, count):
    """Enumerated: E grad log(1/K sum_k exp l_k) over all tuples of K networks."""
    ours = [torch.zeros_like(parameter) for parameter in toy.parameters()]
    objective = torch.zeros((), dtype=torch.float64)
    for draws, chance in tuples(prior, count):
        for total, part in zip(ours, stream(toy, draws)[0], strict=True):
            total += chance * part
        objective = objective + chance * all_at_once(toy, draws)
    wanted = torch.autograd.grad(objective, list(toy.parameters()))

    for one, two in zip(ours, wanted, strict=True):
        assert torch.allclose(one, two, rtol=0, atol=1e-12)


def shares(toy, draws, constraint):
    """The papers' m_k with no baseline: W_k - beta c_k / sum c, or W_k - beta c_k / K.

    In the log form 0/0, where no draw misses, is read as nothing to pull.
    """
    likelihoods = torch.stack([toy.log_likelihood(draw) for draw in draws]).detach()
    missed = torch.tensor([constraint.excess(COSTS[draw]) for draw in draws], dtype=torch.float64)
    if constraint.form == "plain":
        return likelihoods.softmax(0) - constraint.beta * missed / len(draws)
    if missed.sum() == 0:
        return likelihoods.softmax(0)
    return likelihoods.softmax(0) - constraint.beta * missed / missed.sum()


def expected_alpha(toy, prior, count, constraint):
    """Our estimator's mean over all tuples of K networks."""
    mean = torch.zeros_like(prior.alpha)
    for draws, chance in tuples(prior, count):
        likelihoods = torch.stack([toy.log_likelihood(draw) for draw in draws]).detach()
        weights = importance(likelihoods, 1.0)[None]
        mean += chance * alpha_gradient(prior, [draws], weights)
        mean += chance * constraint.penalty(prior, [draws], TABLE)
    return mean


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_the_mean_over_draws_is_the_expected_k_draw_gradient_of_alpha(toy, prior, name, count):
    """The baselines take nothing from it: E sum_k m_k grad log P(A_k), for every cost."""
    constraint = CONSTRAINTS[name]
    objective = torch.zeros((), dtype=torch.float64)
    for draws, chance in tuples(prior, count):
        weighted = (shares(toy, draws, constraint) * prior.log_prob(draws)).sum()
        objective = objective + chance * weighted
    wanted = torch.autograd.grad(objective, prior.alpha)[0]

    assert torch.allclose(expected_alpha(toy, prior, count, constraint), wanted, rtol=0, atol=1e-12)


def test_the_plain_hinge_is_the_exact_gradient_of_the_mean_cost(toy, prior):
    """For any K: grad of beta sum_A P(A) c(A)."""
    constraint = CONSTRAINTS["plain hinge"]
    missed = torch.tensor([constraint.excess(COSTS[draw]) for draw in SPACE], dtype=torch.float64)
    cost = constraint.beta * (prior.log_prob(SPACE).exp() * missed).sum()
    wanted = -torch.autograd.grad(cost, prior.alpha)[0]

    free = constraint._replace(beta=0.0)
    ours = expected_alpha(toy, prior, 2, constraint) - expected_alpha(toy, prior, 2, free)

    assert torch.allclose(ours, wanted, rtol=0, atol=1e-12)


DEAR = Constraint("log", 0.2, None, 0.9)  # every network misses it, by another share


def test_the_bias_falls_as_one_over_k(toy, prior):
    """W_k is a ratio of sums, and so is the log form's pull; twice the draws halve the distance.

    The exact objective is log sum_A P(A) exp l(A) - beta log sum_A P(A) c(A).
    """
    each = torch.stack([toy.log_likelihood(draw) for draw in SPACE])
    missed = torch.tensor([DEAR.excess(COSTS[draw]) for draw in SPACE], dtype=torch.float64)
    likelihood = torch.logsumexp(each + prior.log_prob(SPACE), 0)
    cost = DEAR.beta * (prior.log_prob(SPACE).exp() * missed).sum().log()
    plain, dear = (
        torch.autograd.grad(objective, prior.alpha, retain_graph=True)[0]
        for objective in (likelihood, likelihood - cost)
    )
    exact = [plain, dear, dear - plain, *torch.autograd.grad(likelihood, [toy.first, toy.last])]

    distances = []
    for count in (2, 4, 8):
        free, pulled = (expected_alpha(toy, prior, count, c) for c in (CONSTRAINTS["none"], DEAR))
        first, last = torch.zeros_like(toy.first), torch.zeros_like(toy.last)
        for draws, chance in tuples(prior, count):
            for total, part in zip((first, last), stream(toy, draws)[0], strict=True):
                total += chance * part
        found = [free, pulled, pulled - free, first, last]
        distances.append([(one - two).norm() for one, two in zip(found, exact, strict=True)])

    for before, after in itertools.pairwise(distances):
        for far, near in zip(before, after, strict=True):
            assert 0.35 < near / far < 0.65


def test_sampled_draws_have_the_enumerated_mean(toy, prior):
    """20,000 pairs of real draws, within four standard errors."""
    generator = torch.Generator().manual_seed(1)
    likelihoods = {draw: toy.log_likelihood(draw).detach() for draw in SPACE}
    drawn = prior.sample(40_000, generator)
    kinds = Counter(tuple(sorted(pair)) for pair in zip(drawn[::2], drawn[1::2], strict=True))
    samples = []
    for pair, times in kinds.items():
        weights = importance(torch.stack([likelihoods[draw] for draw in pair]), 1.0)
        samples.append((alpha_gradient(prior, [pair], weights[None]), times))
    times = torch.tensor([times for _, times in samples], dtype=torch.float64)[:, None, None]
    found = torch.stack([found for found, _ in samples])
    mean = (found * times).sum(0) / 20_000
    square = (found.square() * times).sum(0) / 20_000
    error = (square - mean.square()).sqrt() / math.sqrt(20_000)

    wanted = expected_alpha(toy, prior, 2, CONSTRAINTS["none"])
    assert ((mean - wanted).abs() <= 4 * error + 1e-12).all()


def test_one_draw_is_refused(prior):
    """Its importance is 1 whatever it is worth, so alpha would learn nothing."""
    with pytest.raises(ValueError, match="K must be 2 or more"):
        alpha_gradient(prior, [[(0, 0)]], torch.ones(1, 1))


def test_the_mean_of_a_chunk_is_a_temperature():
    """reduction: mean over 8 clips divides l_k as a temperature of 8 does."""
    assert Likelihood("mean", 1.0).scale(8) == Likelihood("sum", 8.0).scale(8) == 8.0
    assert Likelihood("sum", 1.0).scale(8) == 1.0


def test_effective_draws_as_facts_are_measured():
    """13 draws whose mean cross-entropies differ by 0.03: 13.0, 12.3 and 1.6 effective ones."""
    generator = torch.Generator().manual_seed(0)
    losses = 0.03 * torch.randn(4000, 13, generator=generator, dtype=torch.float64)

    found = [
        sum(effective_draws(importance(-row * clips, 1.0)) for row in losses) / len(losses)
        for clips in (1, 8, 192)
    ]

    assert found == pytest.approx([13.0, 12.3, 1.6], abs=0.06)
