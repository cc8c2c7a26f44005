"""The random numbers of dropout and drop-connect for several chunks of clips in one pass.

Each chunk has those that it would have in a pass of its own, since they follow from its seed alone.
They are drawn before the pass, into memory that keeps its place.

    B clips of a pass, L layers with drop-connect
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from autox3d.vision.models.blocks import DropConnect
from autox3d.vision.models.network import HeadLayer


class Noise:
    """Draws the noise of a network's random layers.

    Args:
        clips: B, at most
    """

    def __init__(self, net: nn.Module, clips: int, device: torch.device) -> None:
        self._drops = [m for m in net.modules() if isinstance(m, DropConnect) and m.rate]
        self._heads = [m for m in net.modules() if isinstance(m, HeadLayer) and m.dropout.p]
        self._generator = torch.Generator(device)
        self._uniform = torch.zeros(len(self._drops), clips, device=device)
        self._scales = [
            torch.zeros(clips, 1, head.classify.in_features, device=device) for head in self._heads
        ]

    def draw(self, sizes: Sequence[int], seeds: Sequence[int]) -> None:
        """Draws the noise of chunks of these sizes, each from its seed, in the layers' order."""
        start = 0
        for size, seed in zip(sizes, seeds, strict=True):
            self._generator.manual_seed(seed)
            rows = slice(start, start + size)
            if self._drops:
                shape, device = (len(self._drops), size), self._uniform.device
                drawn = torch.rand(shape, generator=self._generator, device=device)
                self._uniform[:, rows].copy_(drawn)
            for head, scale in zip(self._heads, self._scales, strict=True):
                kept = 1 - head.dropout.p
                scale[rows].bernoulli_(kept, generator=self._generator).div_(kept)
            start += size

    @contextmanager
    def given(self) -> Iterator[None]:
        """In the block, the layers take their noise from here."""
        for layer, numbers in zip(self._drops, self._uniform, strict=True):
            layer.uniform = numbers.view(-1, 1, 1, 1, 1)
        for head, scale in zip(self._heads, self._scales, strict=True):
            head.dropout.scale = scale
        try:
            yield
        finally:
            for layer in self._drops:
                layer.uniform = None
            for head in self._heads:
                head.dropout.scale = None
