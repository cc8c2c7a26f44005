"""Intervals and paired tests agree with printed values and with enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from autox3d.core.intervals import bootstrap, mcnemar, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_printed_values(hits, n, low, high):
    """Newcombe, Statistics in Medicine 17, 857 (1998), Table I, method 3."""
    assert wilson(hits, n) == pytest.approx((low, high), abs=0.00005)


def test_wilson_is_where_the_score_test_turns():
    """Its ends p are at z standard errors of p itself from the share, which is its definition."""
    low, high = wilson(90, 128)
    for end in (low, high):
        assert abs(90 / 128 - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 128))


def test_wilson_covers_what_it_says():
    """By enumeration of all outcomes: 93 to 97 % of them have the truth inside, at 128 videos."""
    for truth in (0.8, 0.9, 0.95):
        chances = [math.comb(128, k) * truth**k * (1 - truth) ** (128 - k) for k in range(129)]
        inside = [low <= truth <= high for low, high in (wilson(k, 128) for k in range(129))]
        assert 0.93 < sum(c for c, yes in zip(chances, inside, strict=True) if yes) < 0.97


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_there_is_no_share_of_nothing(hits, n):
    """No videos, or more hits than videos, is an error and no interval."""
    with pytest.raises(ValueError, match=f"no share: {hits} of {n}"):
        wilson(hits, n)


def test_mcnemar_is_the_enumeration_of_all_tosses():
    """p is the share of all 2^6 outcomes of six fair coins at least as uneven as 5 to 1."""
    one = [True] * 5 + [False] + [True] * 9 + [False] * 4
    two = [False] * 5 + [True] + [True] * 9 + [False] * 4
    tosses = [sum(coins) for coins in itertools.product((0, 1), repeat=6)]

    found = mcnemar(one, two)

    assert found == (5, 1, sum(heads <= 1 or heads >= 5 for heads in tosses) / 64)
    assert mcnemar(two, one) == (1, 5, found.p)
    assert mcnemar(one, one) == (0, 0, 1.0)


def test_mcnemar_needs_the_same_questions():
    """Answers to two lists of questions are not paired."""
    with pytest.raises(ValueError, match="longer"):
        mcnemar([True], [True, False])


def test_the_bootstrap_agrees_with_all_resamples():
    """Of four values all 256 resamples can be listed; their quantiles are those of the draws."""
    values = [0.0, 1.0, 1.5, 7.0]
    means = [np.mean(resample) for resample in itertools.product(values, repeat=4)]

    assert bootstrap(values, 1) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.13)


def test_a_seed_gives_the_same_bits():
    """The same seed gives the same interval, another seed a slightly different one."""
    values = np.random.default_rng(0).normal(size=50)

    assert bootstrap(values, 1) == bootstrap(values, 1) != bootstrap(values, 2)
    assert bootstrap(values, 1) == pytest.approx(bootstrap(values, 2), abs=0.02)


def test_the_bootstrap_covers_a_mean():
    """Of 200 samples from a known distribution, 89 to 98 % have its mean in the interval."""
    rng = np.random.default_rng(0)
    samples = rng.normal(0.3, 1.0, (200, 60))

    inside = [low <= 0.3 <= high for low, high in (bootstrap(s, 1, resamples=500) for s in samples)]

    assert 0.89 < np.mean(inside) < 0.98


def test_there_is_no_mean_of_nothing():
    """An empty list is an error, not NaN."""
    with pytest.raises(ValueError, match="no list of values"):
        bootstrap([], 1)
