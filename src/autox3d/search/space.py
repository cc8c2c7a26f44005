"""The search space: a genotype whose columns list candidates.

A draw describes one network by one number for each choice, the index of the candidate. Choices are
ordered by group, then as in `CHOICES`; a space of two streams has the groups of the sparse one,
then those of the dense one, each with its fusion last. A column with a single candidate is a choice
as well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from autox3d.core import schema, shipped
from autox3d.core.errors import Refused
from autox3d.core.schema import Added, table
from autox3d.core.values import ClipSpec, Count
from autox3d.search.channel_sets import Ring, Selection, exact, indices, ring
from autox3d.vision.arch.blocks import (
    FUSE,
    BlockStyle,
    Candidates,
    Group,
    check_columns,
    check_fuse,
)
from autox3d.vision.arch.genotype import Attention, Dense, ExpansionOf, Genotype, Head, Stem
from autox3d.vision.arch.streams import check_streams
from autox3d.vision.arch.units import UNITS

Draw = tuple[int, ...]
CHOICES = ("kernel", "expansion", "channels", "attention")
SOME = Field(min_length=1)


class Choice(NamedTuple):
    """One decision of the search: a column of a group, and its candidates."""

    group: int  # index of the group in `Space.rows`, from 0
    column: str  # of `CHOICES`, or the fusion before the group
    candidates: tuple[Any, ...]


class Axes(NamedTuple):
    """The rings of parts from which the shared kernels of a group are cut."""

    inputs: Ring  # channels of the previous stage, or of this one
    outputs: Ring  # channels of this stage; all groups share it, so equal widths are equal sets
    expansions: Ring


@table
class DenseSpace:
    """The dense stream of a space: a `Dense` whose searched columns list their candidates."""

    alpha: Annotated[int, Field(ge=2)]
    stem: Stem
    groups: Annotated[tuple[Candidates, ...], SOME]
    head: Count


@table
class Space:
    """All networks that the search can choose from."""

    name: str
    input: ClipSpec
    stem: Stem
    expansion_of: ExpansionOf
    block: BlockStyle
    attention: Attention
    groups: Annotated[tuple[Candidates, ...], SOME]
    head: Head
    dense: Annotated[DenseSpace | None, Added(None)] = None

    @staticmethod
    def load(path: Path) -> Space:
        """Reads a file, or a space that comes with the package (`space_demo`).

        Raises:
            Refused: there is a mistake, or candidates share no grid.
        """
        path = shipped.find(path)
        space = schema.load(path, Space)
        try:
            check_columns(space.block, space.rows)
            check_fuse(space.groups)
        except ValueError as error:
            raise Refused(f"{path}: {error}") from error
        if space.dense:
            try:
                dense = space.dense
                check_streams(space.input.frames, dense.alpha, space.groups, dense.groups)
            except ValueError as error:
                raise Refused(f"{path}: 'dense': {error}") from error
        for choice in space.choices:
            if len(set(choice.candidates)) < len(choice.candidates):
                place = f"{space.place(choice.group)}, '{choice.column}'"
                raise Refused(f"{path}: {place} names a candidate twice. Delete one.")
        every = space.axes("fair")
        for row, axes in enumerate(every):
            _check_grid(path, row, space, axes)
        _check_stem(path, space, space.stem, 0, every[0])
        if space.dense:
            first = len(space.groups)
            _check_stem(path, space, space.dense.stem, first, every[first])
        return space

    @property
    def rows(self) -> tuple[Candidates, ...]:
        """All groups, stream by stream."""
        return (*self.groups, *(self.dense.groups if self.dense else ()))

    def place(self, row: int) -> str:
        """Where a row of `rows` stands in the file."""
        first = len(self.groups)
        name, number = ("groups", row) if row < first else ("dense.groups", row - first)
        return f"'{name}', row {number + 1}"

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """All choices, in the order of a draw."""
        return tuple(
            Choice(row, column, getattr(group, column))
            for row, group in enumerate(self.rows)
            for column in columns_of(group)
        )

    @property
    def size(self) -> int:
        """The number of networks in the space."""
        return math.prod(len(choice.candidates) for choice in self.choices)

    def genotype(self, draw: Draw, name: str) -> Genotype:
        """The network that a draw describes."""
        taken = [choice.candidates[i] for choice, i in zip(self.choices, draw, strict=True)]
        parts = zip(self.rows, by_group(taken, map(len, map(columns_of, self.rows))), strict=True)
        rows = tuple(
            Group(**(_fixed(group) | dict(zip(columns_of(group), row, strict=True))))
            for group, row in parts
        )
        first = len(self.groups)
        dense = self.dense and Dense(
            alpha=self.dense.alpha,
            stem=self.dense.stem,
            groups=rows[first:],
            head=self.dense.head,
        )
        return Genotype(
            name=name,
            input=self.input,
            stem=self.stem,
            expansion_of=self.expansion_of,
            block=self.block,
            attention=self.attention,
            groups=rows[:first],
            head=self.head,
            dense=dense,
        )

    def draw(self, genotype: Genotype) -> Draw:
        """The draw that describes a network.

        Raises:
            ValueError: the network is not in the space.
        """
        if len(genotype.groups) != len(self.groups) or len(genotype.rows) != len(self.rows):
            raise ValueError(f"{genotype.name}: {len(genotype.groups)} groups, unlike the space")
        draw: list[int] = []
        for choice in self.choices:
            value = getattr(genotype.rows[choice.group], choice.column)
            if value not in choice.candidates:
                place = f"row {choice.group + 1}, {choice.column} {value}"
                raise ValueError(f"{genotype.name}: {place} is not in the space {self.name}")
            draw.append(choice.candidates.index(value))
        if self.genotype(tuple(draw), genotype.name) != genotype:
            raise ValueError(f"{genotype.name}: differs from the space in what is not searched")
        return tuple(draw)

    def axes(self, selection: Selection) -> list[Axes]:
        """The rings of each group; all groups of a stage share one ring of channels."""
        axes = _axes(self.stem, self.groups, selection)
        return axes + (_axes(self.dense.stem, self.dense.groups, selection) if self.dense else [])


def _axes(stem: Stem, groups: Sequence[Candidates], selection: Selection) -> list[Axes]:
    """The rings of each group of a stream."""
    stages = _stages(groups)
    widths = {
        stage: {
            width
            for row, group in enumerate(groups)
            if stages[row] == stage
            for width in group.channels
        }
        for stage in stages
    }
    rings = {stage: ring(listed, selection) for stage, listed in widths.items()}
    axes, inputs = [], ring([stem.channels], selection)
    for row, group in enumerate(groups):
        outputs = rings[stages[row]]
        axes.append(Axes(inputs, outputs, ring(group.expansion, selection)))
        inputs = outputs
    return axes


def _stages(groups: Sequence[Candidates]) -> list[int]:
    """The stage of each group, from 1; a stride of 2 begins a new stage."""
    stages: list[int] = []
    for group in groups:
        begins = group.stride == 2 or not stages
        stages.append((stages[-1] if stages else 0) + begins)
    return stages


def _fixed(group: Candidates) -> dict[str, Any]:
    """The columns that are not searched."""
    names = (field.name for field in fields(group))
    return {name: getattr(group, name) for name in names if name not in columns_of(group)}


def columns_of(group: Candidates) -> tuple[str, ...]:
    """The columns of a group that are choices."""
    return (*CHOICES, FUSE) if group.fuse else CHOICES


def by_group(taken: Sequence[Any], counts: Iterable[int]) -> list[tuple[Any, ...]]:
    """Splits what stands for each choice (a draw, for example) by group.

    Args:
        counts: the number of choices of each group
    """
    rest = iter(taken)
    return [tuple(itertools.islice(rest, count)) for count in counts]


def _check_grid(path: Path, row: int, space: Space, axes: Axes) -> None:
    """Refuses a group whose parts have a fractional number of inner channels or graph nodes."""
    place = f"{path}: {space.place(row)}"
    width, units = axes.outputs.step, space.rows[row].attention
    sides = [axes.outputs] if space.expansion_of == "out" else [axes.inputs, axes.outputs]
    for side in sides:
        cell = side.step * axes.expansions.step
        if cell.denominator != 1:
            raise Refused(
                f"{place}: {_text(side.step)} channels times {_text(axes.expansions.step)} of"
                f" expansion make {_text(cell)} inner channels a part, not a whole number."
                " Choose coarser steps."
            )
    nodes = exact(space.attention.nodes)
    for kind in (kind for kind in UNITS if kind in units):
        if mistake := UNITS[kind].mistake(width, nodes, axes.outputs.count):
            raise Refused(f"{place}: {mistake}")


def _check_stem(path: Path, space: Space, stem: Stem, row: int, axes: Axes) -> None:
    """Refuses a stream whose first shortcut, as an identity, would add unequal channels.

    Args:
        row: the stream's first, in `Space.rows`
    """
    width, ring, first = stem.channels, axes.outputs, space.rows[row]
    if first.stride == 2 or width not in first.channels:
        return
    if indices(ring.arc(width), int(ring.step)) != list(range(width)):
        raise Refused(
            f"{path}: {space.place(row)}: {width} channels of stride 1, as many as the stem's, have"
            f" another place in the shared kernel. Take stride 2, or leave {width} out."
        )


def _text(number: Fraction) -> str:
    return f"{float(number):g}"
