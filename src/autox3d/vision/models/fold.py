"""A network for inference alone: batch norms gone into the convolutions before them, and what
follows a convolution (a sum, an activation) done in the same pass over memory.

B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from autox3d.vision.kernels import backend, reference
from autox3d.vision.models.blocks import Bottleneck, MobileBlock
from autox3d.vision.models.layers import ConvNorm, Dense, Depthwise, Pointwise
from autox3d.vision.models.network import StemLayer
from autox3d.vision.models.norm import BatchNorm

Convolution = Pointwise | Depthwise | Dense
Net = TypeVar("Net", bound=nn.Module)


class Folded(nn.Module):
    """A convolution and the batch norm that followed it as one; it stands where the norm stood.

    Args:
        norm: None for a convolution without norm and bias, which the kernel of the device computes
        apart: what follows has passes of its own
    """

    def __init__(self, conv: Convolution, norm: nn.Module | None, *, apart: bool = False) -> None:
        super().__init__()
        self.stride, self.apart = conv.stride, apart
        self.groups = len(conv.weight) if isinstance(conv, Depthwise) else 1
        if norm is None:
            self.weight, self.bias = nn.Parameter(conv.weight), None
            return
        assert isinstance(norm, BatchNorm)
        scale, shift = norm.affine()
        bias = getattr(conv, "bias", None)
        self.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1, 1))
        self.bias = nn.Parameter(shift if bias is None else shift + bias * scale)

    def forward(self, x: Tensor, then: str = "none", plus: Tensor | None = None) -> Tensor:
        """Computes then(convolution + plus) of (B, C, T, H, W), as `ConvNorm` does."""
        of = self.weight, self.bias, self.stride, self.groups
        if self.apart:
            return reference.finished(backend(x).fused(x, *of, "none", None), then, plus)
        return backend(x).fused(x, *of, then, plus)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the device has arithmetic for it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("amx_bf16") or able.get("avx512_bf16") else torch.float32


@torch.no_grad()
def folded(net: Net) -> Net:
    """A copy in evaluation mode, without any batch norm; `net` or a part of it stays as it is."""
    around = nn.ModuleList([copy.deepcopy(net).eval()])
    for layer in list(around.modules()):
        # What follows stays apart in these, so that their bits are those of earlier versions
        apart = isinstance(layer, (Bottleneck, MobileBlock))
        for name, part in list(layer.named_children()):
            if isinstance(part, ConvNorm):
                setattr(layer, name, Folded(part.conv, part.norm, apart=apart))
        if isinstance(before := getattr(layer, "before_norm", None), str):
            layer.register_module(
                "norm", Folded(getattr(layer, before), layer.get_submodule("norm"))
            )
            setattr(layer, before, nn.Identity())
        if isinstance(layer, StemLayer) and isinstance(layer.space, Dense):
            layer.register_module("space", Folded(layer.space, None))
    return cast("Net", around[0].requires_grad_(False))
