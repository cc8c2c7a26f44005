"""The parts of a shared kernel that each candidate uses (A3D 4.2, A3D-S 3); no torch.

All candidates of an axis (channels or expansions) are cut from one kernel of `count` equal parts,
arranged on a ring. Each candidate is an arc of consecutive parts:

    fair   each arc starts where the previous one ends, so the numbers of uses of any two parts
           differ by at most 1. With candidates of 1..N parts and N odd, each part is used in the
           share (N+1)/2N of the candidates, as in the paper.
    naive  every arc starts at part 0, so every candidate uses the first parts (the ablation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Literal

Selection = Literal["fair", "naive"]
Parts = tuple[int, ...]  # indices of parts, in the order of the arc


@dataclass(frozen=True, slots=True)
class Ring:
    """One axis of a shared kernel and the arc of each of its candidates."""

    step: Fraction  # size of one part: channels, or an expansion factor
    count: int  # number of parts
    arcs: dict[Fraction, Parts]  # by candidate

    def arc(self, candidate: float) -> Parts:
        """The parts that a candidate uses, such as 24 channels or expansion 2.25."""
        return self.arcs[exact(candidate)]


def ring(candidates: Iterable[float], selection: Selection) -> Ring:
    """Makes the ring of an axis; its part size is the greatest common divisor of the candidates."""
    values = sorted({exact(candidate) for candidate in candidates})
    step = _divisor(values)
    sizes = [int(value / step) for value in values]
    return Ring(step, sizes[-1], dict(zip(values, arcs(sizes, selection), strict=True)))


def arcs(sizes: Sequence[int], selection: Selection) -> tuple[Parts, ...]:
    """Makes arcs of the given numbers of parts, on a ring as large as the largest of them."""
    count, start, laid = max(sizes), 0, []
    for size in sizes:
        laid.append(tuple((start + step) % count for step in range(size)))
        if selection == "fair":
            start = (start + size) % count
    return tuple(laid)


def uses(of: Iterable[Parts], count: int) -> tuple[int, ...]:
    """Counts the arcs that use each part."""
    arcs = list(of)
    return tuple(sum(part in arc for arc in arcs) for part in range(count))


def indices(parts: Iterable[int], size: int) -> list[int]:
    """The channel indices in the shared kernel of parts that have `size` channels each."""
    return [part * size + offset for part in parts for offset in range(size)]


def cells(inputs: Parts, expansions: Parts, count: int) -> list[int]:
    """The inner channels, as cells of the grid of input parts x `count` expansion parts."""
    return [part * count + expansion for part in inputs for expansion in expansions]


def exact(number: float) -> Fraction:
    """The fraction that a number is written as: 0.1 is exactly one tenth."""
    return Fraction(str(number))


def _divisor(values: Sequence[Fraction]) -> Fraction:
    """The greatest common divisor of fractions."""
    divisor = values[0]
    for value in values[1:]:
        shared = divisor.denominator * value.denominator
        divisor = Fraction(gcd(int(divisor * shared), int(value * shared)), shared)
    return divisor
