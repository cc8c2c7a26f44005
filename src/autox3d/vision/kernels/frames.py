"""The weight's gradient of a depthwise 3-D convolution as 2-D ones over frames.

oneDNN has a fast kernel for the 2-D gradient on every instruction set. For the 3-D one it has none:
with AVX-512 it computes the gradient of a dense convolution of 16 channels and keeps a sixteenth,
with AVX2 it unfolds channel by channel and multiplies matrices. A tap of time is a shift by whole
frames, so each is one 2-D gradient over all pairs of frames that the tap joins.

    B clips, C channels, T frames, H x W pixels, N = B x T
"""

from __future__ import annotations

import torch
from torch import Tensor


def all_clips(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient (C, 1, t, s, s) by one call a tap of time, over the frames of all clips.

    A shift joins the last frames of a clip with the first of the next one. There the output's
    gradient is zero, in a copy.

    Args:
        grad: (B, C, T, H/stride, W/stride), and x (B, C, T, H, W), both in channels_last_3d
    """
    taps, length = weight.shape[2], x.shape[2]
    found = torch.zeros_like(weight)
    cut = grad.clone() if len(x) > 1 and taps > 1 else grad
    ours, theirs = _frames(cut), _frames(x)
    for tap in range(taps):
        ahead = tap - taps // 2  # frames that the input is ahead of the output
        if abs(ahead) >= length:
            continue
        lost = slice(length - ahead, length) if ahead > 0 else slice(0, -ahead)
        if cut is not grad:
            cut[:, :, lost] = 0
        last = len(ours) - abs(ahead)
        pairs = ours[max(-ahead, 0) :][:last], theirs[max(ahead, 0) :][:last]
        found[:, :, tap] = _plane(*pairs, weight[:, :, tap], stride)
        if cut is not grad:
            cut[:, :, lost] = grad[:, :, lost]
    return found


def each_clip(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The same by one call a tap and clip, without a copy; a clip stays in the cache."""
    total = all_clips(grad[:1], x[:1], weight, stride)
    for clip in range(1, len(x)):
        total += all_clips(grad[clip : clip + 1], x[clip : clip + 1], weight, stride)
    return total


def _frames(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (N, C, H, W), a view in channels_last."""
    return x.transpose(1, 2).flatten(0, 1)


def _plane(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of the weight (C, 1, s, s) of a depthwise 2-D convolution."""
    padding, only = [size // 2 for size in weight.shape[2:]], (False, True, False)
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, (stride,) * 2, padding, (1, 1), False, (0, 0), len(weight), only
    )[1]
