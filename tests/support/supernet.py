"""Supernets small enough for a test, and draws of their paths."""

from __future__ import annotations

import dataclasses
import random

from autox3d.search.space import Space
from support import ARCHITECTURES
from support.streams import of_open_widths


def small_input(name, frames=4, crop=32):
    """The space with clips that a test has time for."""
    space = of_open_widths(Space.load(ARCHITECTURES / f"space_{name}.yaml"))
    size = dataclasses.replace(space.input, frames=frames, crop=crop, short=crop)
    return dataclasses.replace(space, input=size)


def draws(space, count, seed=0):
    rng = random.Random(seed)
    return [
        tuple(rng.randrange(len(choice.candidates)) for choice in space.choices)
        for _ in range(count)
    ]
