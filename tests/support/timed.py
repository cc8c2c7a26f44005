"""A space whose parts have invented times, and finished latency tables of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from autox3d.core.latency_table import LatencyTable, TimedPart
from autox3d.inference.parts import Asked, setup
from autox3d.planning.timings import planned
from autox3d.runtime.checkpoint import fingerprint
from autox3d.search.space import Space
from autox3d.vision.arch.genotype import Genotype

CPU = torch.device("cpu")
SPACE = """\
name: timed
input: {frames: 2, stride: 4, crop: 16, short: 20}
stem: {channels: 8, temporal_kernel: 3}
expansion_of: in
block: {first: relu, second: swish, depthwise: true}
attention: {placement: after_group, nodes: 0.25}
head: {channels: 24, hidden: 32}
groups:
  - {kernel: [t1_s3, t3_s3], expansion: [1.5, 2.25, 3.0], channels: [8, 16], blocks: 2, stride: 2,
     squeeze_excite: even, attention: [none, glore]}
  - {kernel: [t1_s3, t3_s5], expansion: [1.5, 3.0], channels: [16, 32], blocks: 3, stride: 2,
     squeeze_excite: all, attention: [none]}
"""
LONGER = 1.2  # a network's time over the sum of its parts


def draw_of(network: TimedPart) -> tuple[int, ...]:
    return tuple(map(int, network.kind.split()))


def seconds(part: TimedPart) -> float:
    """An invented time that no smooth rule of widths hides: a power law, by the kind of part."""
    time, pixels = [*part.kind.split("_"), "", ""][:2]
    kernel = 1.0 + 0.3 * (time == "t3") + 0.5 * (pixels == "s5") + 0.1 * part.gate
    widths = part.channels_in**0.5 * (part.inner or 1) ** 0.8 * part.channels**0.3
    return 1e-3 * kernel * widths * part.side**2 / part.stride


def table_of(space: Space, count: int = 10_000, noise: float = 0.0) -> LatencyTable:
    """A finished table with the times of `seconds`; a network takes longer than its parts."""
    rng, first = np.random.default_rng(0), space.genotype((0,) * len(space.choices), space.name)
    made = setup(first, fingerprint(space=space), CPU, Asked("float32", 2, None, 3))
    rows = [
        replace(part, ms=tuple(ms * np.exp(noise * rng.standard_normal(made.rounds))))
        for part in planned(space, count)
        for ms in [LONGER * slow(space, draw_of(part)) if part.part == "network" else seconds(part)]
    ]
    return LatencyTable(setup=made, held_out=None, parts=tuple(rows))


def slow(space: Space, draw: tuple[int, ...]) -> float:
    """The sum over the parts of a network of the space."""
    return walked(space.genotype(draw, "one"))


def walked(genotype: Genotype) -> float:
    """The sum over the parts of one network, walked through from its stem to its head."""
    side = genotype.input.short
    same = {"stride": 1, "gate": False, "ms": ()}
    part = TimedPart(part="stem", kind="", channels_in=3, inner=0, channels=8, side=side, **same)
    total, side = seconds(part), math.ceil(side / 2)
    for block in genotype.blocks():
        part = TimedPart(
            part="block", kind=genotype.groups[block.group].kernel, channels_in=block.channels_in,
            inner=block.inner, channels=block.channels, side=side, stride=block.stride,
            gate=block.gate > 0, ms=())  # fmt: skip
        total, side = total + seconds(part), math.ceil(side / block.stride)
        if block.attention != "none":
            shape = {"channels_in": block.channels, "channels": block.channels, "side": side}
            part = TimedPart(part="unit", kind=block.attention, inner=0, **shape, **same)
            total += seconds(part)
    shape = {"channels_in": genotype.groups[-1].channels, "channels": 24, "side": side}
    return total + seconds(TimedPart(part="head", kind="", inner=0, **shape, **same))
