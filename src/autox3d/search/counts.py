"""What the parts of a space's networks cost, for all of their candidates at once.

The cost of a group depends on its own choices and on the channels of the group before, so a space
has one table for each group, and a network's cost is a sum of table entries.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from autox3d.core.errors import Refused
from autox3d.search.space import Space, by_group
from autox3d.vision.arch.account import Layer
from autox3d.vision.arch.blocks import Block, Candidates, Group, block_type, sized
from autox3d.vision.arch.cost import Part, cost
from autox3d.vision.arch.fusions import fusion
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.arch.units import unit

Numbers = tuple[int, int, int]  # multiply-adds, parameters, peak elements


class Tables(NamedTuple):
    """What the stem, each group and the head cost."""

    stem: float
    groups: tuple[np.ndarray, ...]  # (channels before, kernel, expansion, channels, unit) each
    head: np.ndarray  # (channels before,)

    def by_group(self, taken: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Splits what stands for each choice (a draw, for example) by group."""
        return by_group(taken, (table.ndim - 1 for table in self.groups))


class Counts(NamedTuple):
    """Tables of whole numbers that follow from the genotypes alone, equal to `vision.arch.cost`."""

    macs: Tables  # multiply-adds per clip
    params: Tables
    peak: Tables  # most elements in memory at once: of a network the largest of its parts


def counted(space: Space, classes: int) -> Counts:
    """Counts each part of all networks of a space.

    The peak of a network of two streams is none of a single part, and is not counted here.

    Raises:
        Refused: the space has two streams, and several widths in the sparse one, on which the
            costs of the fusions would depend.
    """
    if space.dense and any(len(group.channels) > 1 for group in space.groups):
        raise Refused(
            f"{space.name}: 'channels' are open in the sparse stream of two. Search it first, in a"
            " part of its own ('parts')."
        )
    first = space.genotype((0,) * len(space.choices), space.name)
    whole = {part.name: part for part in cost(first, classes).parts}
    groups = _stream(space, first, space.groups, space.stem.channels, whole["stem"])
    stem, widths = _numbers(whole["stem"]), space.groups[-1].channels
    if dense := space.dense:
        rows = _stream(space, first, dense.groups, dense.stem.channels, whole["dense stem"])
        groups += [_fused(space, row, table, whole) for row, table in enumerate(rows)]
        stem, widths = _together(stem, whole["dense stem"]), dense.groups[-1].channels
    ends = [cost(_ending(first, width), classes).parts[-1] for width in widths]
    head = np.array([_numbers(end) for end in ends])  # (channels, 3)
    macs, params, peak = (
        Tables(stem[i], tuple(group[i] for group in groups), head[:, i]) for i in range(3)
    )
    return Counts(macs, params, peak)


def _ending(genotype: Genotype, width: int) -> Genotype:
    """The network with another width before the head, that of its only or its dense stream."""
    if genotype.dense is None:
        *before, last = genotype.groups
        return replace(genotype, groups=(*before, replace(last, channels=width)))
    *before, last = genotype.dense.groups
    dense = replace(genotype.dense, groups=(*before, replace(last, channels=width)))
    return replace(genotype, dense=dense)


def _together(stem: Numbers, other: Part) -> Numbers:
    macs, params, peak = _numbers(other)
    return stem[0] + macs, stem[1] + params, max(stem[2], peak)


def _stream(
    space: Space, first: Genotype, rows: Sequence[Candidates], width: int, stem: Part
) -> list[np.ndarray]:
    """The numbers of each group of a stream, behind a stem of this width."""
    likes = dict(zip(map(id, space.rows), first.rows, strict=True))
    groups, before, side = [], (width,), stem.side
    for row in rows:
        groups.append(_group(space, row, likes[id(row)], before, side, stem.frames))
        before, side = row.channels, math.ceil(side / row.stride)
    return groups


def _fused(space: Space, row: int, table: np.ndarray, whole: dict[str, Part]) -> np.ndarray:
    """A dense group's numbers with an axis more: the fusion before it.

    Args:
        row: of the dense stream, from 0
        table: (3, channels before, kernel, expansion, channels, unit)
        whole: the parts of any network, by name
    """
    assert space.dense is not None
    here, dense = space.dense.groups[row], space.dense
    before = dense.groups[row - 1].channels if row else (dense.stem.channels,)
    sparse = whole[f"group {row}" if row and row <= len(space.groups) else "stem"]
    like = whole[f"dense group {row}" if row else "dense stem"]
    cells = like.frames * like.side**2, sparse.frames * sparse.side**2
    added = np.zeros((3, len(before), len(here.fuse or ())), dtype=np.int64)
    for place, width in enumerate(before):
        for number, kind in enumerate(here.fuse or ()):
            layers = fusion(kind).layers(width, sparse.channels, dense.alpha, cells)
            added[:, place, number] = _numbers(_part(tuple(layers), 0))
    return _joined(table[..., None], added[:, :, None, None, None, None, :])


def _group(
    space: Space, row: Candidates, like: Group, before: Sequence[int], side: int, frames: int
) -> np.ndarray:
    """(3, channels before, kernel, expansion, channels, unit): the numbers of one group.

    Args:
        like: has the columns that are not searched
        before: the candidates for the channels of the group before
        side: px, of the input
    """
    after = math.ceil(side / row.stride)
    cells_in, cells = frames * side**2, frames * after**2
    columns = itertools.product(row.kernel, row.expansion, row.channels)
    groups = [replace(like, kernel=k, expansion=e, channels=c) for k, e, c in columns]
    shape = (3, -1, len(row.kernel), len(row.expansion), len(row.channels), 1)

    def blocks(index: int, inputs: Iterable[tuple[int, Group]], cells_in: int) -> np.ndarray:
        of = space.expansion_of, space.block
        rows = (sized(group, 0, index, channels, *of) for channels, group in inputs)
        return np.array([_block(one, space, cells_in, cells) for one in rows]).T.reshape(shape)

    counts = blocks(0, itertools.product(before, groups), cells_in)
    for index in range(1, row.blocks):
        counts = _joined(counts, blocks(index, ((one.channels, one) for one in groups), cells))
    units = [[_unit(kind, width, space, cells) for kind in row.attention] for width in row.channels]
    added = np.array(units).transpose(2, 0, 1)[:, None, None, None]
    for _ in range(row.blocks if space.attention.placement == "after_block" else 1):
        counts = _joined(counts, added)
    return counts


def _joined(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The numbers of two parts together; the first axis has the numbers."""
    return np.stack([one[0] + two[0], one[1] + two[1], np.maximum(one[2], two[2])])


def _block(block: Block, space: Space, cells_in: int, cells: int) -> Numbers:
    kind = block_type(block.type)
    layers = tuple(kind.layers(block, space.block, cells_in, cells))
    return _numbers(_part(layers, kind.peak(block, cells_in, cells)))


def _unit(kind: str, channels: int, space: Space, cells: int) -> Numbers:
    one, nodes = unit(kind), space.attention.nodes
    layers = tuple(one.layers(channels, nodes, cells))
    return _numbers(_part(layers, one.peak(channels, nodes) * cells))


def _part(layers: tuple[Layer, ...], peak: int) -> Part:
    return Part(name="", channels=0, frames=0, side=0, layers=layers, peak=peak)


def _numbers(part: Part) -> Numbers:
    return part.macs, part.params, part.peak
