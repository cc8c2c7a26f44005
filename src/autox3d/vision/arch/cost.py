"""A network's cost, computed from its genotype: parameters, multiply-adds, activations, memory.

A multiply-add is one multiplication and one addition in a convolution, a linear layer or an
attention unit's matrix product, for one clip; the papers call them "FLOPs". Norms, activations,
pools and the shortcut's sum are not counted. One convention in use also counts 5 operations for
each output element of a batch norm.

    C channels, T frames, S px a side, L = T*S*S positions, M nodes of GloRe
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from autox3d.vision.arch.account import Layer, conv, product
from autox3d.vision.arch.blocks import block_type
from autox3d.vision.arch.fusions import SKIP, fusion
from autox3d.vision.arch.genotype import Dense, Genotype, Stem, Stream
from autox3d.vision.arch.units import unit

BATCH_NORM = 5  # operations per element, in the convention that counts them
BYTES = 4  # size of a float32
GRID = 7  # bins of a box along an axis, as in SlowFast


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One line of the cost account: a stem, a group with attention, a fusion, or the head."""

    name: str
    channels: int  # channels out
    frames: int  # of the output
    side: int  # px, of the output
    layers: tuple[Layer, ...]
    peak: int  # most elements in memory at once: inference, one clip

    @property
    def params(self) -> int:
        """The parameters: weights, biases, and two per channel of a batch norm."""
        return sum(layer.weights + layer.biases + 2 * layer.normed for layer in self.layers)

    @property
    def bn_params(self) -> int:
        """The number of scales and shifts of the batch norms."""
        return sum(2 * layer.normed for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds per clip."""
        return sum(layer.macs for layer in self.layers)

    @property
    def normed(self) -> int:
        """Output elements of the batch norms, per clip."""
        return sum(layer.outputs for layer in self.layers if layer.normed)

    @property
    def activations(self) -> int:
        """Output elements of convolutions, linear layers and matrix products, per clip."""
        return sum(layer.outputs for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one network at one clip size."""

    frames: int
    crop: int  # px
    classes: int
    parts: tuple[Part, ...]

    @property
    def params(self) -> int:
        """The total number of parameters."""
        return sum(part.params for part in self.parts)

    @property
    def params_without_bn(self) -> int:
        """The number of parameters without the batch norms' scales and shifts."""
        return self.params - sum(part.bn_params for part in self.parts)

    @property
    def gmacs(self) -> float:
        """Multiply-adds per clip, in units of 1e9."""
        return sum(part.macs for part in self.parts) / 1e9

    @property
    def gmacs_with_bn(self) -> float:
        """Multiply-adds plus 5 per output element of a batch norm, in units of 1e9."""
        return self.gmacs + BATCH_NORM * sum(part.normed for part in self.parts) / 1e9

    @property
    def activations(self) -> int:
        """Output elements of all convolutions, linear layers and matrix products, per clip."""
        return sum(part.activations for part in self.parts)

    @property
    def peak_bytes(self) -> int:
        """Peak memory of the activations: float32 inference of one clip, block by block."""
        return BYTES * max(part.peak for part in self.parts)


def cost(
    genotype: Genotype,
    classes: int,
    frames: int | None = None,
    crop: int | None = None,
    boxes: int | None = None,
) -> Cost:
    """Computes the cost of a network for clips of `frames` frames and `crop` px.

    None means the genotype's own size. `frames` are those of the clip, of which a sparse stream
    takes a part. The head's pooling window is that of the genotype's training crop, so a larger
    clip has several positions.

    Args:
        boxes: of a clip, which the head has in the place of these positions; None: it has none

    Raises:
        ValueError: there are no boxes, and the crop leaves fewer pixels before the head than its
            window has; or the frames are not a multiple of those of which the sparse stream takes
            one.
    """
    frames, crop = frames or genotype.input.frames, crop or genotype.input.crop
    streams = genotype.streams
    if frames % streams[0].every:
        raise ValueError(
            f"{frames} frames are not a multiple of the {streams[0].every} of which the sparse"
            " stream takes one"
        )
    parts = [list(_parts(genotype, one, frames // one.every, crop)) for one in streams]
    if len(parts) == 2:
        parts = _side_by_side(genotype, *parts, clip=3 * frames * crop**2)
    ends = [of[-1] for of in parts]
    head = _head(genotype, classes, ends, boxes)
    every = [part for of in parts for part in of]
    return Cost(frames=frames, crop=crop, classes=classes, parts=(*every, head))


def in_words(genotype: Genotype, classes: int) -> str:
    """Example: `x3d_s: 3.79 M parameters, 1.96 G multiply-adds at 13x160x160, 400 classes`."""
    found = cost(genotype, classes)
    size = f"{found.frames}x{found.crop}x{found.crop}"
    return (
        f"{genotype.name}: {found.params / 1e6:.2f} M parameters, {found.gmacs:.3g} G multiply-adds"
        f" at {size}, {classes} classes"
    )


def _parts(genotype: Genotype, stream: Stream, frames: int, crop: int) -> Iterator[Part]:
    """Yields the cost of the stem and of each group of a stream."""
    stem = replace(_stem(stream.stem, frames, crop), name=_named(stream, "stem"))
    yield stem
    yield from _groups(genotype, stream, frames, stem.side)


def _named(stream: Stream, what: str) -> str:
    return f"dense {what}" if stream.name == "dense" else what


def _stem(stem: Stem, frames: int, crop: int) -> Part:
    channels, kernel = stem.channels, stem.temporal_kernel
    side = math.ceil(crop / 2)
    cells = frames * side**2
    clip = 3 * frames * crop**2
    space = conv(3 * 9, channels, cells, norm=kernel == 1)
    layers = (space,) if kernel == 1 else (space, conv(kernel, channels, cells, norm=True))
    peak = max(clip, channels * cells) + channels * cells
    return Part(name="stem", channels=channels, frames=frames, side=side, layers=layers, peak=peak)


def _groups(genotype: Genotype, stream: Stream, frames: int, side: int) -> Iterator[Part]:
    blocks, nodes = genotype.blocks_of(stream), genotype.attention.nodes
    for row, group in enumerate(stream.groups, stream.first):
        layers: list[Layer] = []
        peak = 0
        for block in blocks:
            if block.group == row:
                after = math.ceil(side / block.stride)
                cells_in, cells = frames * side**2, frames * after**2
                kind, attention = block_type(block.type), unit(block.attention)
                layers += kind.layers(block, genotype.block, cells_in, cells)
                layers += attention.layers(block.channels, nodes, cells)
                peak = max(peak, kind.peak(block, cells_in, cells))
                peak = max(peak, attention.peak(block.channels, nodes) * cells)
                side = after
        yield Part(
            name=_named(stream, f"group {row - stream.first + 1}"),
            channels=group.channels,
            frames=frames,
            side=side,
            layers=tuple(layers),
            peak=peak,
        )


def _side_by_side(
    genotype: Genotype, sparse: list[Part], dense: list[Part], clip: int
) -> list[list[Part]]:
    """Adds the fusions, and to each part's peak what the other stream holds meanwhile.

    Args:
        sparse, dense: the stem and the groups of each stream
        clip: elements of the dense stream's clip
    """
    assert genotype.dense is not None
    held = [[part.channels * part.frames * part.side**2 for part in of] for of in (sparse, dense)]

    def beside(stream: int, row: int) -> int:
        """Elements of a stream's features after `row` of its rows."""
        return held[stream][min(row, len(held[stream]) - 1)]

    first = [replace(sparse[0], peak=sparse[0].peak + clip)]
    first += [replace(p, peak=p.peak + beside(1, row)) for row, p in enumerate(sparse[1:])]
    second = [replace(dense[0], peak=dense[0].peak + beside(0, 0))]
    for row, part in enumerate(dense[1:]):
        if (kind := genotype.dense.groups[row].fuse or SKIP) != SKIP:
            both = beside(0, row) + beside(1, row)
            second.append(_fusion(genotype.dense, kind, row, sparse[row], dense[row], both))
        second.append(replace(part, peak=part.peak + beside(0, row + 1)))
    return [first, second]


def _fusion(dense: Dense, kind: str, row: int, sparse: Part, before: Part, both: int) -> Part:
    """The fusion before a row, from 0; `both` elements of the streams are held meanwhile."""
    here = fusion(kind)
    cells = before.frames * before.side**2, sparse.frames * sparse.side**2
    layers = tuple(here.layers(before.channels, sparse.channels, dense.alpha, cells))
    made = max(here.held(before.channels, sparse.channels, cells), 2 * sparse.channels * cells[1])
    return Part(
        name=f"fusion {row + 1}",
        channels=sparse.channels,
        frames=sparse.frames,
        side=sparse.side,
        layers=layers,
        peak=both + made,
    )


def _head(genotype: Genotype, classes: int, ends: Sequence[Part], boxes: int | None) -> Part:
    """The head over the last part of each stream."""
    head, window, last = genotype.head, genotype.pool, ends[0]
    if boxes is None and last.side < window:
        raise ValueError(
            f"the crop leaves {last.side} px before the head, less than its window of {window}: "
            f"it must be no smaller than the training crop, {genotype.input.crop}"
        )
    positions = (last.side - window + 1) ** 2 if boxes is None else boxes
    widths = (head.channels, *([genotype.dense.head] if genotype.dense else []))
    cells = [end.frames * end.side**2 for end in ends]
    convs = [
        conv(end.channels, width, here, norm=True)
        for end, width, here in zip(ends, widths, cells, strict=True)
    ]
    pooled = sum(widths)
    pools = [] if boxes is None else _in_boxes(pooled, last.side, boxes)
    hidden = (conv(pooled, head.hidden, positions),) if head.hidden else ()
    layers = (
        *convs,
        *pools,
        *hidden,
        conv(head.hidden or pooled, classes, positions, bias=True),
    )
    inputs = sum(end.channels * here for end, here in zip(ends, cells, strict=True))
    peak = max(
        inputs + max(width * here for width, here in zip(widths, cells, strict=True)),
        ((head.hidden or pooled) + classes) * positions,
    )
    side = last.side - window + 1 if boxes is None else last.side
    return Part(name="head", channels=classes, frames=1, side=side, layers=layers, peak=peak)


def _in_boxes(channels: int, side: int, boxes: int) -> list[Layer]:
    """The two products of RoIAlign (`vision.models.roi`), on a map of one frame."""
    rows, columns = product(GRID, side, channels * side), product(channels * GRID, side, GRID)
    return [Layer(0, 0, 0, boxes * one.outputs, boxes * one.macs) for one in (rows, columns)]
