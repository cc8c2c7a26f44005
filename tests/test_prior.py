"""P(A | alpha): independent choices, drawn as they are probable, ranked without enumeration."""

import itertools
import math

import pytest
import torch

from autox3d.search.prior import Prior

CANDIDATES = (2, 1, 3)
SPACE = list(itertools.product(*map(range, CANDIDATES)))


@pytest.fixture
def prior():
    prior = Prior(CANDIDATES)
    with torch.no_grad():
        prior.alpha[0, :2] = torch.tensor([0.3, -0.2])
        prior.alpha[2, :3] = torch.tensor([-0.5, 0.1, 0.4])
    return prior


def test_it_is_uniform_at_first():
    """Every network has the same chance, and every choice the entropy 1."""
    prior = Prior(CANDIDATES)

    assert prior.log_prob(SPACE).tolist() == pytest.approx([-math.log(6)] * 6)
    assert prior.entropy() == pytest.approx([1.0, 0.0, 1.0])


def test_probabilities_sum_to_one(prior):
    """Over the space, and over the candidates of each choice."""
    assert prior.log_prob(SPACE).exp().sum().item() == pytest.approx(1)
    assert [sum(row) for row in prior.probabilities()] == pytest.approx([1, 1, 1])
    assert [len(row) for row in prior.probabilities()] == list(CANDIDATES)


def test_candidates_that_do_not_exist_are_never_drawn_and_never_learn(prior):
    """A choice of one candidate shares a tensor with one of three."""
    draws = prior.sample(500, torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(prior.log_prob(draws).sum(), prior.alpha)

    assert set(draws) == set(SPACE)
    assert gradient[prior.absent].abs().sum() == 0


def test_the_same_key_gives_the_same_draws(prior):
    """Draws follow from the generator's seed alone."""
    assert prior.sample(20, torch.Generator().manual_seed(3)) == prior.sample(
        20, torch.Generator().manual_seed(3)
    )


def test_descending_is_the_sorted_space(prior):
    """Every network once, the most probable first, equal to sorting them all."""
    found = list(prior.descending())
    wanted = sorted(prior.log_prob(SPACE).tolist(), reverse=True)

    assert sorted(draw for _, draw in found) == SPACE
    assert [chance for chance, _ in found] == pytest.approx(wanted)
    assert found[0][1] == prior.mode() == (0, 0, 2)
