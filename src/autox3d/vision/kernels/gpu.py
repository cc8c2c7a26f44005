"""Convolutions and means on a GPU, all in memory of channels last; for norms, see `gpu_norm`.

Depthwise convolutions take kernels of Triton where they are chosen. The rest is PyTorch's, led to
the kernels that it has for channels last, whose backward passes keep that order.

B clips, C channels in, D channels out, T frames, H x W pixels
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autox3d.vision.kernels import gpu_norm, reference
from autox3d.vision.kernels.depthwise import Depthwise, by_triton, convolved, depthwise
from autox3d.vision.kernels.gpu_norm import as_rows, as_volume
from autox3d.vision.kernels.reference import channels_last

batch_norm, chunk_norm = gpu_norm.batch_norm, gpu_norm.chunk_norm


class _Mean(torch.autograd.Function):
    """The mean over all positions, whose gradient is one number for each channel, not a tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.mean((2, 3, 4))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        share = grads[0] / ctx.shape[2:].numel()
        return share[:, :, None, None, None].expand(ctx.shape)


def pooled(x: Tensor) -> Tensor:
    """The mean over all positions: (B, C, T, H, W) -> (B, C)."""
    return reference.pooled(x) if torch.compiler.is_compiling() else _Mean.apply(x)


class Gated(torch.autograd.Function):
    """then(x * gate) by Triton, of (B, C, T, H, W) and (B, C); x alone is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, then: str) -> Tensor:
        from autox3d.vision.kernels import triton_elementwise

        x, ctx.then = channels_last(x), then
        ctx.save_for_backward(x, gate)
        return as_volume(triton_elementwise.gated(as_rows(x), gate, then), x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from autox3d.vision.kernels import triton_elementwise

        x, gate = ctx.saved_tensors
        given = as_rows(channels_last(grads[0])), as_rows(x), gate, ctx.then
        for_x, for_gate = triton_elementwise.gated_backward(*given)
        return as_volume(for_x, x), for_gate, None


def gated(x: Tensor, gate: Tensor, then: str) -> Tensor:
    """Computes then(x * gate), of (B, C, T, H, W) and (B, C); in one pass where by Triton."""
    if torch.compiler.is_compiling() or not by_triton(x.device):
        return reference.gated(x, gate, then)
    return Gated.apply(x, gate, then)


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
    traced = torch.compiler.is_compiling()
    y = depthwise(x, weight, stride) if traced else Depthwise.apply(x, weight, stride)
    return y if bias is None else y + bias.to(y.dtype).view(-1, 1, 1, 1)


def fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    groups: int,
    then: str,
    plus: Tensor | None,
) -> Tensor:
    """Computes then(convolution + bias + plus); `plus` has the shape of the output.

    A depthwise convolution adds its bias and activates in the pass that computes it; of 1x1x1, the
    matrix product adds the bias, and what is left has one pass of Triton's.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled():  # a compiler fuses by itself
        y = convolve(x, weight, bias, stride, groups)
        return reference.ACTIVATIONS[then](y if plus is None else y + plus)
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    if groups > 1 and bias is not None:
        within = then if plus is None else "none"
        y = convolved(x, weight, stride, bias, within)
        return y if plus is None else _finished(y, None, plus, then)
    if weight.shape[2:].numel() == 1 and bias is not None:
        relu = then == "relu" and plus is None
        y = _product(x, weight.to(x.dtype), bias.to(x.dtype), stride, relu)
        return y if relu else _finished(y, None, plus, then)
    y = reference.convolve(x, weight.to(x.dtype), None, stride, groups)
    return _finished(channels_last(y), bias, plus, then)


def _product(x: Tensor, weight: Tensor, bias: Tensor, stride: int, relu: bool) -> Tensor:
    """A 1x1x1 convolution as a matrix product, whose kernel adds the bias and perhaps activates."""
    rows = channels_last(x[..., ::stride, ::stride]).permute(0, 2, 3, 4, 1)
    given = bias, rows.reshape(-1, x.shape[1]), weight.flatten(1).t()
    y = torch.ops.aten._addmm_activation(*given) if relu else torch.addmm(*given)
    return y.view(*rows.shape[:-1], len(weight)).permute(0, 4, 1, 2, 3)


def _finished(y: Tensor, bias: Tensor | None, plus: Tensor | None, then: str) -> Tensor:
    """Computes then(y + bias + plus) in the memory of y, in one pass where Triton's are taken."""
    if bias is None and plus is None and then == "none":
        return y
    if by_triton(y.device):
        from autox3d.vision.kernels import triton_elementwise

        return triton_elementwise.finish(y, bias, plus, then)
    if bias is not None:
        y += bias.to(y.dtype).view(-1, 1, 1, 1)
    return reference.finished(y, then, plus)
