"""The time that each part of a space's networks takes, from a table of measured parts.

A table has the times of some blocks, attention units and widths of the head; the others are
interpolated (see `interpolation`). All of it is scaled, so that whole networks that were timed have
the sums of their parts, in the median.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autox3d.core.errors import Refused
from autox3d.core.latency_table import HeldOut, LatencyTable, TimedPart
from autox3d.runtime.checkpoint import fingerprint
from autox3d.search.counts import Tables
from autox3d.search.interpolation import Prediction, left_out, medians, prediction
from autox3d.search.space import CHOICES, Draw, Space
from autox3d.vision.arch.blocks import Block, Candidates, Group, sized
from autox3d.vision.arch.genotype import Genotype


class Place(NamedTuple):
    """A group of a space, and what reaches it."""

    row: Candidates
    like: Group  # has the columns that are not searched
    before: tuple[int, ...]  # candidates for the channels that it takes
    side: int  # px, of the input

    @property
    def after(self) -> int:
        """Px, of the output."""
        return math.ceil(self.side / self.row.stride)


def timed(path: Path, space: Space) -> Tables:
    """Reads a latency table, and gives the milliseconds of every candidate (float64).

    Raises:
        Refused: the table cannot be read, is not finished, or is of another space.
    """
    table = _finished(path, space)
    tables = _tables(space, table)
    scale = statistics.median(_scales(space, table, tables))
    groups = tuple(scale * group for group in tables.groups)
    return Tables(scale * tables.stem, groups, scale * tables.head)


def network_ms(path: Path, space: Space) -> Callable[[Genotype], float]:
    """A function that gives the milliseconds of a view of any network of a space's kinds of blocks.

    Widths, depths and inputs may be others than the space has. Blocks and units are interpolated as
    for the space, and grow with their area beyond the timed sides. The stem and the head, of which
    a table has few, grow with their multiply-adds, and everything with the number of frames.

    Raises:
        Refused: the table cannot be read, is not finished, or is of another space. The function
            refuses a network with a kind of block or unit that was not timed.
    """
    table = _finished(path, space)
    scale = statistics.median(_scales(space, table, _tables(space, table)))
    ms, frames = prediction(table.parts), table.setup.frames
    timed_kinds = {(part.part, part.kind) for part in table.parts}
    (stem,) = (part for part in table.parts if part.part == "stem")
    heads = [part for part in table.parts if part.part == "head"]
    sides = [part.side for part in table.parts if part.part == "block"]

    def of(genotype: Genotype) -> float:
        if genotype.dense:
            what = f"{genotype.name} has two streams, and the table the parts of one"
            raise Refused(f"{path}: {what}. Use another unit of cost.")
        first, *parts, last = _parts_of(genotype)
        for part in parts:
            if (part.part, part.kind) not in timed_kinds:
                what = f"a {part.part} '{part.kind}', which {genotype.name} has, was not timed"
                raise Refused(f"{path}: {what}. Profile a space that has it.")
        like = min(heads, key=lambda head: abs(math.log(head.channels_in / last.channels_in)))
        total = _in_proportion(first, stem) + _in_proportion(last, like)
        for part in parts:
            near = replace(part, side=min(max(part.side, min(sides)), max(sides)))
            total += float(ms([near])[0]) * (part.side / near.side) ** 2
        return scale * total * genotype.input.frames / frames

    return of


def _parts_of(genotype: Genotype) -> Iterator[TimedPart]:
    """The stem, the blocks and attention units in order, and the head of a prediction's view."""
    side = genotype.input.short
    yield _part("stem", 3, genotype.stem.channels, side)
    side = math.ceil(side / 2)
    for block in genotype.blocks():
        yield _block_part(block, genotype.groups[block.group].kernel, side)
        side = math.ceil(side / block.stride)
        if block.attention != "none":
            yield _part("unit", block.channels, block.channels, side, block.attention)
    yield _part("head", genotype.groups[-1].channels, genotype.head.channels, side)


def _in_proportion(part: TimedPart, like: TimedPart) -> float:
    """The time of a part by that of one like it, in proportion to inputs, outputs and area."""
    works = [one.channels_in * one.channels * one.side**2 for one in (part, like)]
    return statistics.median(like.ms) * works[0] / works[1]


def _finished(path: Path, space: Space) -> LatencyTable:
    """Reads a latency table that is of the space, and to which no timing is missing."""
    table = LatencyTable.load(path)
    if table.setup.fingerprint != fingerprint(space=space):
        raise Refused(
            f"{path}: is of the space {table.setup.space} as it was timed, and {space.name} differs"
            " from it. Make another table with `autox3d profile`."
        )
    if table.missing:
        raise Refused(
            f"{path}: {table.missing} timings are missing. Give its `autox3d profile` again."
        )
    return table


def total(tables: Tables, draw: Draw) -> float:
    """The sum over the parts of a network."""
    ms, before = tables.stem, 0
    for table, row in zip(tables.groups, tables.by_group(draw), strict=True):
        ms += float(table[before, *row])
        before = row[CHOICES.index("channels")]
    return ms + float(tables.head[before])


def said(table: LatencyTable) -> str:
    """What a table was timed on: `AMD EPYC (AVX512), threads: 1, float32, batch 6`."""
    made = table.setup
    where = f"{made.device} ({made.instructions})"
    return f"{where}, threads: {made.threads}, {made.type}, batch {made.batch}"


