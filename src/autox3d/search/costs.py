"""What any network of a space costs, from one table per group.

The cost of a group depends on its own choices and on the channels of the group before. So the cost
of a draw is a sum of table entries, and its expectation is a sum of small products. A group's
table has the axes (channels before, kernel, expansion, channels, unit), and in a dense stream one
for the fusion before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autox3d.core.errors import Refused
from autox3d.core.search_records import GMACS
from autox3d.core.settings import PARAMS, Budget, Search
from autox3d.search.counts import Tables, counted
from autox3d.search.space import CHOICES, Draw, Space
from autox3d.vision.arch.cost import BYTES

if TYPE_CHECKING:  # importing torch is slow
    from torch import Tensor

    from autox3d.search.prior import Prior

CHANNELS = CHOICES.index("channels")


class SpaceCosts:
    """The costs of a space's networks in one unit, and which of them fit into memory."""

    def __init__(
        self,
        space: Space,
        classes: int,
        budget: Budget = "gmacs",
        latency: Tables | None = None,
        memory_mb: float | None = None,
    ) -> None:
        """Makes the tables; without further arguments they count G multiply-adds per clip.

        Args:
            latency: milliseconds of each part, for the budget `ms`
            memory_mb: the most that `Cost.peak_bytes` may be, in 1e6 bytes

        Raises:
            ValueError: no network of the space fits into the memory, or that of its networks is
                not known.
        """
        if space.dense and memory_mb is not None:
            raise ValueError("the memory of networks of two streams is not counted part by part")
        counts = counted(space, classes)
        if budget == "ms":
            assert latency is not None, "a budget in ms needs a latency table"
            self.unit, self.scale, self.tables = "ms", 1.0, latency
        elif budget == "params":
            self.unit, self.scale, self.tables = "M parameters", 1e6, counts.params
        else:
            self.unit, self.scale, self.tables = GMACS, 1e9, counts.macs
        self.fits = fitting(counts.peak, math.inf if memory_mb is None else memory_mb * 1e6 / BYTES)

    def of(self, draw: Draw) -> float:
        """The cost of the draw's network, exactly that of its genotype where it is counted."""
        total, before = self.tables.stem, 0
        for table, row in zip(self.tables.groups, self.tables.by_group(draw), strict=True):
            total += table[before, *row].item()
            before = row[CHANNELS]
        return (total + self.tables.head[before].item()) / self.scale

    def has(self, draw: Draw) -> bool:
        """Whether the draw's network fits into memory."""
        rows = self.tables.by_group(draw)
        before = [0, *(row[CHANNELS] for row in rows)]
        parts = zip(self.fits, before, rows, strict=False)
        return all(bool(fits[width, *row]) for fits, width, row in parts)

    def expected(self, probabilities: Sequence[Sequence[float]]) -> float:
        """The mean cost under independent choices with these probabilities."""
        rows = [np.asarray(row) for row in probabilities]
        return float(_mean(self.tables, np.ones(1), rows)) / self.scale

    def expectation(self, probabilities: Tensor) -> Tensor:
        """The mean cost as a scalar with a gradient.

        Args:
            probabilities: (choices, most candidates) float64; what lies past a choice's last
                candidate is not used
        """
        rows = [row[:count] for row, count in zip(probabilities, self._candidates, strict=True)]
        ones = probabilities.new_ones(1)
        return _mean(self._tensors, ones, rows) / self.scale

    @property
    def cheapest(self) -> float:
        """The cost of the cheapest network that fits into memory."""
        return self.bounds(self.fits)[0]

    @property
    def dearest(self) -> float:
        """The cost of the dearest network that fits into memory."""
        return self.bounds(self.fits)[1]

    def bounds(self, allowed: Sequence[np.ndarray]) -> tuple[float, float]:
        """The least and the largest cost of the networks that use only allowed entries.

        Args:
            allowed: for each group, bool: the axes of its table
        """

        def bound(best: Callable[..., np.ndarray], absent: float) -> float:
            groups = zip(allowed, self.tables.groups, strict=True)
            entries = tuple(np.where(may, table, absent) for may, table in groups)
            return _chained(self.tables._replace(groups=entries), best, np.add) / self.scale

        return bound(np.min, np.inf), bound(np.max, -np.inf)

    @cached_property
    def excluded(self) -> tuple[tuple[int, int], ...]:
        """Each (choice, candidate) that is in no network that fits into memory."""
        kept = [
            np.any(fits, axis=tuple({*range(fits.ndim)} - {axis}))  # all but the choice's
            for fits in self.fits
            for axis in range(1, fits.ndim)
        ]
        return tuple((n, int(i)) for n, row in enumerate(kept) for i in np.flatnonzero(~row))

    def prior(self) -> Prior:
        """The uniform prior over the networks of the space, without candidates that never fit."""
        from autox3d.search.prior import Prior

        return Prior(self._candidates, self.excluded)

    @property
    def _candidates(self) -> list[int]:
        """The number of candidates of each choice."""
        return [count for table in self.tables.groups for count in table.shape[1:]]

    @cached_property
    def _tensors(self) -> Any:
        """The tables as tensors."""
        import torch

        groups = tuple(torch.tensor(table, dtype=torch.float64) for table in self.tables.groups)
        head = torch.tensor(self.tables.head, dtype=torch.float64)
        return self.tables._replace(groups=groups, head=head)


