"""A network for inference alone: its batch norms gone into the convolutions before them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from autox3d.nets.attention import NonLocal
from autox3d.nets.layers import ConvNorm, Dense, Depthwise, Pointwise
from autox3d.nets.network import StemLayer, VideoNet
from autox3d.nets.norm import BatchNorm

Convolution = Pointwise | Depthwise | Dense


class Folded(nn.Module):
    """A convolution and the batch norm that followed it, as one convolution with a bias."""

    def __init__(self, conv: Convolution, norm: BatchNorm) -> None:
        super().__init__()
        scale, shift = norm.affine()
        bias = getattr(conv, "bias", None)
        self.convolve = conv.convolve
        self.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1, 1))
        self.bias = nn.Parameter(shift if bias is None else shift + bias * scale)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> as the convolution."""
        return self.convolve(x, self.weight, self.bias)


@torch.no_grad()
def folded(net: VideoNet) -> VideoNet:
    """A copy in evaluation mode, without any batch norm; `net` stays as it is."""
    net = copy.deepcopy(net).eval()
    for layer in list(net.modules()):
        for name, part in list(layer.named_children()):
            if isinstance(part, ConvNorm):
                setattr(layer, name, Folded(part.conv, part.norm))
        if isinstance(layer, StemLayer):
            _fold(layer, "time" if isinstance(layer.time, Depthwise) else "space")
        if isinstance(layer, NonLocal):
            _fold(layer, "out")
    return net.requires_grad_(False)


def _fold(layer: StemLayer | NonLocal, before: str) -> None:
    """Its norm, which stands beside the convolution `before`."""
    setattr(layer, before, Folded(getattr(layer, before), layer.norm))
    layer.register_module("norm", nn.Identity())
