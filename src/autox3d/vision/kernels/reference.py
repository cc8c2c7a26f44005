"""Convolutions and batch norm by PyTorch's operators, for every device and type, and compilers.

B clips, C channels in, D channels out, T frames, H x W pixels
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS = {"none": lambda y: y, "relu": F.relu, "swish": F.silu}  # keyed by oneDNN's names


def _swish_in_place(y: Tensor) -> Tensor:
    """A gradient needs what is activated, so only without one."""
    return F.silu(y, inplace=not torch.is_grad_enabled())


# Where nothing else needs what is activated
IN_PLACE = {**ACTIVATIONS, "relu": F.relu_, "swish": _swish_in_place}


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
    """Convolves (B, C, T, H, W) with (D, C/groups, t, s, s) -> (B, D, T, H/stride, W/stride).

    The kernel may have any size; the padding is half of it.
    """
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(x, weight, bias, (1, stride, stride), padding, 1, groups)


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
    return ACTIVATIONS[then](y if plus is None else y + plus)


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
    """Batch norm by statistics of the batch, towards which running ones move, or by these."""
    y = F.batch_norm(x, mean, variance, weight, bias, batch, momentum, eps)
    return finished(y, then, plus)


def finished(y: Tensor, then: str, plus: Tensor | None) -> Tensor:
    """Computes then(y + plus), in the memory of y; a norm or convolution does not need its result.

    Args:
        then: a key of `ACTIVATIONS`
        plus: of the shape of y, or None
    """
    return IN_PLACE[then](y if plus is None else y.add_(plus))


def channels_last(x: Tensor) -> Tensor:
    """The same numbers in channels_last_3d; a copy only where they are not."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def gated(x: Tensor, gate: Tensor, then: str) -> Tensor:
    """Computes then(x * gate), of (B, C, T, H, W) and (B, C)."""
    return IN_PLACE[then](x * gate[:, :, None, None, None])


def pooled(x: Tensor) -> Tensor:
    """The mean over all positions: (B, C, T, H, W) -> (B, C)."""
    return x.mean((2, 3, 4))


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
    """Normalises each chunk of `clips` clips by its statistics, all chunks at once.

    The number of operations does not depend on the number of chunks. A last chunk that is smaller
    is normalised by itself; the running statistics move by the mean over the chunks.
    """
    whole = len(x) // clips * clips
    done, moments = [], []
    for part, size in ((x[:whole], clips), (x[whole:], len(x) - whole)):
        if len(part):
            y, *some = _grouped(part, weight, bias, size, eps)
            done.append(y)
            moments.append(some)
    if running is not None:
        with torch.no_grad():
            for of, found in zip(running, zip(*moments, strict=True), strict=True):
                of.lerp_(torch.cat(found).mean(0), momentum)
    return finished(done[0] if len(done) == 1 else torch.cat(done), then, plus)


def _grouped(
    x: Tensor, weight: Tensor, bias: Tensor, clips: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalises G chunks of equal size; returns their means and unbiased variances, (G, C)."""
    rows = x.permute(0, 2, 3, 4, 1)  # a view of the same order as memory in channels_last_3d
    wide = rows.reshape(len(x) // clips, -1, x.shape[1])
    wide = wide.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, 1, correction=0, keepdim=True)
    y = (wide - mean) * (torch.rsqrt(variance + eps) * weight) + bias
    count = wide.shape[1]
    unbiased = variance.detach().squeeze(1) * (count / (count - 1))
    y = y.to(x.dtype).view(rows.shape).permute(0, 4, 1, 2, 3)
    return y, mean.detach().squeeze(1), unbiased
