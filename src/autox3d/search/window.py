"""Networks whose cost lies within a window: the most probable ones, or random ones.

The most probable are found exactly. Networks are put together group by group, and of all that are
begun the one with the best bound goes on: its log-probability so far, plus the most that the other
groups can add within what is left of the window. These bounds come from dynamic programming over
the groups, the widths between them and the cost, from the head back. There each cost is rounded
down to a grid, and the window is widened by as much as the rounding can lose, so that no bound is
too low. Whole networks are compared with the window as they are. So the grid affects the time and
not the result, which is never over the window.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from autox3d.search.costs import CHANNELS, SpaceCosts
from autox3d.search.space import Draw, Space

GRID = 2000  # steps of cost from the cheapest imaginable network to the window's upper end
ROUNDING = 1e-6  # of a step: more than the arithmetic of a sum of costs loses
EQUAL = 1e-9  # nats of a choice within which candidates count as equally probable
CLOSE = 1e-3  # share of a window's end within which the nearest costs outside of it are found
TRIED = 100_000  # random networks that are sampled to find some within a window


class NoNetwork(ValueError):
    """No network has a cost within a window; the nearest costs outside of it are given."""

    def __init__(self, below: float | None, above: float | None) -> None:
        super().__init__("no network has a cost within the window")
        self.below, self.above = below, above  # to CLOSE of the window's ends; None: there is none


class Row(NamedTuple):
    """The entries of one group's table."""

    extra: np.ndarray  # (before, entries): cost over that of the cheapest entry
    logs: np.ndarray  # (before, entries): log-probabilities, nats; -inf if not allowed
    width: np.ndarray  # (entries,): index of the channels
    draws: list[Draw]  # (entries,): index of each choice's candidate


class Begun(NamedTuple):
    """The first groups of a network."""

    draw: Draw
    log: float  # nats
    left: float  # what the other groups may cost over their cheapest entries
    before: int  # index of the last group's channels
    groups: int


def most_probable(
    logs: Sequence[Sequence[float]], costs: SpaceCosts, least: float, most: float
) -> Draw:
    """The most probable network that costs `least` to `most`; of equal ones always the same.

    Args:
        logs: log-probabilities of each choice's candidates, nats; -inf: not allowed
        least, most: in the unit of `costs`

    Raises:
        NoNetwork: the window is empty.
    """
    for _, draw in descending(logs, costs, least, most):
        return draw
    raise NoNetwork(*_nearest(logs, costs, least, most))


def descending(
    logs: Sequence[Sequence[float]], costs: SpaceCosts, least: float, most: float
) -> Iterator[tuple[float, Draw]]:
    """Yields the networks within a window and their log-probabilities, the most probable first.

    Networks that do not fit into memory are left out.
    """
    rows, head, cheapest = _rows(logs, costs)
    left = most * costs.scale - cheapest
    if left < 0:
        return
    step = max(left, ROUNDING * cheapest) / GRID
    bounds = _bounds(rows, head, step, (most - least) * costs.scale / step)
    heap: list[tuple[float, int, int, Begun, int, Iterator[tuple[float, int]]]] = []
    order = itertools.count()  # of equal bounds the longest network goes on, then the oldest

    def add(begun: Begun, options: Iterator[tuple[float, int]]) -> None:
        if option := next(options, None):
            bound, entry = option
            place = (-bound, -len(begun.draw), next(order))
            heapq.heappush(heap, (*place, begun, entry, options))

    first = Begun((), 0.0, left, 0, 0)
    add(first, _options(first, rows[0], bounds[1], step))
    while heap:
        *_, begun, entry, options = heapq.heappop(heap)
        add(begun, options)
        group = begun.groups
        row = rows[group]
        longer = Begun(
            (*begun.draw, *row.draws[entry]),
            begun.log + row.logs[begun.before, entry],
            begun.left - row.extra[begun.before, entry],
            int(row.width[entry]),
            group + 1,
        )
        if group + 1 < len(rows):
            add(longer, _options(longer, rows[group + 1], bounds[group + 2], step))
        elif least <= costs.of(longer.draw) <= most:
            yield float(longer.log), longer.draw


def _options(begun: Begun, row: Row, ahead: np.ndarray, step: float) -> Iterator[tuple[float, int]]:
    """The entries that can follow, the best first, with the bound of each."""
    left = np.floor((begun.left - row.extra[begun.before]) / step + ROUNDING).astype(int)
    reached = np.where(left >= 0, ahead[row.width, np.maximum(left, 0)], -np.inf)
    bounds = begun.log + row.logs[begun.before] + reached
    ranked = np.argsort(-bounds, kind="stable")[: np.count_nonzero(bounds > -np.inf)]
    return zip(bounds[ranked].tolist(), ranked.tolist(), strict=True)


