"""How sure a measured share or difference is: intervals and paired tests, without scipy.

    low, high = wilson(hits=112, n=128)  # of a top-1 accuracy
    mcnemar(hits_of_one, hits_of_two).p  # of two networks on the same videos
    low, high = bootstrap(differences, seed=1)  # of the mean of paired differences

Videos are taken to be independent of each other. Training with another seed is a source of chance
that no interval of one trained network contains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95
RESAMPLES = 4_000


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Discordant(NamedTuple):
    """The pairs in which just one of two is right, and the probability of a split as uneven."""

    one: int  # only the first is right
    two: int  # only the second is right
    p: float  # two-sided, exact


def wilson(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a share of `n` (J. Am. Stat. Assoc. 22, 209, 1927).

    Unlike the normal one it stays in [0, 1], and has a width where all or none are hits.

    Raises:
        ValueError: `n` is not positive, or `hits` is not one of 0 .. `n`.
    """
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"no share: {hits} of {n}")
    z, share = NormalDist().inv_cdf((1 + level) / 2), hits / n
    centre = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    return Interval(0.0 if hits == 0 else low, 1.0 if hits == n else high)


def mcnemar(one: Sequence[bool], two: Sequence[bool]) -> Discordant:
    """McNemar's exact test of two networks that answer the same questions.

    Pairs in which both are right or both are wrong say nothing. If the networks are equally good,
    each other pair is a toss of a fair coin.

    Args:
        one, two: whether each answer is right, in the same order

    Raises:
        ValueError: the lengths differ.
    """
    pairs = list(zip(one, two, strict=True))
    first = sum(bool(a) and not b for a, b in pairs)
    second = sum(bool(b) and not a for a, b in pairs)
    n, few = first + second, min(first, second)
    tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n
    return Discordant(first, second, min(1.0, 2 * tail))


def bootstrap(
    values: ArrayLike, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """The percentile interval of a mean, from resampling the values with replacement.

    For a paired difference, pass the difference of each pair. The same seed gives the same bits.

    Raises:
        ValueError: there is no value.
    """
    known = np.asarray(values, np.float64)
    if known.ndim != 1 or not known.size:
        raise ValueError(f"no list of values: shape {known.shape}")
    rng = np.random.default_rng(seed)
    means = [known[rng.integers(known.size, size=known.size)].mean() for _ in range(resamples)]
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(low), float(high))
