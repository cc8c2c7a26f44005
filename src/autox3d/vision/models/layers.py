"""Convolutions, each a layer with one weight; and with the batch norm that follows.

B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autox3d.vision.kernels import backend, reference
from autox3d.vision.models.norm import BatchNorm


class Pointwise(nn.Module):
    """1x1x1 convolution: a matrix product at each position."""

    def __init__(
        self, channels_in: int, channels: int, *, bias: bool = False, stride: int = 1
    ) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, channels_in, 1, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, channels, T, H/stride, W/stride)."""
        return self.convolve(x, self.weight, self.bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`forward` with other weights."""
        return backend(x).convolve(x, weight, bias, self.stride, groups=1)


class Depthwise(nn.Module):
    """t x s x s convolution of each channel by itself, no bias, padded by half."""

    def __init__(self, channels: int, kernel: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        time, space = kernel
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, 1, time, space, space))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T, H/stride, W/stride)."""
        return self.convolve(x, self.weight, None)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`forward` with other weights."""
        return backend(x).convolve(x, weight, bias, self.stride, groups=x.shape[1])


class Dense(nn.Module):
    """t x s x s convolution over all channels, no bias, padded by half."""

    def __init__(
        self, channels_in: int, channels: int, kernel: tuple[int, int], stride: int = 1
    ) -> None:
        super().__init__()
        time, space = kernel
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, channels_in, time, space, space))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, channels, T, H/stride, W/stride)."""
        return self.convolve(x, self.weight, None)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`forward` with other weights."""
        return reference.convolve(x, weight, bias, self.stride, groups=1)


class ConvNorm(nn.Module):
    """A convolution without bias, and batch norm."""

    def __init__(self, conv: Pointwise | Depthwise | Dense, norm: BatchNorm) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> as the convolution; in evaluation its weights carry the norm."""
        if self.training:
            return self.norm(self.conv(x))
        scale, shift = self.norm.affine()
        return self.conv.convolve(x, self.conv.weight * scale.view(-1, 1, 1, 1, 1), shift)
