"""Genotypes derived from a genotype: scaled, thinner, or without time or attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from autox3d.core import settings
from autox3d.core.settings import Baseline, Scale
from autox3d.core.values import ClipSpec
from autox3d.vision.arch.blocks import Group, round_to_8
from autox3d.vision.arch.genotype import Genotype


def scaled(genotype: Genotype, name: str, clip: ClipSpec, depth: float) -> Genotype:
    """The network for other clips, with each stage `depth` times as deep (A3D suppl., Table 2b)."""
    groups = (group for stage in genotype.stages() for group in deepened(stage, depth))
    return replace(genotype, name=name, input=clip, groups=tuple(groups))


def deepened(stage: list[Group], depth: float) -> list[Group]:
    """A stage with `depth` times as many blocks, rounded for the whole stage.

    A group of one block keeps one block, and the next group of the stage takes the rest. With
    `depth` 2, 1 + 2 blocks become 1 + 5.
    """
    groups: list[Group] = []
    owed = 0.0
    for group in stage:
        owed += depth * group.blocks
        single = group.blocks == 1 and len(groups) < len(stage) - 1
        blocks = 1 if single else max(1, nearest(owed))
        owed -= blocks
        groups.append(replace(group, blocks=blocks))
    return groups


def thinned(genotype: Genotype, name: str, clip: ClipSpec, width: float, depth: float) -> Genotype:
    """The network with channels times `width`, rounded to 8, and stages `depth` times as deep."""

    def thin(channels: int) -> int:
        return channels if width == 1 or not channels else round_to_8(width * channels)

    small = scaled(genotype, name, clip, depth)
    groups = (replace(group, channels=thin(group.channels)) for group in small.groups)
    return replace(
        small,
        stem=replace(small.stem, channels=thin(small.stem.channels)),
        groups=tuple(groups),
        head=replace(
            small.head, channels=thin(small.head.channels), hidden=thin(small.head.hidden)
        ),
    )


def baseline(genotype: Genotype, name: str, clip: ClipSpec, rule: Baseline) -> Genotype:
    """The network to compare with that an entry of `baseline` asks for, made of a given one."""
    made = thinned(genotype, name, clip, rule.width, rule.depth)
    made = made if rule.temporal else without_time(made, name)
    return made if rule.attention else without_attention(made, name)


def clip_of(genotype: Genotype, rule: Baseline, scale: Mapping[str, Scale]) -> ClipSpec:
    """The clips that an entry of `baseline` asks for: the network's own, or those of a size.

    Raises:
        Refused: the settings have no such size.
    """
    if rule.input == "own":
        return genotype.input
    return settings.named(scale, "scale", rule.input).spec


def without_time(genotype: Genotype, name: str) -> Genotype:
    """The network with kernels one frame long: it sees frames, but not their order."""
    groups = (replace(g, kernel=f"t1_{g.kernel.split('_')[1]}") for g in genotype.groups)
    return replace(
        genotype, name=name, stem=replace(genotype.stem, temporal_kernel=1), groups=tuple(groups)
    )


def without_attention(genotype: Genotype, name: str) -> Genotype:
    """The network without its attention units."""
    groups = tuple(replace(group, attention="none") for group in genotype.groups)
    return replace(genotype, name=name, groups=groups)


def nearest(number: float) -> int:
    """The nearest whole number; halves are rounded up."""
    return math.floor(number + 0.5)
