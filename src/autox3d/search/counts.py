"""What the parts of a space's networks cost, for all of their candidates at once.

The cost of a group depends on its own choices and on the channels of the group before, so a space
has one table for each group, and a network's cost is a sum of table entries.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from autox3d.search.space import Space
from autox3d.vision.arch.account import Layer
from autox3d.vision.arch.blocks import Block, Candidates, Group, block_type, sized
from autox3d.vision.arch.cost import Part, cost
from autox3d.vision.arch.units import unit

Numbers = tuple[int, int, int]  # multiply-adds, parameters, peak elements


class Tables(NamedTuple):
    """What the stem, each group and the head cost."""

    stem: float
    groups: tuple[np.ndarray, ...]  # (channels before, kernel, expansion, channels, unit) each
    head: np.ndarray  # (channels before,)


class Counts(NamedTuple):
    """Tables of whole numbers that follow from the genotypes alone, equal to `vision.arch.cost`."""

    macs: Tables  # multiply-adds per clip
    params: Tables
    peak: Tables  # most elements in memory at once: of a network the largest of its parts


def counted(space: Space, classes: int) -> Counts:
    """Counts each part of all networks of a space."""
    first = space.genotype((0,) * len(space.choices), space.name)
    whole = cost(first, classes)
    groups, before = [], (space.stem.channels,)
    for number, row in enumerate(space.groups):
        side = whole.parts[number].side  # of the part before
        groups.append(_group(space, row, first.groups[number], before, side))
        before = row.channels
    last = [replace(first.groups[-1], channels=channels) for channels in before]
    ends = [replace(first, groups=(*first.groups[:-1], group)) for group in last]
    head = np.array([_numbers(cost(end, classes).parts[-1]) for end in ends])  # (channels, 3)
    stem = _numbers(whole.parts[0])
    macs, params, peak = (
        Tables(stem[i], tuple(group[i] for group in groups), head[:, i]) for i in range(3)
    )
    return Counts(macs, params, peak)


def _group(
    space: Space, row: Candidates, like: Group, before: Sequence[int], side: int
) -> np.ndarray:
    """(3, channels before, kernel, expansion, channels, unit): the numbers of one group.

    Args:
        like: has the columns that are not searched
        before: the candidates for the channels of the group before
        side: px, of the input
    """
    frames, after = space.input.frames, math.ceil(side / row.stride)
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
    return Part(name="", channels=0, side=0, layers=layers, peak=peak)


def _numbers(part: Part) -> Numbers:
    return part.macs, part.params, part.peak
