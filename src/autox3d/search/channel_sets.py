"""Which parts of a shared kernel each candidate uses (A3D 4.2, A3D-S 3): plain arithmetic.

All candidates of an axis (channels, or expansions) are cut from one kernel of `count` equal parts,
laid on a ring. A candidate is an arc of them:

    fair   the arcs lie end to end, a candidate starts where the one before stopped, so every part
           is used equally often, or once more. With candidates of 1..N parts and N odd, that is
           the paper's (N+1)/2N.
    naive  every arc starts at part 0: the first parts are in every candidate (the ablation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Literal

Selection = Literal["fair", "naive"]
Parts = tuple[int, ...]  # numbers of parts, in the order of the arc


@dataclass(frozen=True, slots=True)
class Ring:
    """One axis of a shared kernel and the arc of each of its candidates."""

    step: Fraction  # what one part is worth: channels, or times the input
    count: int  # parts in all
    arcs: dict[Fraction, Parts]  # by candidate

    def arc(self, candidate: float) -> Parts:
        """The parts of a candidate, such as 24 channels or expansion 2.25."""
        return self.arcs[exact(candidate)]


def ring(candidates: Iterable[float], selection: Selection) -> Ring:
    """The ring of all candidates of an axis; a part is their greatest common divisor."""
    values = sorted({exact(candidate) for candidate in candidates})
    step = _divisor(values)
    sizes = [int(value / step) for value in values]
    return Ring(step, sizes[-1], dict(zip(values, arcs(sizes, selection), strict=True)))


def arcs(sizes: Sequence[int], selection: Selection) -> tuple[Parts, ...]:
    """Arcs of so many parts each, on a ring of as many as the largest has."""
    count, start, laid = max(sizes), 0, []
    for size in sizes:
        laid.append(tuple((start + step) % count for step in range(size)))
        if selection == "fair":
            start = (start + size) % count
    return tuple(laid)


def uses(of: Iterable[Parts], count: int) -> tuple[int, ...]:
    """How many of the arcs use each part."""
    arcs = list(of)
    return tuple(sum(part in arc for arc in arcs) for part in range(count))


def indices(parts: Iterable[int], size: int) -> list[int]:
    """The positions that parts of `size` channels each hold in the shared kernel."""
    return [part * size + offset for part in parts for offset in range(size)]


def cells(inputs: Parts, expansions: Parts, count: int) -> list[int]:
    """Cells of the grid (input part) x (one of `count` expansion parts): the inner channels."""
    return [part * count + expansion for part in inputs for expansion in expansions]


def exact(number: float) -> Fraction:
    """The number as it is written: 0.1 is a tenth."""
    return Fraction(str(number))


def _divisor(values: Sequence[Fraction]) -> Fraction:
    """The greatest number that goes into all of them a whole number of times."""
    divisor = values[0]
    for value in values[1:]:
        shared = divisor.denominator * value.denominator
        divisor = Fraction(gcd(int(divisor * shared), int(value * shared)), shared)
    return divisor
