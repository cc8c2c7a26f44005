"""Convolutions on a CPU by oneDNN, and batch norm by PyTorch, chunk by chunk.

PyTorch is slower in two cases: with one thread it uses a slow kernel for 1x1x1, and it computes
the input gradient of a depthwise convolution as if the convolution were dense. That gradient is
itself a forward convolution of the output's gradient with the flipped kernel. For the gradient of
a depthwise weight there are several kernels, of which `choice` takes one.

    B clips, C channels in, D channels out, T frames, H x W pixels
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from autox3d.core.device_table import REFERENCE
from autox3d.vision.kernels import frames, reference
from autox3d.vision.kernels.choice import chosen

batch_norm, pooled, gated = reference.batch_norm, reference.pooled, reference.gated


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
    """Convolves (B, C, T, H, W) with (D, C/groups, t, s, s) -> (B, D, T, H/stride, W/stride).

    The padding is half the kernel. Either `groups` equals C and D, or it is 1 and the kernel is
    1x1x1.
    """
    if torch.is_grad_enabled():
        return _Convolution.apply(x, weight, bias, stride, groups)
    return _forward(x, weight, bias, stride, groups)


def fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    groups: int,
    then: str,
    plus: Tensor | None,
) -> Tensor:
    """Computes then(convolution + bias + plus) in one pass over memory.

    If gradients are enabled, or oneDNN does not support the type, the `reference` backend computes
    it.
    """
    if torch.is_grad_enabled() or not _fuses(x.dtype):
        return reference.fused(x, weight, bias, stride, groups, then, plus)
    padding = [size // 2 for size in weight.shape[2:]]
    parts = (weight, bias, padding, (1, stride, stride), (1, 1, 1), groups)
    operator = torch.ops.mkldnn._convolution_pointwise
    if plus is None:
        return operator(x, *parts, then, [], None)
    return operator.binary(x, plus, *parts, "add", 1.0, then, [], None)


def chunk_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None,
    momentum: float,
    clips: int,
    eps: float,
    then: str = "none",
    plus: Tensor | None = None,
) -> Tensor:
    """Normalises each chunk of `clips` clips by its statistics, one after the other."""
    chunks = x.split(clips)
    if running is None:
        done = [F.batch_norm(c, None, None, weight, bias, True, 0.0, eps) for c in chunks]
        return reference.finished(done[0] if len(done) == 1 else torch.cat(done), then, plus)
    means, variances = (of.repeat(len(chunks), 1) for of in running)
    done = [
        F.batch_norm(chunk, mean, variance, weight, bias, True, momentum, eps)
        for chunk, mean, variance in zip(chunks, means, variances, strict=True)
    ]
    with torch.no_grad():
        for of, moved in zip(running, (means, variances), strict=True):
            of.copy_(moved.mean(0))
    return reference.finished(torch.cat(done), then, plus)


def _fuses(dtype: torch.dtype) -> bool:
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32 and torch.backends.mkldnn.is_available()


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
    if x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        padding, strides = [size // 2 for size in weight.shape[2:]], (1, stride, stride)
        return torch.mkldnn_convolution(x, weight, bias, padding, strides, (1, 1, 1), groups)
    return reference.convolve(x, weight, bias, stride, groups)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
        return _forward(x, weight, bias, stride, groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.stride, ctx.groups = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        for_x, for_weight, for_bias, _, _ = ctx.needs_input_grad
        return (
            _input_gradient(grad, x, weight, ctx.stride, ctx.groups) if for_x else None,
            _weight_gradient(grad, x, weight, ctx.stride, ctx.groups) if for_weight else None,
            grad.sum((0, 2, 3, 4)) if for_bias else None,
            None,
            None,
        )


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    """The gradient of the input: (B, D, T, H/stride, W/stride) -> (B, C, T, H, W)."""
    if groups == 1:
        return _spread(_forward(grad, weight.transpose(0, 1), None, 1, 1), x, stride)
    return _forward(_spread(grad, x, stride), weight.flip(2, 3, 4), None, 1, groups)


def _spread(small: Tensor, x: Tensor, stride: int) -> Tensor:
    """Enlarges `small` to the size of `x`, with zeros at the pixels that the stride skipped."""
    if stride == 1:
        return small
    size = (*small.shape[:2], *x.shape[2:])
    like = {"dtype": small.dtype, "device": small.device}
    large = torch.empty(size, **like, memory_format=torch.channels_last_3d).zero_()
    large[..., ::stride, ::stride] = small
    return large


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    """The gradient of the weight: (D, C/groups, t, s, s)."""
    if groups == 1 and torch.get_num_threads() == 1:  # PyTorch's kernel is slow here
        rows = grad.movedim(1, -1).flatten(0, 3)  # (B*T*H*W, D)
        seen = x[..., ::stride, ::stride].movedim(1, -1).flatten(0, 3)  # (B*T*H*W, C)
        return (rows.T @ seen).view_as(weight)
    if groups > 1:
        return WEIGHT_GRADIENTS[chosen("weight_gradient", x, weight, stride)](
            grad, x, weight, stride
        )
    return _by_onednn(grad, x, weight, stride)


def _by_onednn(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of the weight by oneDNN, dense or depthwise."""
    padding = [size // 2 for size in weight.shape[2:]]
    strides, dilation, none = (1, stride, stride), (1, 1, 1), (0, 0, 0)
    groups, only = x.shape[1] // weight.shape[1], (False, True, False)
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, strides, padding, dilation, False, none, groups, only
    )[1]


# Of a depthwise convolution; the first is preferred, the others where a table has them.
WEIGHT_GRADIENTS = {
    REFERENCE: _by_onednn,
    "frames": frames.all_clips,
    "frames of a clip": frames.each_clip,
}
