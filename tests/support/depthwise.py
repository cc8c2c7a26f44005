"""Depthwise kernels that are right but no GPU's, and wrong ones, for what chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autox3d.core.device_table import Choice, Kernels
from autox3d.vision.kernels import reference
from autox3d.vision.kernels.depthwise import PARTS, Kernel

CPU = torch.device("cpu")
SIX = [(time, space) for time in (1, 3, 5) for space in (3, 5)]


def padded(x: Tensor, weight: Tensor) -> Tensor:
    """Zeros around x, half of the weight's size on each side; in float64."""
    middle = [size // 2 for size in weight.shape[2:]]
    return F.pad(x.double(), [side for size in reversed(middle) for side in (size, size)])


def views(x: Tensor, weight: Tensor, like: Tensor, stride: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each tap, what it sees of a padded x, of the size of the result; and the tap (C,)."""
    _, _, frames, height, width = like.shape
    for t, h, w in torch.cartesian_prod(*map(torch.arange, weight.shape[2:])).tolist():
        seen = x[:, :, t : t + frames, h : h + stride * height : stride]
        yield seen[..., w : w + stride * width : stride], weight[:, 0, t, h, w]


def every(tap: Tensor) -> Tensor:
    return tap.double()[:, None, None, None]


def by_taps(
    x: Tensor, weight: Tensor, stride: int, bias: Tensor | None = None, then: str = "none"
) -> Tensor:
    """A depthwise convolution as it is written down: a sum over taps; and what follows it."""
    y = torch.zeros(x[..., ::stride, ::stride].shape, dtype=torch.float64)
    for seen, tap in views(F.pad(padded(x, weight), (0, 1, 0, 1)), weight, y, stride):
        y += seen * every(tap)
    y = y if bias is None else y + every(bias)
    return last(reference.ACTIVATIONS[then](y), x)


def input_by_taps(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Each tap gives back what it saw, times itself."""
    whole = F.pad(padded(torch.zeros_like(x), weight), (0, 1, 0, 1))
    for seen, tap in views(whole, weight, grad, stride):
        seen += grad * every(tap)
    t, h, w = (size // 2 for size in weight.shape[2:])
    frames, height, width = x.shape[2:]
    return last(whole[:, :, t : t + frames, h : h + height, w : w + width], x)


def weight_by_taps(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Each tap gets what it saw, times the gradient of the result."""
    pairs = views(F.pad(padded(x, weight), (0, 1, 0, 1)), weight, grad, stride)
    taps = [(seen * grad.double()).sum((0, 2, 3, 4)) for seen, _ in pairs]
    return torch.stack(taps, 1).view(weight.shape).to(weight.dtype)


def last(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype).contiguous(memory_format=torch.channels_last_3d)


SLOW = Kernel(by_taps, input_by_taps, weight_by_taps)  # right, by another way than PyTorch's


def use_all(name: str) -> Kernels:
    """A table by which every depthwise convolution takes a kernel in all its parts."""
    return Kernels(
        "test",
        [
            Choice(operation=part, kernel=f"t{t}_s{s}", stride=n, numbers=1, use=name, ms={})
            for part in PARTS
            for t, s in [*SIX, (5, 1)]
            for n in (1, 2)
        ],
    )


def one_pixel(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The last number is a thousandth of the others' size off."""

    def off(*arguments: Any) -> Tensor:
        y = run(*arguments).clone()
        y[-1, -1, -1, -1, -1] += 2e-3 * y.square().mean().sqrt()
        return y

    return off


def raises(error: Exception) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        raise error

    return run
