"""Block types without torch: sizes, costs and layer names. `vision.models.blocks` has the modules.

To add a type, add an entry here (with the columns that it adds to a group, if any) and a class
there, both under the name that a genotype gives as `block: {type: ...}`. A genotype without a type
uses X3D's block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from autox3d.core.schema import Added, added, table
from autox3d.core.values import Count, Positive
from autox3d.vision.arch import fusions, units
from autox3d.vision.arch.account import Layer, conv

INVERTED = "inverted"
FUSE = "fuse"  # a column of the dense stream's rows, whatever their block type
SOME = Field(min_length=1)
Kernel = Literal["t1_s3", "t1_s5", "t3_s3", "t3_s5", "t5_s3", "t5_s5"]
Activation = Literal["relu", "swish"]
Stride = Literal[1, 2]
SqueezeExcite = Literal["even", "all", "none"]  # even: blocks 0, 2, 4, ... of the group


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One residual block with all of its sizes resolved."""

    group: int  # index of the group in `Genotype.rows`, from 0
    kernel: tuple[int, int]  # time, space
    channels_in: int
    inner: int
    channels: int  # channels out
    stride: int
    gate: int  # hidden width of squeeze-excite, 0 without it
    attention: str  # after the block: a key of `units.UNITS`
    type: str = INVERTED
    own: tuple[Any, ...] = ()  # values of the columns that the type adds, in order
    shared: bool = False  # in the supernet: has every layer that any path needs

    @property
    def identity(self) -> bool:
        """Whether the shortcut is the identity."""
        return not self.shared and block_type(self.type).identity(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockType:
    """The sizes, costs and layer names of a block type.

    The supernet slices a block's weights by letters: the first letter of a layer names the set of
    channels that indexes its rows, the second the set that indexes its columns. I: channels in,
    O: channels out, N: inner channels, E: hidden channels of squeeze-excite.
    """

    columns: tuple[str, ...]  # columns that this type adds to a group's row
    inner: Callable[[Group, int, str], int]  # (group, channels in, expansion_of) -> width
    layers: Callable[[Block, BlockStyle, int, int], Iterator[Layer]]  # (.., cells in, cells out)
    peak: Callable[[Block, int, int], int]  # (block, cells in, cells out) -> elements at once
    identity: Callable[[Block], bool]  # whether a shortcut needs no layer of its own
    cuts: Mapping[str, str]  # layer -> letters
    typed: tuple[str, ...]  # parts that the supernet has one copy of for each kernel
    optional: tuple[str, ...]  # parts that some of the supernet's paths skip


def block_type(name: str) -> BlockType:
    """Looks up a block type by its name.

    Raises:
        ValueError: there is no such type.
    """
    if name not in BLOCKS:
        raise ValueError(f"unknown block type '{name}'. Known: {', '.join(BLOCKS)}.")
    return BLOCKS[name]


def inner_width(group: Group, channels_in: int, expansion_of: str) -> int:
    """The number of channels of a block's depthwise convolution, rounded down as in X3D.

    The expansion is taken as the decimal in the file: 2.3 times 100 is 230, not 229 as in floats.
    """
    of = channels_in if expansion_of == "in" else group.channels
    return int(Fraction(str(group.expansion)) * of)


def _inverted(block: Block, style: BlockStyle, cells_in: int, cells: int) -> Iterator[Layer]:
    """Yields 1x1x1, t x s x s, squeeze-excite, 1x1x1, and the shortcut unless it is an identity."""
    time, space = block.kernel
    reach = time * space**2 * (1 if style.depthwise else block.inner)
    yield conv(block.channels_in, block.inner, cells_in, norm=True)
    yield conv(reach, block.inner, cells, norm=True)
    yield from _ending(block, cells)
    if not block.identity:
        yield conv(block.channels_in, block.channels, cells, norm=True)


def _inverted_peak(block: Block, cells_in: int, cells: int) -> int:
    """Peak of a layer's input and output plus the block's input, which is kept for the sum."""
    return block.channels_in * cells_in + max(
        block.inner * (cells_in + cells),
        (block.inner + block.channels) * cells,
        2 * block.channels * cells,
    )


def _bottleneck(block: Block, style: BlockStyle, cells_in: int, cells: int) -> Iterator[Layer]:
    """Yields t x 1 x 1, 1 x s x s, squeeze-excite, 1x1x1, and the shortcut."""
    (time, space), inner = block.kernel, block.inner
    yield conv(time * block.channels_in, inner, cells_in, norm=True)
    yield conv(space**2 * (1 if style.depthwise else inner), inner, cells, norm=True)
    yield from _ending(block, cells)
    if not block.identity:
        yield conv(block.channels_in, block.channels, cells, norm=True)


def _mobile(block: Block, style: BlockStyle, cells_in: int, cells: int) -> Iterator[Layer]:
    """Yields 1x1x1 unless it would not expand, t x s x s, squeeze-excite, 1x1x1."""
    time, space = block.kernel
    if expands(block):
        yield conv(block.channels_in, block.inner, cells_in, norm=True)
    reach = time * space**2 * (1 if style.depthwise else block.inner)
    yield conv(reach, block.inner, cells, norm=True)
    yield from _ending(block, cells)


def _ending(block: Block, cells: int) -> Iterator[Layer]:
    """Yields squeeze-excite and the last 1x1x1."""
    if block.gate:
        yield conv(block.inner, block.gate, 1, bias=True)
        yield conv(block.gate, block.inner, 1, bias=True)
    yield conv(block.inner, block.channels, cells, norm=True)


def _same_shape(block: Block) -> bool:
    """Whether the output has the input's shape."""
    return block.stride == 1 and block.channels_in == block.channels


BLOCKS: dict[str, BlockType] = {
    INVERTED: BlockType(  # X3D, Table 1
        columns=(),
        inner=inner_width,
        layers=_inverted,
        peak=_inverted_peak,
        identity=_same_shape,
        cuts={
            "expand.conv": "NI",
            "expand.norm": "N",
            "depthwise.conv": "NN",  # the second letter only if the layer is dense
            "depthwise.norm": "N",
            "gate.squeeze": "EN",
            "gate.excite": "NE",
            "project.conv": "ON",
            "project.norm": "O",
            "shortcut.conv": "OI",
            "shortcut.norm": "O",
        },
        typed=("depthwise",),
        optional=("shortcut",),
    ),
    "bottleneck": BlockType(  # SlowFast's, arXiv:1812.03982; X3D's Table A.1 without channel-wise
        columns=(),
        inner=inner_width,
        layers=_bottleneck,
        peak=_inverted_peak,
        identity=_same_shape,
        cuts={
            "expand.conv": "NI",
            "expand.norm": "N",
            "space.conv": "NN",
            "space.norm": "N",
            "gate.squeeze": "EN",
            "gate.excite": "NE",
            "project.conv": "ON",
            "project.norm": "O",
            "shortcut.conv": "OI",
            "shortcut.norm": "O",
        },
        typed=("expand", "space"),
        optional=("shortcut",),
    ),
    "mobile": BlockType(  # MobileNetV2, arXiv:1801.04381; EfficientNet, arXiv:1905.11946
        columns=(),
        inner=inner_width,
        layers=_mobile,
        peak=_inverted_peak,
        identity=_same_shape,
        cuts={
            "expand.conv": "NI",
            "expand.norm": "N",
            "depthwise.conv": "NN",
            "depthwise.norm": "N",
            "gate.squeeze": "EN",
            "gate.excite": "NE",
            "project.conv": "ON",
            "project.norm": "O",
        },
        typed=("depthwise",),
        optional=("expand",),
    ),
}

if TYPE_CHECKING:
    Type = str
else:
    Type = Literal[tuple(BLOCKS)]


@table
class BlockStyle:
    """The settings that all blocks share: the columns of X3D's Table A.1."""

    type: Annotated[Type, Added(INVERTED)] = INVERTED
    first: Activation  # after the expanding 1x1x1 convolution
    second: Activation  # after the depthwise convolution and squeeze-excite
    depthwise: bool  # false: a dense convolution instead


@table
class Group:
    """One row of Table 2: consecutive blocks with the same settings.

    A column that a block type adds is optional: `Annotated[... | None, Added(None)] = None`.
    """

    kernel: Kernel  # of the depthwise convolution, time and space: t3_s5 is 3x5x5
    expansion: Positive  # inner channels / channels in or out, see `Genotype.expansion_of`
    channels: Count  # channels out
    blocks: Count
    stride: Stride  # spatial stride of the first block; time is never strided
    squeeze_excite: SqueezeExcite
    attention: units.Kind
    fuse: Annotated[fusions.Kind | None, Added(None)] = None  # of a dense row, see `Dense`


@table
class Candidates:
    """One row of a search space: a `Group` whose searched columns list their candidates."""

    kernel: Annotated[tuple[Kernel, ...], SOME]
    expansion: Annotated[tuple[Positive, ...], SOME]
    channels: Annotated[tuple[Count, ...], SOME]
    blocks: Count
    stride: Stride
    squeeze_excite: SqueezeExcite
    attention: Annotated[tuple[units.Kind, ...], SOME]
    fuse: Annotated[Annotated[tuple[fusions.Kind, ...], SOME] | None, Added(None)] = None


def check_columns(style: BlockStyle, groups: Sequence[Group] | Sequence[Candidates]) -> None:
    """Checks that each row has the columns of its block type, and no columns of another type.

    Raises:
        ValueError: a column is missing or belongs to another block type.
    """
    wanted = block_type(style.type).columns
    for row, group in enumerate(groups, 1):
        for column in added(type(group)).keys() - {FUSE}:
            given = getattr(group, column) is not None
            if given != (column in wanted):
                needs = "have no" if given else "need a"
                raise ValueError(f"row {row}: blocks of type '{style.type}' {needs} '{column}'.")


def check_fuse(groups: Sequence[Group] | Sequence[Candidates]) -> None:
    """Checks that no row of a sparse or only stream has a fusion.

    Raises:
        ValueError: a row has one.
    """
    for row, group in enumerate(groups, 1):
        if group.fuse is not None:
            raise ValueError(f"row {row}: 'fuse' belongs to the rows of 'dense'. Delete it.")


def sized(
    group: Group, row: int, index: int, channels_in: int, expansion_of: str, style: BlockStyle
) -> Block:
    """Builds block `index` of a group, with the group's attention unit."""
    kind = block_type(style.type)
    inner = kind.inner(group, channels_in, expansion_of)
    return Block(
        group=row,
        kernel=kernel_size(group.kernel),
        channels_in=channels_in,
        inner=inner,
        channels=group.channels,
        stride=group.stride if index == 0 else 1,
        gate=gate_width(inner) if has_gate(group, index) else 0,
        attention=group.attention,
        type=style.type,
        own=tuple(getattr(group, column) for column in kind.columns),
    )


def expands(block: Block) -> bool:
    """Whether a mobile block has its first convolution: not where it would keep the width."""
    return block.shared or block.inner != block.channels_in


def kernel_size(kernel: str) -> tuple[int, int]:
    """Parses a kernel's name into frames and pixels: t3_s5 -> (3, 5)."""
    time, space = kernel.split("_")
    return int(time[1:]), int(space[1:])


def has_gate(group: Group, index: int) -> bool:
    """Whether block `index` of the group has squeeze-excite."""
    return group.squeeze_excite == "all" or (group.squeeze_excite == "even" and index % 2 == 0)


def gate_width(inner: int) -> int:
    """The hidden width of squeeze-excite, 1/16 of `inner`: 54 -> 8, 216 -> 16, 432 -> 32."""
    return round_to_8(inner / 16)


def round_to_8(width: float) -> int:
    """Rounds to the nearest multiple of 8, at least 8.

    The result is the next multiple if rounding would lose more than 10 %.
    """
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8
