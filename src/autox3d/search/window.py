"""Networks whose cost lies within a window."""

from __future__ import annotations

import numpy as np

from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Draw, Space

TRIED = 100_000  # random networks that are sampled to find some within a window


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