def _rows(
    logs: Sequence[Sequence[float]], costs: SpaceCosts
) -> tuple[list[Row], np.ndarray, float]:
    """The entries of each group, the head's costs over its cheapest, and all cheapest together."""
    rows, cheapest = [], costs.tables.stem + costs.tables.head.min()
    rng = np.random.default_rng(0)  # for the order of what is equally probable
    split = costs.tables.by_group(logs)
    for table, fits, row in zip(costs.tables.groups, costs.fits, split, strict=True):
        chances = np.array(0.0)
        for choice in row:
            chances = chances[..., None] + choice + EQUAL * rng.random(len(choice))
        allowed = np.where(fits, chances, -np.inf).reshape(len(table), -1)
        draws = list(itertools.product(*(range(count) for count in table.shape[1:])))
        widths = np.array([draw[CHANNELS] for draw in draws])
        rows.append(Row(table.reshape(len(table), -1) - table.min(), allowed, widths, draws))
        cheapest += table.min()
    return rows, costs.tables.head - costs.tables.head.min(), float(cheapest)


def _bounds(rows: list[Row], head: np.ndarray, step: float, height: float) -> list[np.ndarray]:
    """For each group, and the head: the most nats from there on, (before, steps that are left).

    Args:
        height: of the window, in steps
    """
    slack = min(height, GRID) + len(rows) + 2
    left = np.arange(GRID + 1) - np.floor(head / step)[:, None]
    bounds = [np.where((left >= 0) & (left <= slack), 0.0, -np.inf)]
    for row in reversed(rows):
        ahead = bounds[0]
        steps = np.maximum(np.floor(row.extra / step - ROUNDING), 0)
        here = np.full((len(row.extra), GRID + 1), -np.inf)
        for before in range(len(row.extra)):
            best = np.full((len(ahead), GRID + 1), -np.inf)  # of entries that cost the same steps
            near = np.flatnonzero(steps[before] <= GRID)
            places = row.width[near], steps[before, near].astype(int)
            np.maximum.at(best, places, row.logs[before, near])
            for width, cost in np.argwhere(best > -np.inf).tolist():
                sums = best[width, cost] + ahead[width, : GRID + 1 - cost]
                np.maximum(here[before, cost:], sums, out=here[before, cost:])
        bounds.insert(0, here)
    return bounds


def _nearest(
    logs: Sequence[Sequence[float]], costs: SpaceCosts, least: float, most: float
) -> tuple[float | None, float | None]:
    """The costs of allowed networks that are nearest to an empty window, below and above it."""
    allowed = [
        np.isfinite(row.logs).reshape(table.shape)
        for row, table in zip(_rows(logs, costs)[0], costs.tables.groups, strict=True)
    ]
    cheapest, dearest = costs.bounds(allowed)

    def some(low: float, high: float) -> float | None:
        for _, draw in descending(logs, costs, low, high):
            return costs.of(draw)
        return None

    def nearest(edge: float, found: float) -> float:
        """Halves the range from the window's end to the nearest cost found so far."""
        while abs(found - edge) > CLOSE * edge:
            middle = (edge + found) / 2
            closer = some(*sorted((edge, middle)))
            edge, found = (middle, found) if closer is None else (edge, closer)
        return found

    below = nearest(least, cheapest) if cheapest < least else None
    above = nearest(most, dearest) if dearest > most else None
    return below, above


def within(
    space: Space, costs: SpaceCosts, least: float, most: float, count: int, seed: int
) -> list[Draw]:
    """Samples `count` distinct architectures uniformly within a cost window.

    Args:
        least, most: bounds of the window, G multiply-adds per clip

    Raises:
        ValueError: `TRIED` samples have fewer distinct architectures in the window.
    """
    rng = np.random.default_rng(seed)
    draws: dict[Draw, None] = {}
    for _ in range(TRIED):
        draw = tuple(int(rng.integers(len(choice.candidates))) for choice in space.choices)
        if least <= costs.of(draw) <= most:
            draws[draw] = None
        if len(draws) == count:
            return list(draws)
    raise ValueError(
        f"{TRIED:,} random networks of {space.name}: {len(draws)} different ones cost {least:g} to"
        f" {most:g} G multiply-adds, not {count}"
    )