def told(path: Path) -> str:
    """The line of a search that uses the table: `params/ms.yaml: milliseconds of a view on ...`."""
    return f"{path}: milliseconds of a view on {said(LatencyTable.load(path))}"


def held_out(space: Space, table: LatencyTable) -> HeldOut:
    """The errors of blocks, each predicted from four fifths of the others, and of networks."""
    blocks = [part for part in table.parts if part.part == "block"]
    spread = [
        statistics.stdev(part.ms) / statistics.mean(part.ms) / math.sqrt(len(part.ms))
        for part in blocks
        if len(part.ms) > 1
    ]
    errors = np.abs(left_out(blocks))
    scales = _scales(space, table, _tables(space, table))
    others = [statistics.median(scales[:i] + scales[i + 1 :]) for i in range(len(scales))]
    networks = [abs(other / own - 1) for other, own in zip(others, scales, strict=True)]
    return HeldOut(
        blocks=len(blocks),
        median=round(float(np.median(errors)), 4),
        worst=round(float(errors.max()), 4),
        noise=round(statistics.median(spread), 4) if spread else 0.0,
        networks=len(networks),
        network_median=round(statistics.median(networks), 4),
        network_worst=round(max(networks), 4),
        scale=round(statistics.median(scales), 4),
    )


def places(space: Space) -> Iterator[Place]:
    """The groups of a space in order, at the size of prediction's views.

    Raises:
        Refused: the space has two streams, whose parts are not timed.
    """
    if space.dense:
        raise Refused(
            f"{space.name}: has two streams, and only parts of one are timed. Use another budget."
        )
    first = space.genotype((0,) * len(space.choices), space.name)
    before, side = (space.stem.channels,), math.ceil(space.input.short / 2)
    for row, like in zip(space.groups, first.groups, strict=True):
        place = Place(row, like, before, side)
        yield place
        before, side = row.channels, place.after


def stem_of(space: Space) -> TimedPart:
    """The stem, which all networks share."""
    return _part("stem", 3, space.stem.channels, space.input.short)


def heads_of(space: Space) -> list[TimedPart]:
    """The head after each width of the last group."""
    last = list(places(space))[-1]
    return [_part("head", width, space.head.channels, last.after) for width in last.row.channels]


def network_of(space: Space, draw: Draw) -> TimedPart:
    """A whole network."""
    kind = " ".join(map(str, draw))
    return _part("network", 3, space.head.hidden, space.input.short, kind)


def units_of(place: Place, kind: str) -> list[TimedPart]:
    """An attention unit after each width of a group."""
    return [_part("unit", width, width, place.after, kind) for width in place.row.channels]


def blocks_of(space: Space, place: Place, index: int) -> list[tuple[TimedPart, Block]]:
    """Block `index` of a group, by channels before (if it is the first) and the other choices."""
    row, side = place.row, place.side if index == 0 else place.after
    before = place.before if index == 0 else (0,)
    found = []
    for taken in itertools.product(before, row.kernel, row.expansion, row.channels):
        channels_in, kernel, expansion, channels = taken
        group = replace(place.like, kernel=kernel, expansion=expansion, channels=channels)
        of = space.expansion_of, space.block
        block = replace(sized(group, 0, index, channels_in or channels, *of), attention="none")
        found.append((_block_part(block, kernel, side), block))
    return found


def _block_part(block: Block, kernel: str, side: int) -> TimedPart:
    return TimedPart(
        part="block",
        kind=" ".join(map(str, (kernel, *block.own))),
        channels_in=block.channels_in,
        inner=block.inner,
        channels=block.channels,
        side=side,
        stride=block.stride,
        gate=block.gate > 0,
        ms=(),
    )


def _part(part: Any, channels_in: int, channels: int, side: int, kind: str = "") -> TimedPart:
    shape = {"channels_in": channels_in, "channels": channels, "side": side}
    return TimedPart(part=part, kind=kind, inner=0, stride=1, gate=False, ms=(), **shape)


def _tables(space: Space, table: LatencyTable) -> Tables:
    """The time of each part alone."""
    ms = prediction(table.parts)
    groups = tuple(_group(space, place, ms) for place in places(space))
    return Tables(float(ms([stem_of(space)])[0]), groups, ms(heads_of(space)))


def _scales(space: Space, table: LatencyTable, tables: Tables) -> list[float]:
    """How much longer whole networks take than the sum of their parts.

    A part that is timed alone finds its input and its memory in the caches.
    """
    networks = [part for part in table.parts if part.part == "network"]
    sums = [total(tables, tuple(map(int, part.kind.split()))) for part in networks]
    return [float(ms) / alone for ms, alone in zip(medians(networks), sums, strict=True)]


def _group(space: Space, place: Place, ms: Prediction) -> np.ndarray:
    """The table of one group: (channels before, kernel, expansion, channels, unit)."""
    row = place.row
    shape = (-1, len(row.kernel), len(row.expansion), len(row.channels), 1)
    total: Any = 0.0
    for index in range(row.blocks):
        parts = [part for part, _ in blocks_of(space, place, index)]
        total = total + ms(parts).reshape(shape)
    attended = row.blocks if space.attention.placement == "after_block" else 1
    nothing = np.zeros(len(row.channels))
    units = [nothing if kind == "none" else ms(units_of(place, kind)) for kind in row.attention]
    return total + attended * np.stack(units, axis=1)
