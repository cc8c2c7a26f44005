"""A network's cost, computed from its genotype: parameters, multiply-adds, activations, memory.

A multiply-add is one multiplication and one addition in a convolution, a linear layer or an
attention unit's matrix product, for one clip; the papers call them "FLOPs". Norms, activations,
pools and the shortcut's sum are not counted. One convention in use also counts 5 operations for
each output element of a batch norm.

    C channels, T frames, S px a side, L = T*S*S positions, M nodes of GloRe
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from autox3d.vision.arch.account import Layer, conv, product
from autox3d.vision.arch.blocks import block_type
from autox3d.vision.arch.genotype import Genotype, Stem, Stream
from autox3d.vision.arch.units import unit

BATCH_NORM = 5  # operations per element, in the convention that counts them
BYTES = 4  # size of a float32
GRID = 7  # bins of a box along an axis, as in SlowFast


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One line of the cost account: the stem, a group of blocks with attention, or the head."""

    name: str
    channels: int  # channels out
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

    None means the genotype's own size. The head's pooling window is that of the genotype's
    training crop, so a larger clip has several positions.

    Args:
        boxes: of a clip, which the head has in the place of these positions; None: it has none

    Raises:
        ValueError: there are no boxes, and the crop leaves fewer pixels before the head than its
            window has.
    """
    frames, crop = frames or genotype.input.frames, crop or genotype.input.crop
    parts = [part for stream in genotype.streams for part in _parts(genotype, stream, frames, crop)]
    head = _head(genotype, classes, frames, parts[-1], boxes)
    return Cost(frames=frames, crop=crop, classes=classes, parts=(*parts, head))


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
    stem = _stem(stream.stem, frames, crop)
    yield stem
    yield from _groups(genotype, stream, frames, stem.side)


def _stem(stem: Stem, frames: int, crop: int) -> Part:
    channels, kernel = stem.channels, stem.temporal_kernel
    side = math.ceil(crop / 2)
    cells = frames * side**2
    clip = 3 * frames * crop**2
    space = conv(3 * 9, channels, cells, norm=kernel == 1)
    layers = (space,) if kernel == 1 else (space, conv(kernel, channels, cells, norm=True))
    peak = max(clip, channels * cells) + channels * cells
    return Part(name="stem", channels=channels, side=side, layers=layers, peak=peak)


def _groups(genotype: Genotype, stream: Stream, frames: int, side: int) -> Iterator[Part]:
    blocks, nodes = genotype.blocks_of(stream), genotype.attention.nodes
    for row, group in enumerate(stream.groups):
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
        name = f"group {row + 1}"
        yield Part(name=name, channels=group.channels, side=side, layers=tuple(layers), peak=peak)


def _head(genotype: Genotype, classes: int, frames: int, last: Part, boxes: int | None) -> Part:
    head, window = genotype.head, genotype.pool
    if boxes is None and last.side < window:
        raise ValueError(
            f"the crop leaves {last.side} px before the head, less than its window of {window}: "
            f"it must be no smaller than the training crop, {genotype.input.crop}"
        )
    cells, windows = frames * last.side**2, (last.side - window + 1) ** 2
    positions = windows if boxes is None else boxes
    pools = [] if boxes is None else _in_boxes(head.channels, last.side, boxes)
    hidden = (conv(head.channels, head.hidden, positions),) if head.hidden else ()
    layers = (
        conv(last.channels, head.channels, cells, norm=True),
        *pools,
        *hidden,
        conv(head.hidden or head.channels, classes, positions, bias=True),
    )
    peak = max(
        (last.channels + head.channels) * cells,
        ((head.hidden or head.channels) + classes) * positions,
    )
    side = last.side - window + 1 if boxes is None else last.side
    return Part(name="head", channels=classes, side=side, layers=layers, peak=peak)


def _in_boxes(channels: int, side: int, boxes: int) -> list[Layer]:
    """The two products of RoIAlign (`vision.models.roi`), on a map of one frame."""
    rows, columns = product(GRID, side, channels * side), product(channels * GRID, side, GRID)
    return [Layer(0, 0, 0, boxes * one.outputs, boxes * one.macs) for one in (rows, columns)]
