"""Augmentation and normalisation of a step's clips on the device, after the loader."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from autox3d.vision.clips.autoaugment import autoaugment
from autox3d.vision.clips.loader import Batch
from autox3d.vision.clips.normalise import normalise


def chunk_count(batch: int, size: int) -> int:
    """The number of chunks in a step of `batch` clips; the last chunk may be smaller."""
    return -(-batch // size)


def chunks(batch: Batch, device: torch.device) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields each chunk of a batch: its number in the step, clips and labels, on the device.

    The clips, (clips, 3, T, H, W), are augmented and normalised.
    """
    sizes, operations = list(batch.sizes), iter(batch.operations)
    pieces = zip(batch.chunks, batch.clips.split(sizes), batch.labels.split(sizes), strict=True)
    for number, clips, labels in pieces:
        moved = clips.to(device, non_blocking=True)
        some = list(islice(operations, len(clips)))
        if any(some):
            pairs = zip(moved, some, strict=True)
            moved = torch.stack([autoaugment(clip, drawn) for clip, drawn in pairs])
        yield number, normalise(moved), labels.to(device, non_blocking=True)
