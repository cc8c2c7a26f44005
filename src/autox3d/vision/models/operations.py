"""The arithmetic of the layers, as functions of their weights.

Modules hold the weights of one network, the supernet slices them out of larger ones; both come
here, so that a path of the supernet and the network of its genotype agree to the last bit.

    B clips, C channels, T frames, H x W pixels; memory is channels_last_3d throughout
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from autox3d.vision.kernels.convolution import convolve


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """1x1x1 convolution: (B, C, T, H, W) with (D, C, 1, 1, 1) -> (B, D, T, H/stride, W/stride)."""
    return convolve(x, weight, bias, stride, groups=1)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """Each channel with a kernel of its own: (B, C, T, H, W) with (C, 1, t, s, s).

    Odd kernels, padded by half; stride over space only.
    """
    return convolve(x, weight, bias, stride, groups=x.shape[1])


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """(B, C, T, H, W) with (D, C, t, s, s); padded by half, stride over space only."""
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(x, weight, bias, (1, stride, stride), padding)


def squeeze_excite(
    x: Tensor, fc1: Tensor, bias1: Tensor | None, fc2: Tensor, bias2: Tensor | None
) -> Tensor:
    """Scales each channel by a gate that sees the whole clip (arXiv:1709.01507).

    Args:
        x: (B, C, T, H, W)
        fc1: (E, C, 1, 1, 1), with its bias (E): squeezes
        fc2: (C, E, 1, 1, 1), with its bias (C): excites
    """
    hidden = F.linear(x.mean((2, 3, 4)), fc1.flatten(1), bias1).relu()
    gate = F.linear(hidden, fc2.flatten(1), bias2).sigmoid()
    return x * gate[:, :, None, None, None]


def reason(states: Tensor, nodes: Tensor, mix: Tensor, bias: Tensor, update: Tensor) -> Tensor:
    """GloRe's middle: positions to a graph, one graph convolution, back (arXiv:1811.12814).

    Args:
        states: (B, L, 2M), what each of L positions says
        nodes: (B, L, M), how much of it each of M nodes hears
        mix: (M, M), between nodes, with its bias (M)
        update: (2M, 2M), between states
    Returns:
        (B, L, 2M), what each position hears back
    """
    graph = states.transpose(1, 2) @ nodes / states.shape[1]  # (B, 2M, M)
    graph = F.relu(graph + F.linear(graph, mix, bias))
    # contiguous: else matmul picks another order of sums where `update` requires no gradient
    return nodes @ F.linear(graph.transpose(1, 2).contiguous(), update)


def window_mean(x: Tensor, window: tuple[int, int, int]) -> Tensor:
    """(B, C, T, H, W) -> the mean at each place of a window of T x H x W cells."""
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:  # for which a CPU has no kernel
        return F.avg_pool3d(x.float(), window, stride=1).to(x.dtype)
    return F.avg_pool3d(x, window, stride=1)


def positions(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B, T*H*W, C), without a copy where memory is channels_last_3d."""
    return x.flatten(2).transpose(1, 2)


def volume(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, T*H*W, C) -> (B, C, T, H, W) in channels_last_3d; the inverse of `positions`."""
    return x.unflatten(1, size).permute(0, 4, 1, 2, 3)
