"""Convolutions by PyTorch's operators, for every device and type, exporters and compilers.

B clips, C channels in, D channels out, T frames, H x W pixels
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS = {"none": lambda y: y, "relu": F.relu, "swish": F.silu}  # keyed by oneDNN's names


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
    """Convolves (B, C, T, H, W) with (D, C/groups, t, s, s) -> (B, D, T, H/stride, W/stride).

    The kernel may have any size; the padding is half of it.
    """
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(x, weight, bias, (1, stride, stride), padding, 1, groups)


def fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int,
    groups: int,
    then: str,
    plus: Tensor | None,
) -> Tensor:
    """Computes then(convolution + bias + plus); `plus` has the shape of the output."""
    y = convolve(x, weight, bias, stride, groups)
    return ACTIVATIONS[then](y if plus is None else y + plus)
