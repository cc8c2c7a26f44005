"""Batch norm and what follows it on a GPU, in memory of channels last.

B clips, C channels, T frames, H x W pixels, G chunks of clips that share statistics
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autox3d.vision.kernels import reference
from autox3d.vision.kernels.depthwise import by_triton
from autox3d.vision.kernels.reference import channels_last

LIMIT = 2**31  # numbers of a chunk: Triton's kernels count its places in 32 bits


class NativeNorm(torch.autograd.Function):
    """Batch norm of (B, C, T, H, W) as of (B, C, T*H, W), for which alone there are such kernels.

    One call for each chunk of `clips` clips. Its result is no view to autograd: an activation in
    place would otherwise copy each gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *rest: Any) -> Tensor:
        mean, variance, momentum, eps, clips = rest
        x = channels_last(x)
        y, kind = torch.empty_like(x), torch.promote_types(x.dtype, torch.float32)
        chunks = list(zip(_flat(x, clips), _flat(y, clips), strict=True))
        moved = [[of] * len(chunks) for of in (mean, variance)]
        if mean is not None and len(chunks) > 1:
            moved = [list(of.repeat(len(chunks), 1)) for of in (mean, variance)]
        found: list[Tensor] = []
        for (flat, to), *running in zip(chunks, *moved, strict=True):
            own = [torch.empty_like(weight, dtype=kind) for _ in range(2)]
            how = flat, weight, bias, *running, True, momentum, eps
            out = {"out": to, "save_mean": own[0], "save_invstd": own[1]}
            torch.ops.aten.native_batch_norm.out(*how, **out)
            found += own
        if mean is not None and len(chunks) > 1:
            for of, each in zip((mean, variance), moved, strict=True):
                of.copy_(torch.stack(each).mean(0))
        ctx.save_for_backward(x, weight, *found)
        ctx.clips, ctx.eps = clips, eps
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *found = ctx.saved_tensors
        grad, for_x, others = channels_last(grads[0]), [], []
        chunks = zip(_flat(grad, ctx.clips), _flat(x, ctx.clips), strict=True)
        for place, (some, flat) in enumerate(chunks):
            own = found[2 * place : 2 * place + 2]
            result = torch.ops.aten.native_batch_norm_backward(
                some, flat, weight, None, None, *own, True, ctx.eps, [True, True, True]
            )
            for_x.append(result[0])
            others.append(result[1:])
        whole, rest = for_x[0], others[0]
        if len(for_x) > 1:
            whole = torch.cat(for_x)
            rest = [torch.stack(each).sum(0) for each in zip(*others, strict=True)]
        return whole.view(grad.shape), *rest, *[None] * 5


class ChunkNorm(torch.autograd.Function):
    """then(batch norm + plus) of chunks of equal size by Triton; also their statistics (3, G, C).

    With `plus` the activation is ReLU, whose slope is seen in the result.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        plus: Tensor | None,
        clips: int,
        eps: float,
        then: str,
    ) -> Any:
        from autox3d.vision.kernels import triton_norm

        x = channels_last(x)
        y, ctx.clips, ctx.then = torch.empty_like(x), clips, then
        added = None if plus is None else as_rows(channels_last(plus), clips)
        given = as_rows(x, clips), weight, bias, eps, as_rows(y, clips), added, then
        found = triton_norm.forward(*given)
        ctx.save_for_backward(x, weight, bias, found, *([] if plus is None else [y]))
        ctx.mark_non_differentiable(found)
        return y, found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from autox3d.vision.kernels import triton_norm

        x, weight, bias, found, *result = ctx.saved_tensors
        given = (
            as_rows(channels_last(grads[0]), ctx.clips),
            as_rows(x, ctx.clips),
            weight,
            bias,
            found,
        )
        y = as_rows(result[0], ctx.clips) if result else None
        for_x, (for_bias, for_weight), passed = triton_norm.backward(*given, y, ctx.then)
        wide = [None if one is None else as_volume(one, x) for one in (for_x, passed)]
        return wide[0], for_weight, for_bias, wide[1], None, None, None


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
    """Normalises each chunk of `clips` clips by its statistics, then adds and activates.

    By Triton where the run takes its kernels and no chunk is smaller; else chunk by chunk. A
    compiler fuses the operators of the reference by itself.
    """
    if torch.compiler.is_compiling():
        return reference.chunk_norm(x, weight, bias, running, momentum, clips, eps, then, plus)
    if not _by_triton(x, clips):
        y = NativeNorm.apply(x, weight, bias, *(running or (None, None)), momentum, eps, clips)
        return reference.finished(y, then, plus)
    whole = plus is None or then == "relu"  # else what follows has passes of its own
    within = (then, plus) if whole else ("none", None)
    y, found = ChunkNorm.apply(x, weight, bias, within[1], clips, eps, within[0])
    if running is not None:
        from autox3d.vision.kernels import triton_norm

        triton_norm.move(found, *running, momentum)
    return y if whole else reference.finished(y, then, plus)


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    batch: bool,
    momentum: float,
    eps: float,
    then: str = "none",
    plus: Tensor | None = None,
) -> Tensor:
    """Batch norm by statistics of the batch, towards which running ones move, or by these.

    By Triton if something follows, which PyTorch's kernel cannot do in the same pass.
    """
    if torch.compiler.is_compiling() or not batch:
        how = mean, variance, batch, momentum, eps, then, plus
        return reference.batch_norm(x, weight, bias, *how)
    running = None if mean is None or variance is None else (mean, variance)
    if then != "none" and _by_triton(x, len(x)):
        return chunk_norm(x, weight, bias, running, momentum, len(x), eps, then, plus)
    y = NativeNorm.apply(x, weight, bias, mean, variance, momentum, eps, len(x))
    return reference.finished(y, then, plus)


def _by_triton(x: Tensor, clips: int) -> bool:
    """Whether the run takes kernels of Triton, and the chunks are such that they take them."""
    fits = len(x) % clips == 0 and clips * x[0].numel() < LIMIT
    return fits and by_triton(x.device)


def _flat(x: Tensor, clips: int) -> list[Tensor]:
    """Each chunk of (B, C, T, H, W) as (clips, C, T*H, W), the same memory."""
    return list(x.flatten(2, 3).split(clips))


def as_rows(x: Tensor, clips: int = 1) -> Tensor:
    """(B, C, T, H, W) in channels_last_3d -> (B / clips, positions, C), the same memory."""
    return x.permute(0, 2, 3, 4, 1).view(len(x) // clips, -1, x.shape[1])


def as_volume(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `as_rows`."""
    return rows.view(*like.shape[:1], *like.shape[2:], like.shape[1]).permute(0, 4, 1, 2, 3)
