"""Two streams of one clip: what makes them fit together, and the order of their work.

The dense stream takes all frames of the clip, the sparse one every alpha-th of them. Before a row
of the dense stream, its features may be added to those of the sparse stream that enter the row of
the same number; how is the column `fuse` (`vision.arch.fusions`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from autox3d.vision.arch.blocks import Block, Candidates, Group
from autox3d.vision.arch.fusions import FUSIONS, SKIP


class Step(NamedTuple):
    """A block with its attention unit, or a fusion: what one step of a network computes."""

    stream: int  # whose features it changes: 0 the sparse or only stream, 1 the dense one
    number: int  # of the block in `Genotype.blocks`, or of the dense row before which is fused
    fuses: bool


def steps(blocks: Sequence[Block], rows: Sequence[Group], dense: int) -> Iterator[Step]:
    """Yields all steps, row by row: the fusion, then the sparse stream's blocks, then the dense's.

    Args:
        blocks: all blocks, stream by stream
        rows: all rows, stream by stream
        dense: the number of rows that are the dense stream's, the last ones
    """
    sparse = len(rows) - dense
    numbers = [[n for n, block in enumerate(blocks) if block.group == r] for r in range(len(rows))]
    for row in range(max(sparse, dense)):
        if row < dense and rows[sparse + row].fuse != SKIP:
            yield Step(0, row, True)
        for stream, (first, count) in enumerate(((0, sparse), (sparse, dense))):
            if row < count:
                yield from (Step(stream, number, False) for number in numbers[first + row])


def check_streams(
    frames: int,
    alpha: int,
    sparse: Sequence[Group] | Sequence[Candidates],
    dense: Sequence[Group] | Sequence[Candidates],
) -> None:
    """Checks that two streams fit together.

    Args:
        frames: of the clip
        sparse, dense: their rows

    Raises:
        ValueError: says what does not fit.
    """
    if frames % alpha:
        raise ValueError(
            f"alpha is {alpha}, which does not divide the {frames} frames of 'input'."
            " Take another of the two."
        )
    for row, group in enumerate(dense, 1):
        if group.fuse is None:
            raise ValueError(f"row {row} has no 'fuse'. Write one of {', '.join(FUSIONS)}.")
        kinds = {group.fuse} if isinstance(group.fuse, str) else set(group.fuse)
        if not kinds - {SKIP}:
            continue
        kind = min(kinds - {SKIP})
        if row > len(sparse):
            raise ValueError(
                f"row {row} has 'fuse' {kind}, and the sparse stream has {len(sparse)} rows."
                f" Write {SKIP}."
            )
        strides = stride_of(sparse[: row - 1]), stride_of(dense[: row - 1])
        if strides[0] != strides[1]:
            raise ValueError(
                f"row {row} has 'fuse' {kind}, where the sparse stream has a stride of"
                f" {strides[0]} and the dense one of {strides[1]}. Write {SKIP}, or change the"
                " rows before it."
            )
    ends = stride_of(sparse), stride_of(dense)
    if ends[0] != ends[1]:
        raise ValueError(
            f"the sparse stream ends with a stride of {ends[0]} and the dense one of {ends[1]},"
            " and they share the head's window. Make them equal."
        )


def stride_of(groups: Sequence[Group] | Sequence[Candidates]) -> int:
    """The stride of a stream over height and width after these rows, from the clip on."""
    return 2 * math.prod(group.stride for group in groups)
