"""What happens to pixels on the device, after the loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

MEAN, SPREAD = 0.45, 0.225  # of pixels in [0, 1], every colour alike (the reference code of X3D)


class Clips(Protocol):
    """The share of one step's clips that this process works on."""

    @property
    def clips(self) -> Tensor:
        """uint8 (B, T, H, W, 3), whole chunks."""
        ...

    @property
    def labels(self) -> Tensor:
        """int64 (B,)."""
        ...

    @property
    def chunks(self) -> Tensor:
        """int64 (B / chunk,): the chunks' numbers in the step."""
        ...


def chunk_count(batch: int, size: int) -> int:
    """Chunks of a step; the last one may be smaller."""
    return -(-batch // size)


def chunks(batch: Clips, size: int, device: torch.device) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(number in the step, (size, 3, T, H, W) normalised, (size,) labels) of each chunk."""
    pieces = zip(
        batch.chunks.tolist(), batch.clips.split(size), batch.labels.split(size), strict=True
    )
    for number, clips, labels in pieces:
        moved = clips.to(device, non_blocking=True)
        yield number, normalise(moved), labels.to(device, non_blocking=True)


def normalise(clips: Tensor) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float32 (B, 3, T, H, W), a channels_last_3d view."""
    return clips.permute(0, 4, 1, 2, 3).float().mul_(1 / (255 * SPREAD)).sub_(MEAN / SPREAD)
