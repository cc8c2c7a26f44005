"""Residual blocks: a module for each block type of `vision.arch.blocks`, which has its costs.

B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autox3d.vision.arch.blocks import INVERTED, Block, BlockStyle, block_type, expands
from autox3d.vision.kernels import backend
from autox3d.vision.models.layers import ConvNorm, Dense, Depthwise, Pointwise
from autox3d.vision.models.norm import BatchNorm

ACTIVATIONS = {"relu": F.relu_, "swish": F.silu}  # in place: batch norm does not need its output


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the whole clip (arXiv:1709.01507)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = Pointwise(channels, hidden, bias=True)
        self.excite = Pointwise(hidden, channels, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Multiplies each channel by its gate: (B, C, T, H, W) -> the same shape."""
        squeeze, excite = self.squeeze, self.excite  # 1x1x1 after a mean: matrices
        hidden = F.linear(backend(x).pooled(x), squeeze.weight.flatten(1), squeeze.bias).relu()
        gate = F.linear(hidden, excite.weight.flatten(1), excite.bias).sigmoid()
        return x * gate[:, :, None, None, None]


class DropConnect(nn.Module):
    """In training, drops a clip's residual branch with probability `rate` (arXiv:1603.09382)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate
        self.uniform: Tensor | None = None  # numbers in [0, 1) of each clip; None: it draws them

    def forward(self, x: Tensor) -> Tensor:
        """Zeroes dropped clips and scales the others by 1 / (1 - rate); (B, C, T, H, W)."""
        if not (self.training and self.rate):
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
        self.first, self.second = ACTIVATIONS[style.first], ACTIVATIONS[style.second]
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
        y = self.first(self.expand(x))
        y = self.second(self.gate(self.depthwise(y)))
        y = self.drop(self.project(y))
        return F.relu_(y.add_(self.shortcut(x)))


class Bottleneck(nn.Module):
    """SlowFast's block: t x 1 x 1, 1 x s x s, squeeze-excite, 1x1x1, add (arXiv:1812.03982)."""

    def __init__(self, block: Block, style: BlockStyle) -> None:
        super().__init__()
        inner, (time, space) = block.inner, block.kernel
        self.first, self.second = ACTIVATIONS[style.first], ACTIVATIONS[style.second]
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
        y = self.first(self.expand(x))
        y = self.second(self.gate(self.space(y)))
        y = self.drop(self.project(y))
        return F.relu_(y.add_(self.shortcut(x)))


class MobileBlock(nn.Module):
    """`ResidualBlock` with a sum only where the shapes agree (arXiv:1801.04381).

    There is no first convolution where it would keep the width. The last scale starts at 0 only
    where there is a sum: a block without one would put out nothing, and never get a gradient.
    """

    def __init__(self, block: Block, style: BlockStyle) -> None:
        super().__init__()
        inner, self.adds = block.inner, block.identity
        self.first, self.second = ACTIVATIONS[style.first], ACTIVATIONS[style.second]
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
        y = x if isinstance(self.expand, nn.Identity) else self.first(self.expand(x))
        y = self.project(self.second(self.gate(self.depthwise(y))))
        return F.relu_(self.drop(y).add_(x) if self.adds else y)


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
