"""Residual blocks: a module for each block type of `vision.arch.blocks`, which has its costs.

B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autox3d.vision.arch.blocks import INVERTED, Block, BlockStyle, block_type
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
        hidden = F.linear(x.mean((2, 3, 4)), squeeze.weight.flatten(1), squeeze.bias).relu()
        gate = F.linear(hidden, excite.weight.flatten(1), excite.bias).sigmoid()
        return x * gate[:, :, None, None, None]


class DropConnect(nn.Module):
    """In training, drops a clip's residual branch with probability `rate` (arXiv:1603.09382)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Zeroes dropped clips and scales the others by 1 / (1 - rate); (B, C, T, H, W)."""
        if not (self.training and self.rate):
            return x
        kept = torch.rand(x.shape[0], 1, 1, 1, 1, device=x.device) >= self.rate
        return x * (kept / (1 - self.rate)).to(x.dtype)


class ResidualBlock(nn.Module):
    """X3D's block: expand, depthwise t x s x s, squeeze-excite, project, add (X3D, Table 1)."""

    def __init__(self, block: Block, style: BlockStyle) -> None:
        super().__init__()
        inner, self.style = block.inner, style
        self.first, self.second = ACTIVATIONS[style.first], ACTIVATIONS[style.second]
        self.expand = ConvNorm(Pointwise(block.channels_in, inner), BatchNorm(inner))
        self.depthwise = ConvNorm(
            Depthwise(inner, block.kernel, block.stride)
            if style.depthwise
            else Dense(inner, inner, block.kernel, block.stride),
            BatchNorm(inner),
        )
        self.gate = SqueezeExcite(inner, block.gate) if block.gate else nn.Identity()
        self.project = ConvNorm(
            Pointwise(inner, block.channels), BatchNorm(block.channels, gamma=0.0)
        )
        self.shortcut = (
            nn.Identity()
            if block.identity
            else ConvNorm(
                Pointwise(block.channels_in, block.channels, stride=block.stride),
                BatchNorm(block.channels),
            )
        )
        self.drop = DropConnect()

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block: (B, C, T, H, W) -> (B, channels, T, H/stride, W/stride)."""
        y = self.first(self.expand(x))
        y = self.second(self.gate(self.depthwise(y)))
        y = self.drop(self.project(y))
        return F.relu_(y.add_(self.shortcut(x)))


BLOCKS: dict[str, type[nn.Module]] = {INVERTED: ResidualBlock}


def block(row: Block, style: BlockStyle) -> nn.Module:
    """Builds the module of a block, of the class for its type.

    Raises:
        ValueError: there is no such type.
    """
    block_type(row.type)
    return BLOCKS[row.type](row, style)
