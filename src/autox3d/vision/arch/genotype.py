"""An architecture as a table with a row per group of blocks (Auto-X3D supplement, Table 2).

The format covers two families: X3D (expansion = inner channels / channels *out*, a stage is one
group) and Auto-X3D (expansion = inner channels / channels *in*, a stage is several groups).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from autox3d.core import atomic, schema, shipped
from autox3d.core.schema import Added, table
from autox3d.core.values import ClipSpec, Count, Positive, Whole
from autox3d.vision.arch.blocks import Block, BlockStyle, Group, check_columns, check_fuse, sized
from autox3d.vision.arch.fusions import SKIP
from autox3d.vision.arch.streams import Step, check_streams, steps, stride_of

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


@table
class Dense:
    """A second stream, dense in time; the first one then takes every alpha-th frame.

    The column `fuse` says how the features that enter a row are added to those that enter the row
    of the same number in the sparse stream.
    """

    alpha: Annotated[int, Field(ge=2)]  # frames of the dense stream for one of the sparse stream
    stem: Stem
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]
    head: Count  # channels out of this stream's own convolution in the head


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One input stream of a network: its clips, its stem and its groups of blocks."""

    name: str
    input: ClipSpec
    every: int  # it takes every so many-th frame of the network's clip
    stem: Stem
    groups: tuple[Group, ...]
    first: int  # index of its first group in `Genotype.rows`


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
    dense: Annotated[Dense | None, Added(None)] = None

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        check_columns(self.block, self.groups)
        check_fuse(self.groups)
        return self

    @field_validator("dense")
    @classmethod
    def _streams_fit(cls, dense: Dense | None, others: ValidationInfo) -> Dense | None:
        known = others.data
        if dense is not None and {"input", "groups", "block"} <= known.keys():
            check_columns(known["block"], dense.groups)
            check_streams(known["input"].frames, dense.alpha, known["groups"], dense.groups)
        return dense

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
        """The input streams, in the order of the network's inputs: one, or sparse and dense."""
        alpha = self.dense.alpha if self.dense else 1
        clip = self.input
        thinner = replace(clip, frames=clip.frames // alpha, stride=clip.stride * alpha)
        first = Stream(
            name="sparse" if self.dense else "rgb",
            input=thinner,
            every=alpha,
            stem=self.stem,
            groups=self.groups,
            first=0,
        )
        if self.dense is None:
            return (first,)
        second = Stream(
            name="dense",
            input=clip,
            every=1,
            stem=self.dense.stem,
            groups=self.dense.groups,
            first=len(self.groups),
        )
        return first, second

    @property
    def rows(self) -> tuple[Group, ...]:
        """All groups, stream by stream."""
        return (*self.groups, *(self.dense.groups if self.dense else ()))

    @property
    def fusions(self) -> tuple[tuple[str, int, int, int], ...]:
        """Before each row of the dense stream: the kind, C_D, C_S and alpha."""
        if self.dense is None:
            return ()
        ends = [
            [stem.channels, *(group.channels for group in groups)]
            for stem, groups in ((self.stem, self.groups), (self.dense.stem, self.dense.groups))
        ]
        return tuple(
            (
                group.fuse or SKIP,
                ends[1][row],
                ends[0][min(row, len(self.groups))],
                self.dense.alpha,
            )
            for row, group in enumerate(self.dense.groups)
        )

    def steps(self) -> tuple[Step, ...]:
        """The blocks and fusions in the order in which a network computes them."""
        dense = len(self.dense.groups) if self.dense else 0
        return tuple(steps(self.blocks(), self.rows, dense))

    @property
    def pool(self) -> int:
        """Side of the head's average pool, in cells: 5 for a training crop of 160 px."""
        return -(-self.input.crop // stride_of(self.groups))

    @property
    def choices(self) -> tuple[str, ...]:
        """What a search chooses for each group, as derive.json has it: "t3_s3 2.25 16 none".

        A row of a dense stream has its fusion last.
        """
        return tuple(
            f"{g.kernel} {g.expansion:g} {g.channels} {g.attention}"
            + (f" {g.fuse}" if g.fuse else "")
            for g in self.rows
        )

    def stages(self) -> list[list[Group]]:
        """The groups of each stage of the sparse or only stream."""
        return stages_of(self.groups)

    def blocks(self) -> list[Block]:
        """All residual blocks in order, stream by stream."""
        return [block for stream in self.streams for block in self.blocks_of(stream)]

    def blocks_of(self, stream: Stream) -> list[Block]:
        """The residual blocks of a stream in order, with all sizes resolved."""
        blocks: list[Block] = []
        channels, everywhere = stream.stem.channels, self.attention.placement == "after_block"
        for row, group in enumerate(stream.groups, stream.first):
            for index in range(group.blocks):
                block = sized(group, row, index, channels, self.expansion_of, self.block)
                attends = everywhere or index == group.blocks - 1
                blocks.append(block if attends else replace(block, attention="none"))
                channels = group.channels
        return blocks


def stages_of(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups of each stage of a stream; a group with stride 2 begins a new stage."""
    stages: list[list[Group]] = []
    for group in groups:
        if group.stride == 2 or not stages:
            stages.append([])
        stages[-1].append(group)
    return stages


def to_yaml(genotype: Genotype) -> str:
    """Formats a genotype as YAML: one line per part, and the groups as a table."""
    return "\n".join(_lines(genotype)) + "\n"


def _lines(part: Genotype | Dense) -> Iterator[str]:
    for name, value in _written(part).items():
        if name == "groups":
            yield "groups:"
            yield from _table(value)
        elif isinstance(value, Dense):
            yield f"{name}:"
            yield from (f"  {line}" for line in _lines(value))
        else:
            yield f"{name}: {_plain(_written(value) if is_dataclass(value) else value)}"


def _table(groups: Sequence[Group]) -> Iterator[str]:
    rows = [[f"{key}: {_plain(value)}" for key, value in _written(g).items()] for g in groups]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell}," for cell in row[:-1]] + row[-1:]
        padded = (cell.ljust(width + 1) for cell, width in zip(cells, widths, strict=True))
        yield f"  - {{{' '.join(padded).rstrip()}}}"


def _written(part: Any) -> dict[str, Any]:
    """The fields of a table; fields added by a later version are omitted at their defaults."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    before = schema.added(type(part))
    return {k: v for k, v in values.items() if k not in before or v != before[k]}


def _plain(value: object) -> str:
    """Formats a value in YAML's flow style, with numbers in their shortest form."""
    return schema.dump(value).removesuffix("...\n").strip()
