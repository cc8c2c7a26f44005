"""Whether Triton's batch norms, gates and sums are right on a device: what `trial` asks besides.

B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from autox3d.vision.kernels import gpu, gpu_norm, reference

SLACK = 1e-4  # of the root mean square; what an element may be off besides a rounding of its own
NEAR = 1e-3  # of 0, where rounding decides what ReLU does: no gradient is given there
SUM = "bias, sum and ReLU"
NORMS = {  # the activation, and whether something is added before it
    "batch norm": ("none", False),
    "batch norm and ReLU": ("relu", False),
    "batch norm and swish": ("swish", False),
    "batch norm, sum and ReLU": ("relu", True),
}
Compute = Callable[..., Tensor]  # of tensors


def apart(got: Tensor, want: Tensor) -> str:
    """By how much of its size a result is off, "" if by rounding alone."""
    size, off = want.square().mean().sqrt(), (got.double() - want).abs()
    if (off <= torch.finfo(got.dtype).eps * want.abs() + SLACK * size).all():
        return ""
    return f"{off.max() / size:.1e}"


def disagreement(x: Tensor, backward: bool) -> str:
    """What is wrong at an input (B, C, T, H, W) in channels last, "" if nothing.

    Each must agree with float64 element by element, and give the same bits twice.

    Args:
        backward: whether gradients are needed: then norms are, too
    """
    cases = (_sum(x), _gate(x), *(_norms(x) if backward else ()))
    for name, by_triton, right, given, grad in cases:
        both = backward and name != SUM  # which tests alone compute
        found, again = (_results(by_triton, given, grad, both) for _ in range(2))
        exact = _results(right, [one.double() for one in given], grad, both)
        for one, other, want in zip(found, again, exact, strict=True):
            if by := apart(one, want):
                return f"{name} of {x.shape[1]} channels is off by {by}"
            if not torch.equal(one, other):
                return f"{name} of {x.shape[1]} channels differs from one run to the next"
    return ""


Case = tuple[str, Compute, Compute, list[Tensor], Tensor]


def _norms(x: Tensor) -> Iterator[Case]:
    """A chunk for each clip."""
    channels = x.shape[1]
    scale, shift = torch.linspace(0.5, 1.5, 2 * channels, device=x.device).split(channels)
    for name, (then, added) in NORMS.items():

        def by_triton(x: Tensor, *rest: Tensor, then: str = then) -> Tensor:
            plus = rest[2] if len(rest) > 2 else None
            return gpu_norm.ChunkNorm.apply(x, *rest[:2], plus, 1, 1e-5, then)[0]

        def right(x: Tensor, scale: Tensor, shift: Tensor, *rest: Tensor, then: str) -> Tensor:
            plus = rest[0] if rest else None
            return reference.chunk_norm(x, scale, shift, None, 0.0, 1, 1e-5, then, plus)

        given = [x, scale, shift, *([x.flip(1)] if added else [])]
        before = right(*(one.double() for one in given), then="none")
        grad = torch.where(before.abs() < NEAR, 0.0, x.flip(0))
        yield name, by_triton, partial(right, then=then), given, grad


def _gate(x: Tensor) -> Case:
    """A gate from 0 to 1, then swish."""
    gate = torch.linspace(0, 1, x.shape[0] * x.shape[1], device=x.device).view(x.shape[:2])
    by_triton, right = (partial(run, then="swish") for run in (_gated, reference.gated))
    return "a gate and swish", by_triton, right, [x, gate.to(x.dtype)], x.flip(0)


def _gated(x: Tensor, gate: Tensor, then: str) -> Tensor:
    return gpu.Gated.apply(x, gate, then)


def _sum(x: Tensor) -> Case:
    """A bias, a sum and ReLU, as behind a convolution."""
    from autox3d.vision.kernels import triton_elementwise

    bias = torch.linspace(-1, 1, x.shape[1], device=x.device)

    def by_triton(x: Tensor, bias: Tensor, plus: Tensor) -> Tensor:
        return triton_elementwise.finish(x.clone(), bias, plus, "relu")

    def right(x: Tensor, bias: Tensor, plus: Tensor) -> Tensor:
        return reference.finished(x + bias.view(-1, 1, 1, 1), "relu", plus)

    return SUM, by_triton, right, [x, bias, x.flip(1)], x.flip(0)


def _results(run: Compute, given: list[Tensor], grad: Tensor, backward: bool) -> list[Tensor]:
    """The result, and the gradients of all that is given."""
    if not backward:
        with torch.inference_mode():
            return [run(*given)]
    leaves = [one.detach().clone().requires_grad_() for one in given]
    y = run(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad.to(y.dtype))]
