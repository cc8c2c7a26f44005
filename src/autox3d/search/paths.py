"""How the networks of the warm-up's steps are drawn: the paths through the supernet.

    random    each draw independent of the others, as for a search
    strict    of c draws in a row, each of a choice's c candidates is in exactly one (FairNAS's
              strict fairness, arXiv:1907.01845), so that no weight falls behind by bad luck
    sandwich  as strict, but of 4 draws in a row the first has the largest width and expansion
              everywhere, the second the smallest (BigNAS, arXiv:2003.11142): for nested widths,
              `supernet.selection: naive`

Draws are numbered from the first step of the warm-up on. A draw depends on its number and the seed
alone, and so neither on the processes nor on where a run was resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from autox3d.core.errors import Refused
from autox3d.core.settings import Paths
from autox3d.search.channel_sets import Selection
from autox3d.search.prior import Prior
from autox3d.search.space import Draw, Space

Drawing = Callable[[Prior, int, int, int], list[Draw]]  # prior, seed, number of the first, count
NESTED = ("expansion", "channels")  # the columns whose candidates share weights
ROUND = 4  # draws of which the sandwich takes the widest and the narrowest


def drawing(paths: Paths, space: Space, selection: Selection) -> Drawing | None:
    """The function for `warmup.paths`; None if each draw is independent of the others.

    Raises:
        Refused: the sandwich of widths that are not nested.
    """
    if paths == "sandwich" and selection != "naive":
        raise Refused(
            f"params.yaml: 'warmup.paths' is sandwich, but the widths of selection {selection} are "
            "not nested. Take strict, or 'supernet.selection: naive'."
        )
    if paths == "random":
        return None
    return strict if paths == "strict" else partial(sandwich, space)


def strict(prior: Prior, seed: int, first: int, count: int) -> list[Draw]:
    """The draws `first` to `first + count - 1`, by strict fairness.

    Each choice has blocks of its own, as long as it has candidates, and an own random order of the
    candidates in each block. Probabilities do not matter, but a candidate that is absent in the
    prior is in no draw.
    """
    listed = _present(prior)
    return [
        tuple(
            candidates[
                _order(seed, choice, number // len(candidates), len(candidates))[
                    number % len(candidates)
                ]
            ]
            for choice, candidates in enumerate(listed)
        )
        for number in range(first, first + count)
    ]


def sandwich(space: Space, prior: Prior, seed: int, first: int, count: int) -> list[Draw]:
    """The draws `first` to `first + count - 1`, by the sandwich rule."""
    listed, found = _present(prior), []
    for number, draw in enumerate(strict(prior, seed, first, count), first):
        if end := {0: max, 1: min}.get(number % ROUND):
            rows = zip(space.choices, listed, draw, strict=True)
            draw = tuple(
                end(present, key=choice.candidates.__getitem__)
                if choice.column in NESTED
                else taken
                for choice, present, taken in rows
            )
        found.append(draw)
    return found


def _present(prior: Prior) -> list[list[int]]:
    """The candidates of each choice, without those that are absent."""
    rows = prior.absent.tolist()
    return [[one for one, absent in enumerate(row) if not absent] for row in rows]


@lru_cache(maxsize=4096)
def _order(seed: int, choice: int, block: int, count: int) -> tuple[int, ...]:
    """A random order of `count` candidates."""
    return tuple(np.random.default_rng((seed, choice, block)).permutation(count).tolist())
