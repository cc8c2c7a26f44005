"""Grad-CAM over space and time: where and when a clip shows the evidence for a class.

A_c  channel c of a layer's output, (T, H, W)
y    logit of the class
w_c  mean over T, H, W of dy / dA_c
map  ReLU of the sum over c of w_c A_c (arXiv:1610.02391, equations 1 and 2)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def grad_cam(
    layer: nn.Module, logits: Callable[[Tensor], Tensor], clips: Tensor, classes: Tensor
) -> Tensor:
    """The evidence for a class of each clip in the output of a layer, in logits a cell.

    Args:
        layer: a module of the network that runs once for a batch of clips
        logits: the network, (B, 3, T, H, W) -> (B, C)
        clips: (B, 3, T, H, W)
        classes: (B,), the class of each clip to explain

    Returns:
        (B, T', H', W'), of the size of the layer's output, never below 0
    """
    seen: list[Tensor] = []

    def leaf(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        """Makes the output a leaf, so that only the layers after it are differentiated."""
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    hook = layer.register_forward_hook(leaf)
    try:
        with torch.enable_grad():
            y = logits(clips).gather(1, classes[:, None]).sum()
    finally:
        hook.remove()
    (features,) = seen
    (slope,) = torch.autograd.grad(y, features)
    weight = slope.mean((2, 3, 4), keepdim=True)
    return (weight * features.detach()).sum(1).relu()
