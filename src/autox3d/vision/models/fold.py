"""A network for inference alone: batch norms gone into the convolutions before them, and what
follows a convolution (a sum, an activation) done in the same pass over memory.

B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from autox3d.vision.kernels import backend
from autox3d.vision.kernels.reference import ACTIVATIONS
from autox3d.vision.models.blocks import ResidualBlock
from autox3d.vision.models.layers import ConvNorm, Dense, Depthwise, Pointwise
from autox3d.vision.models.network import StemLayer, VideoNet
from autox3d.vision.models.norm import BatchNorm

Convolution = Pointwise | Depthwise | Dense
Net = TypeVar("Net", bound=nn.Module)


class Folded(nn.Module):
    """A convolution and the batch norm that followed it as one, then perhaps an activation."""

    def __init__(self, conv: Convolution, norm: nn.Module | None, then: str = "none") -> None:
        """Without a norm, it is a convolution without bias, by the kernel of the device."""
        super().__init__()
        self.stride, self.then = conv.stride, then
        self.groups = len(conv.weight) if isinstance(conv, Depthwise) else 1
        if norm is None:
            self.weight, self.bias = nn.Parameter(conv.weight), None
            return
        assert isinstance(norm, BatchNorm)
        scale, shift = norm.affine()
        bias = getattr(conv, "bias", None)
        self.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1, 1))
        self.bias = nn.Parameter(shift if bias is None else shift + bias * scale)

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """(B, C, T, H, W) -> the activation of the convolution `plus` a tensor of its shape."""
        return backend(x).fused(
            x, self.weight, self.bias, self.stride, self.groups, self.then, plus
        )


class FoldedBlock(nn.Module):
    """`ResidualBlock`, each of its convolutions with what follows it."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        gated = not isinstance(block.gate, nn.Identity)
        first, second = block.style.first, block.style.second
        self.expand = _folded(block.expand, first)
        self.depthwise = _folded(block.depthwise, "none" if gated else second)
        self.gate, self.second = block.gate, ACTIVATIONS[second if gated else "none"]
        self.project = _folded(block.project, "relu")
        self.shortcut = (
            _folded(block.shortcut) if isinstance(block.shortcut, ConvNorm) else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, channels, T, H/stride, W/stride)."""
        y = self.second(self.gate(self.depthwise(self.expand(x))))
        return self.project(y, plus=self.shortcut(x))


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the device has arithmetic for it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("amx_bf16") or able.get("avx512_bf16") else torch.float32


@torch.no_grad()
def folded(net: VideoNet) -> VideoNet:
    """A copy in evaluation mode, without any batch norm; `net` stays as it is."""
    net = copy.deepcopy(net).eval()
    net.blocks = nn.ModuleList(map(_folded_block, net.blocks))
    return _without_norms(net).requires_grad_(False)


@torch.no_grad()
def folded_part(part: nn.Module) -> nn.Module:
    """A block, attention unit, stem or head alone, as `folded` makes it in a network."""
    part = copy.deepcopy(part).eval()
    return _without_norms(nn.ModuleList([_folded_block(part)]))[0].requires_grad_(False)


def _without_norms(net: Net) -> Net:
    """Folds the batch norms outside of X3D's blocks, in place."""
    for layer in list(net.modules()):
        for name, part in list(layer.named_children()):
            if isinstance(part, ConvNorm):
                setattr(layer, name, _folded(part))
        if isinstance(before := getattr(layer, "before_norm", None), str):
            setattr(layer, before, Folded(getattr(layer, before), layer.get_submodule("norm")))
            layer.register_module("norm", nn.Identity())
        if isinstance(layer, StemLayer) and isinstance(layer.space, Dense):
            layer.register_module("space", Folded(layer.space, None))
    return net


def _folded(part: ConvNorm, then: str = "none") -> Folded:
    return Folded(part.conv, part.norm, then)


def _folded_block(block: nn.Module) -> nn.Module:
    """Of another type than X3D's, the layers are folded one by one."""
    return FoldedBlock(block) if isinstance(block, ResidualBlock) else block
