"""Genotypes derived from a genotype: scaled, thinner, or without time or attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.core.settings import Baseline, Scale
from autox3d.core.values import ClipSpec
from autox3d.vision.arch.blocks import Group, round_to_8
from autox3d.vision.arch.fusions import SKIP
from autox3d.vision.arch.genotype import Genotype, Stem, stages_of

Groups = tuple[Group, ...]


def scaled(genotype: Genotype, name: str, clip: ClipSpec, depth: float) -> Genotype:
    """The network for other clips, with each stage `depth` times as deep (A3D suppl., Table 2b).

    Raises:
        Refused: the network has two streams, into which the clip's frames cannot be divided.
    """
    if genotype.dense and clip.frames % genotype.dense.alpha:
        raise Refused(
            f"{genotype.name}: {clip.frames} frames for {name} are not a multiple of its alpha,"
            f" {genotype.dense.alpha}. Take a multiple."
        )

    def deeper(groups: Groups) -> Groups:
        return tuple(group for stage in stages_of(groups) for group in deepened(stage, depth))

    return replace(_of_groups(genotype, deeper), name=name, input=clip)


def _of_groups(genotype: Genotype, change: Callable[[Groups], Groups]) -> Genotype:
    """The network with the groups of each of its streams changed."""
    dense = genotype.dense and replace(genotype.dense, groups=change(genotype.dense.groups))
    return replace(genotype, groups=change(genotype.groups), dense=dense)


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

    def thinner(groups: Groups) -> Groups:
        return tuple(replace(group, channels=thin(group.channels)) for group in groups)

    small = _of_groups(scaled(genotype, name, clip, depth), thinner)
    dense = small.dense and replace(
        small.dense, stem=_thin_stem(small.dense.stem, thin), head=thin(small.dense.head)
    )
    head = replace(small.head, channels=thin(small.head.channels), hidden=thin(small.head.hidden))
    return replace(small, stem=_thin_stem(small.stem, thin), head=head, dense=dense)


def _thin_stem(stem: Stem, thin: Callable[[int], int]) -> Stem:
    return replace(stem, channels=thin(stem.channels))


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
    """The network with kernels one frame long: it sees frames, but not their order.

    Fusions of several frames become samples of one.
    """

    def still(groups: Groups) -> Groups:
        return tuple(
            replace(
                group,
                kernel=f"t1_{group.kernel.split('_')[1]}",
                fuse=group.fuse if group.fuse in (None, SKIP) else "sample",
            )
            for group in groups
        )

    made = _of_groups(genotype, still)
    dense = made.dense and replace(made.dense, stem=replace(made.dense.stem, temporal_kernel=1))
    return replace(made, name=name, stem=replace(made.stem, temporal_kernel=1), dense=dense)


def without_attention(genotype: Genotype, name: str) -> Genotype:
    """The network without its attention units."""

    def bare(groups: Groups) -> Groups:
        return tuple(replace(group, attention="none") for group in groups)

    return replace(_of_groups(genotype, bare), name=name)


def nearest(number: float) -> int:
    """The nearest whole number; halves are rounded up."""
    return math.floor(number + 0.5)
