"""Convolution layers, each with one weight, and `ConvNorm`, a convolution with batch norm.

B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autox3d.vision.kernels import backend, reference
from autox3d.vision.models.norm import BatchNorm


class Pointwise(nn.Module):
    """A 1x1x1 convolution: a matrix product at each position."""

    def __init__(
        self, channels_in: int, channels: int, *, bias: bool = False, stride: int = 1
    ) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, channels_in, 1, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (B, C, T, H, W) -> (B, channels, T, H/stride, W/stride)."""
        return self.convolve(x, self.weight, self.bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolves with the given weight and bias in place of the layer's own."""
        return backend(x).convolve(x, weight, bias, self.stride, groups=1)


class Depthwise(nn.Module):
    """A depthwise t x s x s convolution without bias, with padding of half the kernel."""

    def __init__(self, channels: int, kernel: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        time, space = kernel
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, 1, time, space, space))

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (B, C, T, H, W) -> (B, C, T, H/stride, W/stride)."""
        return self.convolve(x, self.weight, None)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolves with the given weight and bias in place of the layer's own."""
        return backend(x).convolve(x, weight, bias, self.stride, groups=x.shape[1])


class Dense(nn.Module):
    """A dense t x s x s convolution without bias, with padding of half the kernel."""

    def __init__(
        self, channels_in: int, channels: int, kernel: tuple[int, int], stride: int = 1
    ) -> None:
        super().__init__()
        time, space = kernel
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, channels_in, time, space, space))

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (B, C, T, H, W) -> (B, channels, T, H/stride, W/stride)."""
        return self.convolve(x, self.weight, None)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolves with the given weight and bias in place of the layer's own."""
        return reference.convolve(x, weight, bias, self.stride, groups=1)


class TimeStrided(nn.Module):
    """A dense t x 1 x 1 convolution without bias, whose stride is over time."""

    def __init__(self, channels: int, time: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, channels, time, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (B, C, T, H, W) -> (B, C, T/stride, H, W), with padding of half the kernel."""
        padding = self.weight.shape[2] // 2
        return F.conv3d(x, self.weight, None, (self.stride, 1, 1), (padding, 0, 0))


class ConvNorm(nn.Module):
    """A convolution without bias, followed by batch norm."""

    def __init__(self, conv: Pointwise | Depthwise | Dense, norm: BatchNorm) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor, then: str = "none", plus: Tensor | None = None) -> Tensor:
        """Computes then(norm of the convolution + plus).

        In evaluation, the norm is folded into the convolution.
        """
        if self.training:
            return self.norm(self.conv(x), then, plus)
        scale, shift = self.norm.affine()
        y = self.conv.convolve(x, self.conv.weight * scale.view(-1, 1, 1, 1, 1), shift)
        return reference.finished(y, then, plus)