def of_budget(space: Space, classes: int, search: Search) -> SpaceCosts:
    """The costs that the search's target bounds, without what needs too much memory.

    Raises:
        Refused: no network fits into the memory or keeps the budget, or the latency table cannot
            be used.
    """
    from autox3d.search.latency import timed  # imports torch, which is slow

    latency = timed(Path(search.latency), space) if search.budget == "ms" else None
    try:
        costs = SpaceCosts(space, classes, search.budget, latency, search.memory_mb)
    except ValueError as error:
        asked = f"{PARAMS}: 'search.memory_mb' is {search.memory_mb:g}"
        fix = "Write null." if space.dense else "Raise it, or write null."
        raise Refused(f"{asked}, but {error}. {fix}") from error
    asked = f"{PARAMS}: 'search.target' is {search.target:g} {costs.unit}"
    if search.target < costs.cheapest:
        least = f"the cheapest network of {space.name} costs {costs.cheapest:.4g}"
        raise Refused(f"{asked}, but {least}. Raise it.")
    return costs


def fitting(peak: Tables, most: float) -> tuple[np.ndarray, ...]:
    """For each group, the entries of its table that are in a network of this peak or less.

    Raises:
        ValueError: there is no such network.
    """
    small = [np.less_equal(table, most) for table in peak.groups]
    last = [-1 if axis == 1 + CHANNELS else 1 for axis in range(small[-1].ndim)]
    small[-1] = small[-1] & (peak.head <= most).reshape(last)
    ahead = [np.array([peak.stem <= most])]  # by group: which widths before it can be reached
    for table in small:
        ahead.append(np.any(ahead[-1][:, None] & np.any(table, axis=between(table)), axis=0))
    if not ahead[-1].any():
        needed = _chained(peak, np.min, np.maximum) * BYTES / 1e6
        raise ValueError(f"the smallest network needs {needed:.4g} MB")
    behind = np.ones(len(peak.head), dtype=bool)  # whether the head can be reached from a width
    fits: list[np.ndarray] = []
    for table, before in zip(reversed(small), reversed(ahead[:-1]), strict=True):
        here = behind.reshape([-1 if axis == 1 + CHANNELS else 1 for axis in range(table.ndim)])
        fits.insert(0, table & before.reshape(-1, *[1] * (table.ndim - 1)) & here)
        behind = np.any(fits[0], axis=tuple(range(1, table.ndim)))
    return tuple(fits)


def _mean(tables: Any, before: Any, rows: Sequence[Any]) -> Any:
    """The mean cost, of arrays as of tensors; `before` is the stem's only width, of probability 1.

    Args:
        rows: the probabilities of each choice's candidates
    """
    total = tables.stem
    for table, row in zip(tables.groups, tables.by_group(rows), strict=True):
        for chance in (*reversed(row), before):  # the last axis first
            table = table @ chance
        total = total + table
        before = row[CHANNELS]
    return total + tables.head @ before


def between(table: np.ndarray) -> tuple[int, ...]:
    """The axes of a group's table but for the channels before it and its own."""
    return tuple({*range(table.ndim)} - {0, 1 + CHANNELS})


def _chained(tables: Tables, best: Callable[..., Any], join: Callable[..., Any]) -> float:
    """The best network by dynamic programming over the widths between groups.

    Args:
        best: np.min or np.max
        join: joins the costs of two parts, such as np.add
    """
    so_far = np.array([tables.stem])
    for table in tables.groups:
        so_far = best(join(so_far[:, None], best(table, axis=between(table))), axis=0)
    return float(best(join(so_far, tables.head)))
