"""An architecture as a table: one row a group of blocks, like Table 2 of the Auto-X3D supplement.

One format for two families: X3D (inner channels over channels *out*, a stage is one group)
and Auto-X3D (inner channels over channels *in*, a stage is several groups).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from autox3d.core import atomic, schema
from autox3d.core.schema import table
from autox3d.core.values import ClipSpec, Count, Positive

Kernel = Literal["t1_s3", "t1_s5", "t3_s3", "t3_s5", "t5_s3", "t5_s5"]
Activation = Literal["relu", "swish"]


@table
class Stem:
    """1x3x3 convolution, stride 2 over space; then, kernel over 1, a depthwise temporal one."""

    channels: Count
    temporal_kernel: Literal[1, 3, 5]


@table
class BlockStyle:
    """What all blocks share; the columns of X3D's Table A.1."""

    first: Activation  # after the 1x1x1 convolution that expands
    second: Activation  # after the depthwise convolution and squeeze-excite
    depthwise: bool  # false: a dense convolution in its place


@table
class Attention:
    """Where units stand in the groups that have them, and how wide GloRe is."""

    placement: Literal["after_group", "after_block"]
    nodes: Positive  # GloRe's graph nodes, in channels


@table
class Group:
    """One row of Table 2: blocks that share their choices."""

    kernel: Kernel  # of the depthwise convolution, time and space: t3_s5 is 3x5x5
    expansion: Positive  # inner channels over channels in, or out: `Genotype.expansion_of`
    channels: Count  # out
    blocks: Count
    stride: Literal[1, 2]  # over space, of the first block; time is never strided
    squeeze_excite: Literal["even", "all", "none"]  # even: blocks 0, 2, 4, ... of the group
    attention: Literal["none", "glore", "nonlocal"]


@table
class Head:
    """1x1x1 convolution, average over the clip, two linear layers."""

    channels: Count  # of the convolution
    hidden: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One residual block with its sizes worked out."""

    group: int  # its row, from 0
    kernel: tuple[int, int]  # time, space
    channels_in: int
    inner: int
    channels: int  # out
    stride: int
    gate: int  # hidden width of squeeze-excite, 0 where there is none
    attention: str  # after the block: "none", "glore" or "nonlocal"

    @property
    def identity(self) -> bool:
        """Whether the shortcut may be the identity."""
        return self.stride == 1 and self.channels_in == self.channels


@table
class Genotype:
    """A whole network."""

    name: str
    input: ClipSpec
    stem: Stem
    expansion_of: Literal["in", "out"]
    block: BlockStyle
    attention: Attention
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]
    head: Head

    @staticmethod
    def load(path: Path) -> Genotype:
        """Raises Refused with file, row and column of the first mistake."""
        return schema.load(path, Genotype)

    def save(self, path: Path, comment: str = "") -> None:
        """Writes the table, its columns aligned, under a `comment` of one line or more."""
        lines = [f"# {line}\n" for line in comment.splitlines()]
        atomic.write_text(path, "".join(lines) + to_yaml(self))

    @property
    def pool(self) -> int:
        """Side of the head's average pool: what is left of the training crop, 5 of 160 px."""
        return math.ceil(self.input.crop / (2 * math.prod(group.stride for group in self.groups)))

    def stages(self) -> list[list[Group]]:
        """The groups, a new stage wherever one has stride 2."""
        stages: list[list[Group]] = []
        for group in self.groups:
            if group.stride == 2 or not stages:
                stages.append([])
            stages[-1].append(group)
        return stages

    def blocks(self) -> list[Block]:
        """Every residual block in its order, sizes worked out."""
        blocks: list[Block] = []
        channels = self.stem.channels
        for row, group in enumerate(self.groups):
            for index in range(group.blocks):
                blocks.append(self._block(row, index, channels))
                channels = group.channels
        return blocks

    def _block(self, row: int, index: int, channels_in: int) -> Block:
        group = self.groups[row]
        last = index == group.blocks - 1
        inner = inner_width(group, channels_in, self.expansion_of)
        return Block(
            group=row,
            kernel=kernel_size(group.kernel),
            channels_in=channels_in,
            inner=inner,
            channels=group.channels,
            stride=group.stride if index == 0 else 1,
            gate=gate_width(inner) if has_gate(group, index) else 0,
            attention=group.attention
            if last or self.attention.placement == "after_block"
            else "none",
        )


def kernel_size(kernel: str) -> tuple[int, int]:
    """t3_s5 -> (3, 5): frames, pixels."""
    time, space = kernel.split("_")
    return int(time[1:]), int(space[1:])


def inner_width(group: Group, channels_in: int, expansion_of: str) -> int:
    """Channels of a block's depthwise convolution; X3D rounds them down.

    The expansion counts as it is written: 2.3 times 100 is 230, though in floats a little less.
    """
    of = channels_in if expansion_of == "in" else group.channels
    return int(Fraction(str(group.expansion)) * of)


def has_gate(group: Group, index: int) -> bool:
    """Whether block `index` of the group has squeeze-excite."""
    return group.squeeze_excite == "all" or (group.squeeze_excite == "even" and index % 2 == 0)


def gate_width(inner: int) -> int:
    """Hidden width of squeeze-excite: a sixteenth. 54 -> 8, 216 -> 16, 432 -> 32."""
    return round_to_8(inner / 16)


def round_to_8(width: float) -> int:
    """The nearest multiple of 8, at least 8, and the next one if that lost over 10 %."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


def node_count(channels: int, nodes: float) -> int:
    """GloRe's graph nodes, M; its states are twice as many."""
    return max(1, round(channels * nodes))


def to_yaml(genotype: Genotype) -> str:
    """The genotype's file: one line a part, the groups as a table."""
    parts = asdict(genotype)
    rows = [[f"{key}: {_plain(value)}" for key, value in row.items()] for row in parts["groups"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for name in (field.name for field in fields(genotype)):
        if name != "groups":
            lines.append(f"{name}: {_plain(parts[name])}")
            continue
        lines.append("groups:")
        for row in rows:
            cells = [f"{cell}," for cell in row[:-1]] + row[-1:]
            padded = (cell.ljust(width + 1) for cell, width in zip(cells, widths, strict=True))
            lines.append(f"  - {{{' '.join(padded).rstrip()}}}")
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    """A value in YAML's flow style, numbers in their shortest form."""
    return schema.dump(value).removesuffix("...\n").strip()
