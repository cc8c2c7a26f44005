"""An architecture as a table with a row per group of blocks (Auto-X3D supplement, Table 2).

The format covers two families: X3D (expansion = inner channels / channels *out*, a stage is one
group) and Auto-X3D (expansion = inner channels / channels *in*, a stage is several groups).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from autox3d.core import atomic, schema, shipped
from autox3d.core.schema import table
from autox3d.core.values import ClipSpec, Count, Positive, Whole
from autox3d.vision.arch.blocks import Block, BlockStyle, Group, check_columns, sized

ExpansionOf = Literal["in", "out"]
Placement = Literal["after_group", "after_block"]


@table
class Stem:
    """The stem: a 1x3x3 convolution with stride 2 over space, then a depthwise temporal one.

    There is no temporal convolution if `temporal_kernel` is 1.
    """

    channels: Count
    temporal_kernel: Literal[1, 3, 5]


@table
class Attention:
    """The placement of attention units within their groups, and the width of GloRe."""

    placement: Placement
    nodes: Positive  # GloRe's graph nodes per channel


@table
class Head:
    """The head: a 1x1x1 convolution, an average over the clip, one or two linear layers."""

    channels: Count  # channels out of the convolution
    hidden: Whole  # width of the first of two linear layers; 0: there is only the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One input stream of a network: its clips, its stem and its groups of blocks."""

    name: str
    input: ClipSpec
    stem: Stem
    groups: tuple[Group, ...]


@table
class Genotype:
    """The architecture of a whole network."""

    name: str
    input: ClipSpec
    stem: Stem
    expansion_of: ExpansionOf
    block: BlockStyle
    attention: Attention
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]
    head: Head

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        check_columns(self.block, self.groups)
        return self

    @staticmethod
    def load(path: Path) -> Genotype:
        """Reads and checks a genotype: a file, a folder of weights, or a name such as `x3d_s`.

        Raises:
            Refused: names the file, row and column of the first mistake.
        """
        return schema.load(shipped.find(Path(path)), Genotype)

    def save(self, path: Path, comment: str = "") -> None:
        """Writes the genotype's file with aligned columns, below the lines of `comment`."""
        lines = [f"# {line}\n" for line in comment.splitlines()]
        atomic.write_text(path, "".join(lines) + to_yaml(self))

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The input streams, in the order of the network's inputs; so far there is always one."""
        return (Stream(name="rgb", input=self.input, stem=self.stem, groups=self.groups),)

    @property
    def pool(self) -> int:
        """Side of the head's average pool, in cells: 5 for a training crop of 160 px."""
        return math.ceil(self.input.crop / (2 * math.prod(group.stride for group in self.groups)))

    @property
    def choices(self) -> tuple[str, ...]:
        """What a search chooses for each group, as derive.json has it: "t3_s3 2.25 16 none"."""
        return tuple(f"{g.kernel} {g.expansion:g} {g.channels} {g.attention}" for g in self.groups)

    def stages(self) -> list[list[Group]]:
        """The groups of each stage; a group with stride 2 begins a new stage."""
        stages: list[list[Group]] = []
        for group in self.groups:
            if group.stride == 2 or not stages:
                stages.append([])
            stages[-1].append(group)
        return stages

    def blocks(self) -> list[Block]:
        """All residual blocks in order, stream by stream."""
        return [block for stream in self.streams for block in self.blocks_of(stream)]

    def blocks_of(self, stream: Stream) -> list[Block]:
        """The residual blocks of a stream in order, with all sizes resolved."""
        blocks: list[Block] = []
        channels, everywhere = stream.stem.channels, self.attention.placement == "after_block"
        for row, group in enumerate(stream.groups):
            for index in range(group.blocks):
                block = sized(group, row, index, channels, self.expansion_of, self.block)
                attends = everywhere or index == group.blocks - 1
                blocks.append(block if attends else replace(block, attention="none"))
                channels = group.channels
        return blocks


def to_yaml(genotype: Genotype) -> str:
    """Formats a genotype as YAML: one line per part, and the groups as a table."""
    tables = map(_written, genotype.groups)
    rows = [[f"{key}: {_plain(value)}" for key, value in row.items()] for row in tables]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for name, part in _written(genotype).items():
        if name != "groups":
            lines.append(f"{name}: {_plain(_written(part) if is_dataclass(part) else part)}")
            continue
        lines.append("groups:")
        for row in rows:
            cells = [f"{cell}," for cell in row[:-1]] + row[-1:]
            padded = (cell.ljust(width + 1) for cell, width in zip(cells, widths, strict=True))
            lines.append(f"  - {{{' '.join(padded).rstrip()}}}")
    return "\n".join(lines) + "\n"


def _written(part: Any) -> dict[str, Any]:
    """The fields of a table; fields added by a later version are omitted at their defaults."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    before = schema.added(type(part))
    return {k: v for k, v in values.items() if k not in before or v != before[k]}


def _plain(value: object) -> str:
    """Formats a value in YAML's flow style, with numbers in their shortest form."""
    return schema.dump(value).removesuffix("...\n").strip()
