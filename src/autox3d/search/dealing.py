"""How the passes of a step are dealt over processes: pairs of a group of chunks and a draw.

    G groups of chunks of clips a step, each of them in one pass; often a group is a chunk
    K draws a group

Pair (g, k) has number g K + k. Each process takes a run of consecutive pairs, so that it decodes
few groups, and no pair waits for another. At most two of its groups are shared with neighbours.
"""

from __future__ import annotations

from typing import NamedTuple


class Piece(NamedTuple):
    """The draws of one group that a process works on."""

    group: int
    draws: range  # of the group's K
    whole: bool  # whether these are all of them


def deal(groups: int, draws: int, rank: int, size: int) -> list[Piece]:
    """Lists the pieces of process `rank` of `size`: the groups that it shares first, then the rest.

    A process has no pieces if there are more processes than pairs.
    """
    first, last = (groups * draws * place // size for place in (rank, rank + 1))
    pieces = []
    for group in range(first // draws, -(-last // draws)):
        start = group * draws
        taken = range(max(first - start, 0), min(last - start, draws))
        if taken:
            pieces.append(Piece(group, taken, len(taken) == draws))
    return sorted(pieces, key=lambda piece: piece.whole)


def is_split(groups: int, draws: int, size: int) -> bool:
    """Whether any group is shared by two processes or more."""
    return any(groups * draws * rank // size % draws for rank in range(size))
