"""Fast operations for each device: the only module that chooses code by the type of device.

A backend is a module with the functions of `Backend`. `reference` uses PyTorch's operators: it
works on every device, and with exporters and compilers. `cpu` calls oneDNN. `gpu` takes kernels of
Triton where a table says so (`choice`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from autox3d.vision.kernels import cpu, gpu, reference


class Backend(Protocol):
    """An implementation of convolution, with padding of half the kernel's size, and batch norm."""

    def convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int
    ) -> Tensor:
        """Convolves (B, C, T, H, W) with (D, C/groups, t, s, s) -> (B, D, T, H/stride, W/stride).

        The result is differentiable. Either `groups` equals C and D, or it is 1 and the kernel is
        1x1x1.
        """
        ...

    def fused(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        groups: int,
        then: str,
        plus: Tensor | None,
    ) -> Tensor:
        """Computes then(convolution + bias + plus) for a kernel of any size, in inference.

        Args:
            then: the activation, a key of `reference.ACTIVATIONS`
            plus: a tensor of the output's shape, or None
        """
        ...

    def batch_norm(
        self,
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
        """then(`torch.nn.functional.batch_norm` + plus) of (B, C, T, H, W), differentiable.

        Args:
            mean, variance: the running ones (C,), which move if `batch`; or None
            batch: whether the batch's own statistics normalise it
            then, plus: as in `fused`
        """
        ...

    def gated(self, x: Tensor, gate: Tensor, then: str) -> Tensor:
        """Computes then(x * gate), of (B, C, T, H, W) and a gate (B, C), differentiable."""
        ...

    def pooled(self, x: Tensor) -> Tensor:
        """The mean over all positions, differentiable: (B, C, T, H, W) -> (B, C)."""
        ...

    def chunk_norm(
        self,
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
        """Normalises each chunk of `clips` clips of (B, C, T, H, W) by the chunk's statistics.

        The last chunk may be smaller.

        Args:
            running: mean and variance (C,), which move once, by the mean over the chunks; or None
            then, plus: what follows, as in `fused`
        """
        ...


_forced: list[Backend] = []  # the backends of nested `using` blocks, innermost last


def backend(x: Tensor) -> Backend:
    """Chooses the backend for a tensor by its device.

    On a CPU under autocast, compilers and exporters it is `reference`, because they choose kernels
    for PyTorch's own operators; so it is for exporters everywhere.
    """
    if _forced:
        return _forced[-1]
    if x.device.type == "cuda":
        return reference if torch.compiler.is_exporting() else gpu
    watched = torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    return cpu if x.device.type == "cpu" and not watched else reference


@contextmanager
def using(forced: Backend) -> Iterator[None]:
    """Computes every convolution in the block with this backend, for tests and benchmarks."""
    _forced.append(forced)
    try:
        yield
    finally:
        _forced.pop()
