"""How the passes of a step are dealt over processes: pairs of a chunk of clips and a draw.

    C chunks of clips a step, K draws a chunk

Pair (c, k) has number c K + k. Each process takes a run of consecutive pairs, so that it decodes
few chunks, and no pair waits for another. At most two of its chunks are shared with neighbours.
"""

from __future__ import annotations

from typing import NamedTuple


class Piece(NamedTuple):
    """The draws of one chunk that a process works on."""

    chunk: int
    draws: range  # of the chunk's K
    whole: bool  # whether these are all of them


def deal(chunks: int, draws: int, rank: int, size: int) -> list[Piece]:
    """Lists the pieces of process `rank` of `size`: the chunks that it shares first, then the rest.

    A process has no pieces if there are more processes than pairs.
    """
    first, last = (chunks * draws * place // size for place in (rank, rank + 1))
    pieces = []
    for chunk in range(first // draws, -(-last // draws)):
        start = chunk * draws
        taken = range(max(first - start, 0), min(last - start, draws))
        if taken:
            pieces.append(Piece(chunk, taken, len(taken) == draws))
    return sorted(pieces, key=lambda piece: piece.whole)


def is_split(chunks: int, draws: int, size: int) -> bool:
    """Whether any chunk is shared by two processes or more."""
    return any(chunks * draws * rank // size % draws for rank in range(size))
