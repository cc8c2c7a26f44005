"""Where and when a network saw what speaks for a class: Grad-CAM over time and space.

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
    """What of the layer's output speaks for a class of each clip, in logits a cell.

    Args:
        layer: a part of the network that runs once a clip
        logits: the network, (B, 3, T, H, W) -> (B, C)
        clips: (B, 3, T, H, W)
        classes: (B,), the class of each clip to explain
    Returns:
        (B, T', H', W') of the layer's size, nowhere below 0
    """
    seen: list[Tensor] = []

    def leaf(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        """What comes after is differentiated, what came before is not kept."""
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
