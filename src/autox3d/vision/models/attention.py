"""Attention after a block or group: a unit that relates positions of the clip to each other.

What a kind costs, and how the supernet cuts it, is its row in `vision.arch.units`.

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
        """(B, C, T, H, W) -> the same."""
        heard = self._reason(positions(self.states(x)), positions(self.nodes(x)))
        return x + self.extend(volume(heard, x.shape[2:]))

    def _reason(self, states: Tensor, nodes: Tensor) -> Tensor:
        """Positions to a graph, one graph convolution, back (arXiv:1811.12814).

        Args:
            states: (B, L, 2M), what each of L positions says
            nodes: (B, L, M), how much of it each of M nodes hears
        Returns:
            (B, L, 2M), what each position hears back
        """
        graph = states.transpose(1, 2) @ nodes / states.shape[1]  # (B, 2M, M)
        graph = F.relu(graph + self.mix(graph))
        # contiguous: else matmul picks another order of sums where `update` requires no gradient
        return nodes @ self.update(graph.transpose(1, 2).contiguous())


class NonLocal(nn.Module):
    """Self-attention at half the channels, softmax over positions (arXiv:1711.07971)."""

    before_norm = "out"  # the convolution that `norm` follows

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.theta = Pointwise(channels, inner, bias=True)
        self.phi = Pointwise(channels, inner, bias=True)
        self.g = Pointwise(channels, inner, bias=True)
        self.out = Pointwise(inner, channels, bias=True)
        self.norm = BatchNorm(channels, gamma=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> the same."""
        query, key, value = (positions(conv(x)) for conv in (self.theta, self.phi, self.g))
        seen = F.scaled_dot_product_attention(query, key, value)  # (B, L, C/2)
        return x + self.norm(self.out(volume(seen, x.shape[2:])))


UNITS: dict[str, Callable[[int, float], nn.Module]] = {  # by the kinds of `vision.arch.units`
    "none": lambda channels, nodes: nn.Identity(),
    "glore": lambda channels, nodes: GloRe(channels, node_count(channels, nodes)),
    "nonlocal": lambda channels, nodes: NonLocal(channels),
}


def attention(kind: str, channels: int, nodes: float) -> nn.Module:
    """The unit of a kind, the identity for "none".

    Raises:
        ValueError: there is no such kind.
    """
    unit(kind)
    return UNITS[kind](channels, nodes)


def positions(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B, T*H*W, C), without a copy where memory is channels_last_3d."""
    return x.flatten(2).transpose(1, 2)


def volume(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, T*H*W, C) -> (B, C, T, H, W) in channels_last_3d; the inverse of `positions`."""
    return x.unflatten(1, size).permute(0, 4, 1, 2, 3)
