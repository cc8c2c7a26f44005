"""The sets of channels that cut a path's weights out of those of the widest network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from autox3d.search.channel_sets import cells, exact
from autox3d.search.gathering import Set
from autox3d.search.space import Axes
from autox3d.vision.arch.genotype import Genotype, Stream
from autox3d.vision.arch.units import UNITS


class Sets(NamedTuple):
    """The positions of a network's channels in the widest network."""

    blocks: list[dict[str, Set]]  # of each block, by letter
    fusions: list[dict[str, Set]]  # before each row of the dense stream
    ends: list[Set]  # of the last channels of each stream


def chosen(letters: str, sets: dict[str, Set]) -> tuple[Set | None, ...]:
    """The set of each dimension; "-" keeps the whole dimension."""
    return tuple(None if letter == "-" else sets[letter] for letter in letters)


def letters_of(cuts: Mapping[str, str], name: str) -> str:
    """The letters of the sets that slice a parameter; a bias uses the first of its weight."""
    layer, _, kind = name.rpartition(".")
    return cuts[layer] if kind == "weight" else cuts[layer][0]


def sets_of(genotype: Genotype, axes: list[Axes]) -> Sets:
    """The positions of a network's channels in the widest network."""
    blocks = block_sets(genotype, axes)
    after = {row.group: of["O"] for row, of in zip(genotype.blocks(), blocks, strict=True)}
    ends: list[list[Set]] = []  # of each stream: after its stem, and after each of its rows
    for stream in genotype.streams:
        rows = range(stream.first, stream.first + len(stream.groups))
        stem = axes[stream.first].inputs
        ends.append([Set(tuple(range(stem.count)), int(stem.step)), *(after[r] for r in rows)])
    fusions = []
    for row, (*_, alpha) in enumerate(genotype.fusions):
        sparse, dense = ends[0][min(row, len(ends[0]) - 1)], ends[1][row]
        fusions.append({"O": sparse, "D": dense, "A": Set(dense.parts, alpha * dense.size)})
    return Sets(blocks, fusions, [end[-1] for end in ends])


def block_sets(genotype: Genotype, axes: list[Axes]) -> list[dict[str, Set]]:
    """For every block of a network, the positions of its channels in the widest network."""
    every: list[dict[str, Set]] = []
    for stream in genotype.streams:
        every += _stream_sets(genotype, stream, axes)
    return every


def _stream_sets(genotype: Genotype, stream: Stream, axes: list[Axes]) -> list[dict[str, Set]]:
    every: list[dict[str, Set]] = []
    ring = axes[stream.first].inputs
    inputs = tuple(range(ring.count))
    for row in genotype.blocks_of(stream):
        group, here = genotype.rows[row.group], axes[row.group]
        outputs = here.outputs.arc(group.channels)
        spanned, side = (inputs, ring) if genotype.expansion_of == "in" else (outputs, here.outputs)
        inner = cells(spanned, here.expansions.arc(group.expansion), here.expansions.count)
        sets = {
            "I": Set(inputs, int(ring.step)),
            "O": Set(outputs, int(here.outputs.step)),
            "N": Set(tuple(inner), int(side.step * here.expansions.step)),
            "E": Set(tuple(range(row.gate // 8)), 8),
        }
        for unit in UNITS.values():
            sizes = unit.sizes(here.outputs.step, exact(genotype.attention.nodes))
            sets |= {letter: Set(outputs, size) for letter, size in sizes.items()}
        every.append(sets)
        ring, inputs = here.outputs, outputs
    return every
