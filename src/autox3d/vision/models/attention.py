"""Attention units after a block or group: they relate the positions of a clip to each other.

`vision.arch.units` has the costs of each kind, and how the supernet slices its weights.

B clips, C channels, T frames, H x W pixels, L = T*H*W positions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from autox3d.vision.arch.units import node_count, unit
from autox3d.vision.models.layers import ConvNorm, Pointwise
from autox3d.vision.models.norm import BatchNorm


class GloRe(nn.Module):
    """Global reasoning over M graph nodes with 2M states each (Auto-X3D, 3.4)."""

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        states = 2 * nodes
        self.states = Pointwise(channels, states, bias=True)
        self.nodes = Pointwise(channels, nodes, bias=True)
        self.mix = nn.Linear(nodes, nodes)
        self.update = nn.Linear(states, states, bias=False)
        self.extend = ConvNorm(
            Pointwise(states, channels), BatchNorm(channels, gamma=0.0, eps=1e-4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Adds the result of the reasoning to x: (B, C, T, H, W) -> the same shape."""
        reasoned = self._reason(positions(self.states(x)), positions(self.nodes(x)))
        return x + self.extend(volume(reasoned, x.shape[2:]))

    def _reason(self, states: Tensor, nodes: Tensor) -> Tensor:
        """Projects positions to a graph, convolves it once, projects back (arXiv:1811.12814).

        Args:
            states: (B, L, 2M), the features of each of L positions
            nodes: (B, L, M), the weight of each position in each of M nodes

        Returns:
            (B, L, 2M), the new features of each position.
        """
        graph = states.transpose(1, 2) @ nodes / states.shape[1]  # (B, 2M, M)
        graph = F.relu(graph + self.mix(graph))
        # contiguous, else matmul sums in another order when `update` requires no gradient
        return nodes @ self.update(graph.transpose(1, 2).contiguous())


class NonLocal(nn.Module):
    """Self-attention at half the channels, softmax over positions (arXiv:1711.07971)."""

    before_norm = "out"  # the convolution before `norm`

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.theta = Pointwise(channels, inner, bias=True)
        self.phi = Pointwise(channels, inner, bias=True)
        self.g = Pointwise(channels, inner, bias=True)
        self.out = Pointwise(inner, channels, bias=True)
        self.norm = BatchNorm(channels, gamma=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Adds the attended features to x: (B, C, T, H, W) -> the same shape."""
        query, key, value = (positions(conv(x)) for conv in (self.theta, self.phi, self.g))
        attended = F.scaled_dot_product_attention(query, key, value)  # (B, L, C/2)
        return x + self.norm(self.out(volume(attended, x.shape[2:])))


UNITS: dict[str, Callable[[int, float], nn.Module]] = {  # keyed as in `vision.arch.units`
    "none": lambda channels, nodes: nn.Identity(),
    "glore": lambda channels, nodes: GloRe(channels, node_count(channels, nodes)),
    "nonlocal": lambda channels, nodes: NonLocal(channels),
}


def attention(kind: str, channels: int, nodes: float) -> nn.Module:
    """Builds an attention unit by the name of its kind; "none" is the identity.

    Raises:
        ValueError: there is no such kind.
    """
    unit(kind)
    return UNITS[kind](channels, nodes)


def positions(x: Tensor) -> Tensor:
    """Flattens (B, C, T, H, W) -> (B, T*H*W, C), without a copy if x is in channels_last_3d."""
    return x.flatten(2).transpose(1, 2)


def volume(x: Tensor, size: Sequence[int]) -> Tensor:
    """The inverse of `positions`: (B, T*H*W, C) -> (B, C, T, H, W) in channels_last_3d."""
    return x.unflatten(1, size).permute(0, 4, 1, 2, 3)
