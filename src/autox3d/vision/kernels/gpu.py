"""Convolutions, batch norm and means on a GPU, all in memory of channels last.

Depthwise convolutions take kernels of Triton where they are chosen. The rest is PyTorch's, led to
the kernels that it has for channels last, whose backward passes keep that order.

B clips, C channels in, D channels out, T frames, H x W pixels
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autox3d.vision.kernels import choice, reference
from autox3d.vision.kernels.depthwise import TRITON, Depthwise, depthwise, triton_works


class _BatchNorm(torch.autograd.Function):
    """Batch norm of (B, C, T, H, W) as of (B, C, T*H, W), for which alone there are such kernels.

    Its result is no view to autograd: an activation in place would otherwise copy each gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *rest: Any) -> Tensor:
        mean, variance, momentum, eps = rest
        x = _last(x)
        y, flat = torch.empty_like(x), x.flatten(2, 3)
        kind = torch.promote_types(x.dtype, torch.float32)
        own = [torch.empty_like(weight, dtype=kind) for _ in range(2)]
        how = flat, weight, bias, mean, variance, True, momentum, eps
        out = {"out": y.flatten(2, 3), "save_mean": own[0], "save_invstd": own[1]}
        torch.ops.aten.native_batch_norm.out(*how, **out)
        ctx.save_for_backward(flat, weight, mean, variance, *own)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, *some = ctx.saved_tensors
        grad = _last(grads[0])
        found = torch.ops.aten.native_batch_norm_backward(
            grad.flatten(2, 3), flat, weight, *some, True, ctx.eps, [True, True, True]
        )
        return found[0].view(grad.shape), *found[1:], *[None] * 4


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


class ChunkNorm(torch.autograd.Function):
    """Batch norm of several chunks of equal size by Triton; also their statistics (3, G, C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, clips: int, eps: float) -> Any:
        from autox3d.vision.kernels import triton_norm

        x = _last(x)
        y = torch.empty_like(x)
        found = triton_norm.forward(_chunks(x, clips), weight, bias, eps, _chunks(y, clips))
        ctx.save_for_backward(x, weight, found)
        ctx.clips = clips
        ctx.mark_non_differentiable(found)
        return y, found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from autox3d.vision.kernels import triton_norm

        (x, weight, found), grad = ctx.saved_tensors, _last(grads[0])
        given = _chunks(grad, ctx.clips), _chunks(x, ctx.clips)
        for_x, (for_bias, for_weight) = triton_norm.backward(*given, weight, found)
        size = *x.shape[:1], *x.shape[2:], x.shape[1]
        return for_x.view(size).permute(0, 4, 1, 2, 3), for_weight, for_bias, None, None


def chunk_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None,
    momentum: float,
    clips: int,
    eps: float,
) -> Tensor:
    """Normalises each chunk of `clips` clips by its statistics, all chunks at once.

    By Triton where the run takes its kernels and no chunk is smaller; a compiler fuses the
    operators of the reference by itself.
    """
    by_triton = choice.takes(TRITON, x.device) and len(x) % clips == 0
    if torch.compiler.is_compiling() or not (by_triton and triton_works(x.device)):
        return reference.chunk_norm(x, weight, bias, running, momentum, clips, eps)
    y, found = ChunkNorm.apply(x, weight, bias, clips, eps)
    if running is not None:
        with torch.no_grad():
            mean, _, variance = found.mean(1)
            running[0].lerp_(mean, momentum)
            running[1].lerp_(variance, momentum)
    return y


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    batch: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Batch norm by statistics of the batch, towards which running ones move, or by these."""
    if torch.compiler.is_compiling() or not batch:
        return reference.batch_norm(x, weight, bias, mean, variance, batch, momentum, eps)
    return _BatchNorm.apply(x, weight, bias, mean, variance, momentum, eps)


def pooled(x: Tensor) -> Tensor:
    """The mean over all positions: (B, C, T, H, W) -> (B, C)."""
    return reference.pooled(x) if torch.compiler.is_compiling() else _Mean.apply(x)


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
    """Computes then(convolution + bias + plus); `plus` has the shape of the output."""
    y = convolve(x, weight, bias, stride, groups)
    return reference.ACTIVATIONS[then](y if plus is None else y + plus)


def _chunks(x: Tensor, clips: int) -> Tensor:
    """(B, C, T, H, W) in channels_last_3d -> (chunks, positions, C), the same memory."""
    return x.permute(0, 2, 3, 4, 1).view(len(x) // clips, -1, x.shape[1])


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)
