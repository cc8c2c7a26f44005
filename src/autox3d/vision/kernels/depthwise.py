"""Depthwise 3D convolution as an operation of PyTorch, each part of it by the kernel chosen for it.

The parts are the forward pass and the gradients of input and weight. Which kernel computes a part
is looked up when it runs (`vision.kernels.choice`), so autograd, torch.compile and CUDA graphs see
one operation. What is not chosen, and a CPU, has PyTorch's own: the `REFERENCE`.

    B clips, C channels, T frames, H x W pixels in, O x V pixels out
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from autox3d.core.device_table import REFERENCE, Operation
from autox3d.vision.kernels.choice import chosen

TRITON = "triton"
PARTS: tuple[Operation, ...] = ("forward", "input_gradient", "weight_gradient")


class Kernel(NamedTuple):
    """A way to compute the parts; all tensors and results are in channels_last_3d."""

    forward: Callable[[Tensor, Tensor, int], Tensor]  # (x, weight, stride) -> y
    input_gradient: Callable[[Tensor, Tensor, Tensor, int], Tensor]  # (grad, x, weight, stride)
    weight_gradient: Callable[[Tensor, Tensor, Tensor, int], Tensor]  # (grad, x, weight, stride)


def fits(kernel: tuple[int, ...]) -> bool:
    """Whether there are other kernels than the reference for t x s x s taps."""
    time, height, width = kernel
    return time in (1, 3, 5) and height == width and width in (1, 3, 5)


def load_triton() -> None:
    """Adds Triton's kernel to `KERNELS`.

    Raises:
        ImportError: there is no Triton here. It may raise others where it is broken.
    """
    from autox3d.vision.kernels import triton_depthwise as by

    KERNELS[TRITON] = Kernel(by.forward, by.input_gradient, by.weight_gradient)


@torch.library.custom_op(
    "autox3d::depthwise", mutates_args=(), schema="(Tensor x, Tensor weight, int stride) -> Tensor"
)
def depthwise(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolves (B, C, T, H, W) with (C, 1, t, s, s) -> (B, C, T, O, V), padding half of it.

    The result has the type of x, and is differentiable.
    """
    return _kernel("forward", x, weight, stride).forward(x, weight, stride)


GRADIENT = "(Tensor grad, Tensor x, Tensor weight, int stride) -> Tensor"


@torch.library.custom_op("autox3d::depthwise_input_gradient", mutates_args=(), schema=GRADIENT)
def input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of x, from that of the result (B, C, T, O, V)."""
    return _kernel("input_gradient", x, weight, stride).input_gradient(grad, x, weight, stride)


@torch.library.custom_op("autox3d::depthwise_weight_gradient", mutates_args=(), schema=GRADIENT)
def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of the weight, from that of the result (B, C, T, O, V)."""
    return _kernel("weight_gradient", x, weight, stride).weight_gradient(grad, x, weight, stride)


def _kernel(part: Operation, x: Tensor, weight: Tensor, stride: int) -> Kernel:
    """The kernel for a part; the name of another device's kernel means the reference."""
    if not fits(tuple(weight.shape[2:])):
        return KERNELS[REFERENCE]
    return KERNELS.get(chosen(part, x, weight, stride), KERNELS[REFERENCE])


def _forward(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    y = F.conv3d(x, weight.to(x.dtype), None, (1, stride, stride), padding, 1, len(weight))
    return _last(y)


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return _last(_gradient(grad, x, weight, stride, (True, False, False))[0])


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    found = _gradient(grad, x, weight, stride, (False, True, False))[1]
    return found.to(weight.dtype).contiguous()


def _gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, which: tuple[bool, bool, bool]
) -> tuple[Tensor, ...]:
    padding, strides = [size // 2 for size in weight.shape[2:]], (1, stride, stride)
    return torch.ops.aten.convolution_backward(
        *(_last(grad), x, weight.to(x.dtype), None, strides, padding),
        *((1, 1, 1), False, (0, 0, 0), len(weight), which),
    )


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)


def _shape(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    size = *x.shape[:3], *(-(-side // stride) for side in x.shape[3:])
    return _last(x.new_empty(size))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.stride = inputs
    ctx.save_for_backward(x, weight)


def _back(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    for_x, for_weight, _ = ctx.needs_input_grad
    return (
        input_gradient(grad, x, weight, ctx.stride) if for_x else None,
        weight_gradient(grad, x, weight, ctx.stride) if for_weight else None,
        None,
    )


KERNELS = {REFERENCE: Kernel(_forward, _input_gradient, _weight_gradient)}

depthwise.register_fake(_shape)
input_gradient.register_fake(lambda grad, x, weight, stride: _last(torch.empty_like(x)))
weight_gradient.register_fake(lambda grad, x, weight, stride: weight.new_empty(weight.shape))
depthwise.register_autograd(_back, setup_context=_keep)
