"""Which parts of a space's networks are timed for a latency table.

The stem, the head after each width and the attention units are few, and some whole networks tell
how much longer a network takes than its parts alone. Of the blocks there are thousands; within each
stratum (kernel, size, stride) the next one to be timed is the one whose widths are farthest from
those that already are, so that extremes come first.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from autox3d.core.latency_table import TimedPart
from autox3d.search.latency import (
    blocks_of,
    heads_of,
    network_of,
    places,
    stem_of,
    units_of,
)
from autox3d.search.space import Space
from autox3d.vision.arch.blocks import Block
from autox3d.vision.arch.genotype import Genotype

NETWORKS = 10  # random ones that are timed as a whole
FEW = 0.2  # of the timings, at most, are spent on attention units
Parts = dict[TimedPart, Block | Genotype | None]  # what a block or a network is


def planned(space: Space, count: int) -> Parts:
    """The parts to time: at most `count`, and all of them if there are no more.

    Raises:
        ValueError: `count` is too small for one block of each kernel, size and stride.
    """
    parts: Parts = dict.fromkeys([stem_of(space), *heads_of(space)])
    parts |= _networks(space)
    units = list(dict.fromkeys(_units(space)))
    parts |= dict.fromkeys(_spaced(units, max(2, round(FEW * count))))
    strata = _strata(space)
    if count < len(parts) + len(strata):
        least = len(parts) + len(strata)
        raise ValueError(f"{space.name} needs at least {least} timings, not {count}")
    orders = [_spread(list(blocks)) for blocks in strata]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*orders))
    chosen = [block for block in turns if block is not None][: count - len(parts)]
    blocks = {part: block for stratum in strata for part, block in stratum.items()}
    return parts | {part: blocks[part] for part in chosen}


def _networks(space: Space) -> Parts:
    rng, found = np.random.default_rng(0), {}
    for _ in range(NETWORKS):
        draw = tuple(int(rng.integers(len(choice.candidates))) for choice in space.choices)
        found[network_of(space, draw)] = space.genotype(draw, space.name)
    return found


def _units(space: Space) -> Iterator[TimedPart]:
    for place in places(space):
        for kind in place.row.attention:
            if kind != "none":
                yield from units_of(place, kind)


def _strata(space: Space) -> list[dict[TimedPart, Block]]:
    """All blocks of the space, by kernel, size and stride."""
    strata: dict[tuple[str, int, int], dict[TimedPart, Block]] = defaultdict(dict)
    for place in places(space):
        for index in range(place.row.blocks):
            for part, block in blocks_of(space, place, index):
                strata[part.kind, part.side, part.stride][part] = block
    return list(strata.values())


def _spaced(parts: Sequence[TimedPart], most: int) -> list[TimedPart]:
    """At most `most` parts, evenly spaced, with the first and the last."""
    places = np.linspace(0, len(parts) - 1, min(most, len(parts)))
    return [parts[round(place)] for place in places]


def _spread(parts: Sequence[TimedPart]) -> Iterator[TimedPart]:
    """All parts, each the farthest from those before it; first the narrowest."""
    x = np.array([_widths(part) for part in parts])
    away = np.full(len(parts), np.inf)
    chosen = int(x.sum(1).argmin())
    for _ in parts:
        yield parts[chosen]
        away = np.minimum(away, ((x - x[chosen]) ** 2).sum(1))
        away[chosen] = -1.0
        chosen = int(away.argmax())


def _widths(part: TimedPart) -> list[float]:
    same = part.channels_in == part.channels and part.stride == 1
    widths = np.log([part.channels_in, part.inner, part.channels])
    return [*widths.tolist(), 0.5 * part.gate, 0.5 * same]
