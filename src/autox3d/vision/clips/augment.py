"""Augmentation and normalisation of a step's clips on the device, after the loader."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from autox3d.vision.clips.autoaugment import autoaugment
from autox3d.vision.clips.loader import Batch
from autox3d.vision.clips.normalise import normalise


def chunk_count(batch: int, size: int) -> int:
    """The number of chunks in a step of `batch` clips; the last chunk may be smaller."""
    return -(-batch // size)


def chunks(batch: Batch, size: int, device: torch.device) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields each chunk of a batch: its number in the step, clips and labels, on the device.

    The clips, (size, 3, T, H, W), are augmented and normalised.
    """
    pieces = zip(
        batch.chunks.tolist(), batch.clips.split(size), batch.labels.split(size), strict=True
    )
    for place, (number, clips, labels) in enumerate(pieces):
        moved = clips.to(device, non_blocking=True)
        operations = batch.operations[place * size : (place + 1) * size]
        if any(operations):
            pairs = zip(moved, operations, strict=True)
            moved = torch.stack([autoaugment(clip, some) for clip, some in pairs])
        yield number, normalise(moved), labels.to(device, non_blocking=True)
