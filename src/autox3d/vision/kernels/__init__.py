"""Convolutions at the speed of the device at hand: the one place that asks what the device is.

A backend is a module with the two functions of `Backend`. `reference` is PyTorch's own, which
computes on every device and is what exporters and compilers are given; `cpu` calls oneDNN.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from autox3d.vision.kernels import cpu, reference


class Backend(Protocol):
    """One way to compute a convolution, padded by half of its kernel."""

    def convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int
    ) -> Tensor:
        """(B, C, T, H, W) with (D, C/groups, t, s, s) -> (B, D, T, H/stride, W/stride).

        Differentiable. Either `groups` is C and D, or it is 1 and the kernel 1x1x1.
        """
        ...

    def fused(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        groups: int,
        then: str,
        plus: Tensor | None,
    ) -> Tensor:
        """The activation `then` of the convolution `plus` a tensor of its shape; any kernel.

        For inference. `then` is a key of `reference.ACTIVATIONS`.
        """
        ...


_forced: list[Backend] = []  # of `using`, the innermost last


def backend(x: Tensor) -> Backend:
    """The backend for a tensor: by its device, and by who is watching.

    Autocast, compilers and exporters choose for themselves, so they see PyTorch's own operators.
    """
    if _forced:
        return _forced[-1]
    watched = torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    return cpu if x.device.type == "cpu" and not watched else reference


@contextmanager
def using(forced: Backend) -> Iterator[None]:
    """Computes every convolution inside by this backend, for tests and measurements."""
    _forced.append(forced)
    try:
        yield
    finally:
        _forced.pop()
