"""Convolutions on a GPU where kernels of Triton were chosen; the rest is PyTorch's.

B clips, C channels in, D channels out, T frames, H x W pixels
"""

from __future__ import annotations

import torch
from torch import Tensor

from autox3d.vision.kernels import reference
from autox3d.vision.kernels.depthwise import depthwise

chunk_norm = reference.chunk_norm


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
    """Convolves (B, C, T, H, W) with (D, C/groups, t, s, s) -> (B, D, T, H/stride, W/stride).

    Under autocast the input of a depthwise convolution is cast as PyTorch would; its weight stays
    as it is, since sums are in float32.
    """
    if groups == 1:
        return reference.convolve(x, weight, bias, stride, groups)
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    y = depthwise(x, weight, stride)
    return y if bias is None else y + bias.to(y.dtype).view(-1, 1, 1, 1)


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
    return reference.ACTIVATIONS[then](y if plus is None else y + plus)
