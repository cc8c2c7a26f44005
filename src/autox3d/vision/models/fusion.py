"""Fusions of two streams: a module for each kind of `vision.arch.fusions`, which has their costs.

B clips, C_D channels and T_D frames of the dense stream, C_S and T_S of the sparse one,
alpha = T_D / T_S, H x W pixels
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autox3d.vision.arch.fusions import REACH, SKIP, fusion
from autox3d.vision.models.layers import ConvNorm, Pointwise, TimeStrided
from autox3d.vision.models.norm import BatchNorm


class TimeConvolution(nn.Module):
    """5x1x1 convolution with stride alpha over time, 1x1x1, batch norm, ReLU."""

    def __init__(self, dense: int, sparse: int, alpha: int) -> None:
        super().__init__()
        self.time = TimeStrided(dense, REACH, alpha)
        self.point = _point(dense, sparse)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_D, T_D, H, W) -> (B, C_S, T_S, H, W)."""
        return self.point(self.time(x), "relu")


class TimeSampling(nn.Module):
    """Every alpha-th frame, 1x1x1, batch norm, ReLU."""

    def __init__(self, dense: int, sparse: int, alpha: int) -> None:
        super().__init__()
        self.alpha = alpha
        self.point = _point(dense, sparse)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_D, T_D, H, W) -> (B, C_S, T_S, H, W)."""
        some = x[:, :, :: self.alpha].contiguous(memory_format=torch.channels_last_3d)
        return self.point(some, "relu")


class TimeToChannel(nn.Module):
    """The alpha frames of each sparse frame side by side as channels, 1x1x1, batch norm, ReLU.

    Channel c of frame a becomes channel alpha * c + a, so that the channels of a narrower dense
    stream stay together.
    """

    def __init__(self, dense: int, sparse: int, alpha: int) -> None:
        super().__init__()
        self.alpha = alpha
        self.point = _point(alpha * dense, sparse)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_D, T_D, H, W) -> (B, C_S, T_S, H, W)."""
        frames = x.unflatten(2, (-1, self.alpha)).permute(0, 2, 4, 5, 1, 3)
        side_by_side = frames.flatten(4).movedim(4, 1)  # (B, alpha * C_D, T_S, H, W)
        return self.point(side_by_side, "relu")


def _point(channels_in: int, channels: int) -> ConvNorm:
    return ConvNorm(Pointwise(channels_in, channels), BatchNorm(channels))


FUSIONS: dict[str, type[nn.Module]] = {
    "conv": TimeConvolution,
    "sample": TimeSampling,
    "channels": TimeToChannel,
}


def fusing(kind: str, dense: int, sparse: int, alpha: int) -> nn.Module:
    """Builds the module of a fusion; that of `skip` is never called.

    Raises:
        ValueError: there is no such kind.
    """
    fusion(kind)
    return nn.Identity() if kind == SKIP else FUSIONS[kind](dense, sparse, alpha)
