"""Depthwise 3D convolution as an operation of PyTorch, each part of it by the kernel chosen for it.

The parts are the forward pass and the gradients of input and weight. Which kernel computes a part
is looked up when it runs (`vision.kernels.choice`), so autograd, torch.compile and CUDA graphs see
one operation. What is not chosen, and a CPU, has PyTorch's own: the `REFERENCE`.

    B clips, C channels, T frames, H x W pixels in, O x V pixels out
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from autox3d.core.device_table import REFERENCE, Operation
from autox3d.vision.kernels import reference
from autox3d.vision.kernels.choice import chosen, takes
from autox3d.vision.kernels.reference import channels_last

TRITON = "triton"
PARTS: tuple[Operation, ...] = ("forward", "input_gradient", "weight_gradient")
WORKS: dict[torch.device, bool] = {}  # what was last found of Triton on a device


class Kernel(NamedTuple):
    """A way to compute the parts; all tensors and results are in channels_last_3d.

    In inference the forward pass is given a bias (C,) and the activation that follows, too.
    """

    forward: Callable[..., Tensor]  # (x, weight, stride, bias=None, then="none") -> y
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


def triton_works(device: torch.device) -> bool:
    """Whether Triton is there, compiles and is right: asked once, unless a trial has answered.

    If not, a line says why PyTorch's kernels are taken.
    """
    if device not in WORKS:
        try:
            load_triton()
            from autox3d.vision.kernels.trial import small_disagreement

            if reason := small_disagreement(device):
                raise ArithmeticError(reason)  # one way out for all that may go wrong
            WORKS[device] = True
        except Exception as error:  # noqa: BLE001  # of a compiler that nobody here knows
            WORKS[device] = False
            line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            print(f"{device}: no kernels of Triton, PyTorch's instead: {line}", file=sys.stderr)
    return WORKS[device]


def by_triton(device: torch.device) -> bool:
    """Whether what has no table of its own is computed by Triton: where a convolution is."""
    return takes(TRITON, device) and triton_works(device)


def convolved(x: Tensor, weight: Tensor, stride: int, bias: Tensor, then: str) -> Tensor:
    """Computes then(convolution + bias) without gradients, by the kernel chosen for it."""
    return _kernel("forward", x, weight, stride).forward(x, weight, stride, bias, then)


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
    name = chosen(part, x, weight, stride)
    if name == TRITON and x.is_cuda and not triton_works(x.device):
        name = REFERENCE
    return KERNELS.get(name, KERNELS[REFERENCE])


def _forward(
    x: Tensor, weight: Tensor, stride: int, bias: Tensor | None = None, then: str = "none"
) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    bias = None if bias is None else bias.to(x.dtype)
    with _by_aten():
        y = F.conv3d(x, weight.to(x.dtype), bias, (1, stride, stride), padding, 1, len(weight))
    return reference.finished(channels_last(y), then, None)


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return channels_last(_gradient(grad, x, weight, stride, (True, False, False))[0])


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)  # aten adds up in the type that it is given
    found = _gradient(grad.to(wide), x.to(wide), weight, stride, (False, True, False))[1]
    return found.to(weight.dtype).contiguous()


def _gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, which: tuple[bool, bool, bool]
) -> tuple[Tensor, ...]:
    padding, strides = [size // 2 for size in weight.shape[2:]], (1, stride, stride)
    with _by_aten():
        return torch.ops.aten.convolution_backward(
            *(channels_last(grad), x, weight.to(x.dtype), None, strides, padding),
            *((1, 1, 1), False, (0, 0, 0), len(weight), which),
        )


def _by_aten() -> AbstractContextManager[None]:
    """Without cuDNN, whose kernels for depthwise 3-D start one for each channel and clip group.

    On a H200, in bfloat16, its gradient of the weight took 25 ms where aten's takes 0.7.
    """
    return torch.backends.cudnn.flags(enabled=False)


def _shape(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    size = *x.shape[:3], *(-(-side // stride) for side in x.shape[3:])
    return channels_last(x.new_empty(size))


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


class Depthwise(torch.autograd.Function):
    """The same as `depthwise`, for where nothing traces it: without a dispatcher on the way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.stride = stride
        ctx.save_for_backward(x, weight)
        return _kernel("forward", x, weight, stride).forward(x, weight, stride)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), stride, (grad,) = ctx.saved_tensors, ctx.stride, grads
        for_x, for_weight, _ = ctx.needs_input_grad
        of = x, weight, stride
        return (
            _kernel("input_gradient", *of).input_gradient(grad, *of) if for_x else None,
            _kernel("weight_gradient", *of).weight_gradient(grad, *of) if for_weight else None,
            None,
        )


KERNELS = {REFERENCE: Kernel(_forward, _input_gradient, _weight_gradient)}

depthwise.register_fake(_shape)
input_gradient.register_fake(lambda grad, x, weight, stride: channels_last(torch.empty_like(x)))
weight_gradient.register_fake(lambda grad, x, weight, stride: weight.new_empty(weight.shape))
depthwise.register_autograd(_back, setup_context=_keep)
