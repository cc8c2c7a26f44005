"""Residual blocks: a module for each block type of `vision.arch.blocks`, which has its costs.

B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autox3d.vision.arch.blocks import INVERTED, Block, BlockStyle, block_type, expands
from autox3d.vision.kernels import backend, reference
from autox3d.vision.models.layers import ConvNorm, Dense, Depthwise, Pointwise
from autox3d.vision.models.norm import BatchNorm


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the whole clip (arXiv:1709.01507)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = Pointwise(channels, hidden, bias=True)
        self.excite = Pointwise(hidden, channels, bias=True)

    def forward(self, x: Tensor, then: str = "none") -> Tensor:
        """Multiplies each channel by its gate, and activates: (B, C, T, H, W) -> the same shape."""
        squeeze, excite = self.squeeze, self.excite  # 1x1x1 after a mean: matrices
        hidden = F.linear(backend(x).pooled(x), squeeze.weight.flatten(1), squeeze.bias).relu()
        gate = F.linear(hidden, excite.weight.flatten(1), excite.bias).sigmoid()
        return backend(x).gated(x, gate, then)


class DropConnect(nn.Module):
    """In training, drops a clip's residual branch with probability `rate` (arXiv:1603.09382)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate
        self.uniform: Tensor | None = None  # numbers in [0, 1) of each clip; None: it draws them

    @property
    def drops(self) -> bool:
        """Whether it changes anything."""
        return self.training and self.rate > 0

    def forward(self, x: Tensor) -> Tensor:
        """Zeroes dropped clips and scales the others by 1 / (1 - rate); (B, C, T, H, W)."""
        if not self.drops:
            return x
        if self.uniform is None:
            uniform = torch.rand(x.shape[0], 1, 1, 1, 1, device=x.device)
        else:
            uniform = self.uniform[: len(x)]
        return x * ((uniform >= self.rate) / (1 - self.rate)).to(x.dtype)


class ResidualBlock(nn.Module):
    """X3D's block: expand, depthwise t x s x s, squeeze-excite, project, add (X3D, Table 1)."""

    def __init__(self, block: Block, style: BlockStyle) -> None:
        super().__init__()
        inner, self.style = block.inner, style
        self.expand = ConvNorm(Pointwise(block.channels_in, inner), BatchNorm(inner))
        self.depthwise = _middle(inner, block.kernel, block.stride, style)
        self.gate = SqueezeExcite(inner, block.gate) if block.gate else nn.Identity()
        self.project = ConvNorm(
            Pointwise(inner, block.channels), BatchNorm(block.channels, gamma=0.0)
        )
        self.shortcut = _shortcut(block)
        self.drop = DropConnect()

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block: (B, C, T, H, W) -> (B, channels, T, H/stride, W/stride)."""
        y = self.expand(x, self.style.first)
        y = _gated(self.depthwise, self.gate, y, self.style.second)
        return _added(self.project, self.drop, y, self.shortcut(x))


class Bottleneck(nn.Module):
    """SlowFast's block: t x 1 x 1, 1 x s x s, squeeze-excite, 1x1x1, add (arXiv:1812.03982)."""

    def __init__(self, block: Block, style: BlockStyle) -> None:
        super().__init__()
        inner, (time, space) = block.inner, block.kernel
        self.style = style
        self.expand = ConvNorm(Dense(block.channels_in, inner, (time, 1)), BatchNorm(inner))
        self.space = _middle(inner, (1, space), block.stride, style)
        self.gate = SqueezeExcite(inner, block.gate) if block.gate else nn.Identity()
        self.project = ConvNorm(
            Pointwise(inner, block.channels), BatchNorm(block.channels, gamma=0.0)
        )
        self.shortcut = _shortcut(block)
        self.drop = DropConnect()

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block: (B, C, T, H, W) -> (B, channels, T, H/stride, W/stride)."""
        y = self.expand(x, self.style.first)
        y = _gated(self.space, self.gate, y, self.style.second)
        return _added(self.project, self.drop, y, self.shortcut(x))


class MobileBlock(nn.Module):
    """`ResidualBlock` with a sum only where the shapes agree (arXiv:1801.04381).

    There is no first convolution where it would keep the width. The last scale starts at 0 only
    where there is a sum: a block without one would put out nothing, and never get a gradient.
    """

    def __init__(self, block: Block, style: BlockStyle) -> None:
        super().__init__()
        inner, self.adds, self.style = block.inner, block.identity, style
        self.expand = (
            ConvNorm(Pointwise(block.channels_in, inner), BatchNorm(inner))
            if expands(block)
            else nn.Identity()
        )
        self.depthwise = _middle(inner, block.kernel, block.stride, style)
        self.gate = SqueezeExcite(inner, block.gate) if block.gate else nn.Identity()
        self.project = ConvNorm(
            Pointwise(inner, block.channels),
            BatchNorm(block.channels, gamma=0.0 if self.adds else 1.0),
        )
        self.drop = DropConnect()

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block: (B, C, T, H, W) -> (B, channels, T, H/stride, W/stride)."""
        y = x if isinstance(self.expand, nn.Identity) else self.expand(x, self.style.first)
        y = _gated(self.depthwise, self.gate, y, self.style.second)
        return _added(self.project, self.drop, y, x) if self.adds else self.project(y, "relu")


def _gated(middle: ConvNorm, gate: nn.Module, x: Tensor, then: str) -> Tensor:
    """The middle convolution, the gate if there is one, and the activation behind both."""
    return middle(x, then) if isinstance(gate, nn.Identity) else gate(middle(x), then)


def _added(project: ConvNorm, drop: DropConnect, x: Tensor, shortcut: Tensor) -> Tensor:
    """The last convolution of a branch, the sum with the shortcut, and ReLU."""
    if drop.drops:
        return reference.finished(drop(project(x)), "relu", shortcut)
    return project(x, "relu", shortcut)


def _middle(channels: int, kernel: tuple[int, int], stride: int, style: BlockStyle) -> ConvNorm:
    """The middle convolution, channel by channel or dense as the style has it."""
    conv = (
        Depthwise(channels, kernel, stride)
        if style.depthwise
        else Dense(channels, channels, kernel, stride)
    )
    return ConvNorm(conv, BatchNorm(channels))


def _shortcut(block: Block) -> nn.Module:
    """The identity, or a strided 1x1x1 convolution."""
    if block.identity:
        return nn.Identity()
    conv = Pointwise(block.channels_in, block.channels, stride=block.stride)
    return ConvNorm(conv, BatchNorm(block.channels))


BLOCKS: dict[str, type[nn.Module]] = {
    INVERTED: ResidualBlock,
    "bottleneck": Bottleneck,
    "mobile": MobileBlock,
}


def block(row: Block, style: BlockStyle) -> nn.Module:
    """Builds the module of a block, of the class for its type.

    Raises:
        ValueError: there is no such type.
    """
    block_type(row.type)
    return BLOCKS[row.type](row, style)
