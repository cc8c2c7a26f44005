"""Networks and spaces of two streams for tests, small and at random."""

from __future__ import annotations

import random
from dataclasses import replace

import torch
from torch import Tensor

from autox3d.core.values import ClipSpec
from autox3d.search.space import Space
from autox3d.vision.arch.blocks import Group
from autox3d.vision.arch.fusions import FUSIONS, SKIP
from autox3d.vision.arch.genotype import Dense, Genotype
from support import ARCHITECTURES

DEMO = "two_streams_demo"


def small(crop: int = 32, **fuses: str) -> Genotype:
    """The shipped network with small clips; `all` names the fusion before every dense row."""
    genotype = Genotype.load(ARCHITECTURES / f"{DEMO}.yaml")
    clip = replace(genotype.input, crop=crop, short=crop + 8)
    made = replace(genotype, input=clip)
    return fused(made, fuses["all"]) if fuses else made


def clips(genotype: Genotype, count: int = 2) -> Tensor:
    size = genotype.input
    return torch.randn(count, 3, size.frames, size.crop, size.crop)


def fused(genotype: Genotype, kind: str) -> Genotype:
    """The network with this fusion before every row."""
    assert genotype.dense
    groups = tuple(replace(group, fuse=kind) for group in genotype.dense.groups)
    return replace(genotype, dense=replace(genotype.dense, groups=groups))


def anyone(seed: int) -> Genotype:
    """A network with everything at random that two streams may differ in."""
    rng = random.Random(seed)
    alpha, thin = rng.choice((2, 3, 4)), rng.choice((1, 2))
    strides = [rng.choice((1, 2)) for _ in range(rng.choice((2, 3)))]
    stem = Genotype.load(ARCHITECTURES / "x3d_xs.yaml").stem
    further = [1] * rng.choice((0, 1))  # rows that only one stream has

    def rows(strides: list[int], most: int, fuse: bool) -> tuple[Group, ...]:
        return tuple(
            Group(
                kernel=rng.choice(("t1_s3", "t3_s3", "t5_s5")),
                expansion=rng.choice((1.5, 2.25, 3.0)),
                channels=rng.choice((8, 16, 24)) // most,
                blocks=rng.choice((1, 2)),
                stride=stride,  # pyright: ignore[reportArgumentType]
                squeeze_excite=rng.choice(("even", "all", "none")),
                attention=rng.choice(("none", "none", "glore", "nonlocal")),
                fuse=_kind(rng, row < min(len(strides), count)) if fuse else None,
            )
            for row, stride in enumerate(strides)
        )

    count = len(strides)
    base = Genotype.load(ARCHITECTURES / f"{DEMO}.yaml")
    return Genotype(
        name=f"two_{seed}",
        input=ClipSpec(frames=alpha * rng.choice((1, 2)), stride=1, crop=32, short=40),
        stem=replace(stem, channels=16, temporal_kernel=rng.choice((1, 3, 5))),
        expansion_of=rng.choice(("in", "out")),
        block=replace(base.block, depthwise=rng.choice((True, False))),
        attention=replace(base.attention, placement=rng.choice(("after_group", "after_block"))),
        groups=rows(strides, 1, fuse=False),
        head=replace(base.head, channels=24, hidden=rng.choice((0, 32))),
        dense=Dense(
            alpha=alpha,
            stem=replace(stem, channels=8 // thin, temporal_kernel=rng.choice((1, 3, 5))),
            groups=rows(strides + further, thin, fuse=True),
            head=8,
        ),
    )


def _kind(rng: random.Random, may: bool) -> str:
    return rng.choice(tuple(FUSIONS)) if may else SKIP


def of_found_widths(space: Space) -> Space:
    """A space in which the sparse stream of two has its largest widths, as if found before."""
    if space.dense is None:
        return space
    groups = [replace(group, channels=group.channels[-1:]) for group in space.groups]
    return replace(space, groups=tuple(groups))


def of_open_widths(space: Space) -> Space:
    """A space of two streams whose sparse one may be half as wide, and end with a unit."""
    if space.dense is None:
        return space
    groups = [replace(g, channels=(g.channels[0] // 2, g.channels[0])) for g in space.groups]
    groups[-1] = replace(groups[-1], attention=("none", "glore"))
    return replace(space, groups=tuple(groups))
