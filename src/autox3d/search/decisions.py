"""What decided each choice of a search: the clips, the budget, or nothing.

    t  for two candidates of a choice: the difference of their evidence over the root of the sum of
       its squares (see `evidence`); a standard normal if the clips prefer neither

A choice is decided by the clips if the candidate taken is the one they prefer, and its t against
their second candidate is over the threshold; else by the budget if the cost term's part brings the
difference over it, or if the clips had decided on another candidate; else it is undecided.

The threshold keeps the family-wise error at 5 %: if the clips prefer nothing at all, the
probability that any choice of the search is called decided. It is at least the largest t that the
weights of other networks reach in the same search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from autox3d.core.search_records import Alpha, Choice

ERROR = 0.05  # family-wise


class State(NamedTuple):
    """What decided one choice."""

    by: Literal["clips", "budget", "undecided"]
    t: float  # of the clips' best candidate against their second; 0 if there is only one
    threshold: float


def states(search: Alpha, taken: Sequence[int]) -> tuple[State, ...]:
    """What decided each choice of a network; `taken` has the index of each candidate.

    A choice with one candidate is nobody's decision, and counts as undecided with t 0.
    """
    limit = threshold(search)
    rows = zip(search.choices, taken, strict=True)
    return tuple(
        State(_by(choice, index, limit), preference(choice), limit) for choice, index in rows
    )


def threshold(search: Alpha) -> float:
    """The t over which a choice is decided."""
    return max([bound(search), *(choice.null for choice in search.choices)])


def bound(search: Alpha) -> float:
    """The t that at least one of the open choices passes with probability 5 % by noise.

    Of two candidates either may be the better one, so the bound is two-sided (Sidak).
    """
    count = sum(len(choice.candidates) > 1 for choice in search.choices)
    each = 1 - (1 - ERROR) ** (1 / max(count, 1))
    return NormalDist().inv_cdf(1 - each / 2)


def decided_by_noise(search: Alpha) -> int:
    """The number of choices that the weights of other networks take over the bound."""
    return sum(choice.null > bound(search) for choice in search.choices)


def preference(choice: Choice) -> float:
    """t of the candidate that the clips prefer against their second one; 0 without evidence."""
    return separation(choice.clips, choice.products)


def separation(sums: Sequence[float], products: Sequence[Sequence[float]]) -> float:
    """t of the largest of the sums against the second; 0 if there are fewer than two."""
    if len(sums) < 2:
        return 0.0
    second, best = np.argsort(sums, kind="stable")[-2:]
    return _t(products, sums, int(best), int(second))


def undecided_attention(search: Alpha) -> set[int]:
    """The numbers of the choices of attention that the clips leave open; such a unit is left out.

    A unit costs multiply-adds and parameters, so that the budget never asks for one.
    """
    limit = threshold(search)
    return {
        number
        for number, choice in enumerate(search.choices)
        if "none" in choice.candidates
        and len(choice.candidates) > 1
        and preference(choice) <= limit
    }


def _by(choice: Choice, taken: int, limit: float) -> Literal["clips", "budget", "undecided"]:
    if len(choice.clips) < 2:
        return "undecided"
    best = int(np.argmax(choice.clips))
    if preference(choice) > limit:
        return "clips" if taken == best else "budget"
    both = np.add(choice.clips, choice.budget)
    other = int(np.argmax(np.where(np.arange(len(both)) == taken, -np.inf, both)))
    return "budget" if _t(choice.products, both, taken, other) > limit else "undecided"


def _t(
    products: Sequence[Sequence[float]], sums: Sequence[float] | np.ndarray, one: int, other: int
) -> float:
    """The difference of two sums in units of their noise."""
    p = products
    variance = p[one][one] + p[other][other] - 2 * p[one][other]
    return float(sums[one] - sums[other]) / math.sqrt(variance) if variance > 0 else 0.0
