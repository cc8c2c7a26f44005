"""Each choice says what decided it, by a t-value that noise passes in one search of twenty."""

from statistics import NormalDist

import numpy as np
import pytest

from autox3d.core.search_records import Alpha, Choice
from autox3d.search.decisions import (
    bound,
    decided_by_noise,
    preference,
    states,
    threshold,
    undecided_attention,
)


def choice(clips, budget=(0.0, 0.0), sd=1.0, column="kernel", candidates=("a", "b"), null=0.0):
    """Candidates with independent noise of this deviation."""
    count = len(clips)
    products = np.diag([sd**2] * count)
    return Choice(
        group=1,
        column=column,
        candidates=tuple(candidates)[:count],
        probabilities=((1 / count,) * count,),
        logits=(0.0,) * count,
        clips=tuple(clips),
        budget=tuple(budget),
        products=tuple(map(tuple, products.tolist())),
        null=null,
    )


def alpha(*choices):
    return Alpha(space="toy", choices=choices)


def test_t_is_the_difference_over_its_noise():
    """Of the best against the second: (5 - 3) / sqrt(1 + 1); correlation counts."""
    three = choice((1.0, 5.0, 3.0), (0.0, 0.0, 0.0), candidates="abc")
    assert preference(three) == pytest.approx(2 / 2**0.5)

    paired = choice((5.0, 3.0))
    together = Choice(**{**vars_of(paired), "products": ((1.0, 0.5), (0.5, 1.0))})
    assert preference(together) == pytest.approx(2.0)


def vars_of(record):
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def test_the_bound_is_passed_by_noise_in_one_search_of_twenty():
    """20,000 searches of 8 choices whose t-values are standard normal."""
    search = alpha(*[choice((0.0, 0.0))] * 8)
    drawn = np.abs(np.random.default_rng(1).standard_normal((20_000, 8))).max(1)

    assert (drawn > bound(search)).mean() == pytest.approx(0.05, abs=0.005)
    single = alpha(choice((0.0, 0.0)), choice((1.0,), (0.0,)))
    assert bound(single) == pytest.approx(NormalDist().inv_cdf(0.975))


def test_the_largest_t_of_other_networks_weights_raises_the_threshold():
    """Never lowers it."""
    loud, quiet = alpha(choice((0.0, 0.0), null=6.5)), alpha(choice((0.0, 0.0), null=0.1))

    assert threshold(loud) == 6.5
    assert threshold(quiet) == bound(quiet)
    assert (decided_by_noise(loud), decided_by_noise(quiet)) == (1, 0)


@pytest.mark.parametrize(
    ("clips", "budget", "taken", "by"),
    [
        ((8.0, 0.0), (0.0, 0.0), 0, "clips"),
        ((8.0, 0.0), (-20.0, 20.0), 1, "budget"),  # the clips wanted the other one
        ((0.5, 0.0), (-9.0, 9.0), 1, "budget"),
        ((0.5, 0.0), (-9.0, 9.0), 0, "undecided"),  # neither asked for it
        ((1.0, 0.0), (0.1, -0.1), 0, "undecided"),
    ],
)
def test_what_decided_a_choice(clips, budget, taken, by):
    """The clips, if they prefer what was taken; the budget, if it tips the difference."""
    (found,) = states(alpha(choice(clips, budget)), [taken])

    assert found.by == by


def test_a_choice_without_alternatives_is_nobodys_decision():
    """And needs no evidence."""
    (found,) = states(alpha(choice((0.0,), (0.0,))), [0])

    assert (found.by, found.t) == ("undecided", 0.0)


def test_attention_needs_the_clips():
    """A unit that they do not ask for is left out; what they decide stays."""
    units = ("none", "glore")
    weak = choice((0.0, 1.0), column="attention", candidates=units)
    strong = choice((0.0, 9.0), column="attention", candidates=units)
    search = alpha(choice((0.0, 0.0)), weak, strong)

    assert undecided_attention(search) == {1}
