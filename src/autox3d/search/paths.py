"""How the networks of the warm-up's steps are drawn: the paths through the supernet.

    random    each draw independent of the others, as for a search
    strict    of c draws in a row, each of a choice's c candidates is in exactly one (FairNAS's
              strict fairness, arXiv:1907.01845), so that no weight falls behind by bad luck
    sandwich  of 4 draws in a row, the first has the largest width and expansion everywhere, the
              second the smallest, the others are strict (BigNAS, arXiv:2003.11142): for nested
              widths, `supernet.selection: naive`

Draws are numbered from the first step of the warm-up on. A draw depends on its number and the seed
alone, and so neither on the processes nor on where a run was resumed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from autox3d.search.prior import Prior
from autox3d.search.space import Draw, Space

NESTED = ("expansion", "channels")  # the columns whose candidates share weights
ROUND = 4  # draws of which the sandwich takes the widest and the narrowest


def strict(prior: Prior, seed: int, first: int, count: int) -> list[Draw]:
    """The draws `first` to `first + count - 1`, by strict fairness.

    Each choice has blocks of its own, as long as it has candidates, and an own random order of the
    candidates in each block. Probabilities do not matter, but a candidate that is absent in the
    prior is in no draw.
    """
    listed = [
        [candidate for candidate, absent in enumerate(row) if not absent]
        for row in prior.absent.tolist()
    ]
    return [
        tuple(
            candidates[_order(seed, choice, *divmod(number, len(candidates)), len(candidates))]
            for choice, candidates in enumerate(listed)
        )
        for number in range(first, first + count)
    ]


def sandwich(space: Space, prior: Prior, seed: int, first: int, count: int) -> list[Draw]:
    """The draws `first` to `first + count - 1`, by the sandwich rule."""
    found = []
    for number, draw in enumerate(strict(prior, seed, first, count), first):
        end = {0: max, 1: min}.get(number % ROUND)
        rows = zip(space.choices, draw, strict=True)
        found.append(
            tuple(
                choice.candidates.index(end(choice.candidates))
                if end and choice.column in NESTED
                else taken
                for choice, taken in rows
            )
        )
    return found


def _order(seed: int, choice: int, block: int, place: int, count: int) -> int:
    """The candidate at a place of a block, as a number below `count`."""
    return _permutation(seed, choice, block, count)[place]


@lru_cache(maxsize=4096)
def _permutation(seed: int, choice: int, block: int, count: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng((seed, choice, block)).permutation(count).tolist())
