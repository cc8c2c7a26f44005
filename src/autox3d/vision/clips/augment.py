"""Augmentation and normalisation of a step's clips on the device, after the loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from autox3d.vision.clips.augment_policy import Operations
from autox3d.vision.clips.autoaugment import autoaugmented
from autox3d.vision.clips.loader import Batch
from autox3d.vision.clips.normalise import normalise

LEVELS = 2**26  # that a GPU augments at once; an operation takes up to some 20 bytes for each


def chunk_count(batch: int, size: int) -> int:
    """The number of chunks in a step of `batch` clips; the last chunk may be smaller."""
    return -(-batch // size)


def chunks(batch: Batch, device: torch.device) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields each chunk of a batch: its number in the step, clips and labels, on the device.

    The clips, (clips, 3, T, H, W), are augmented and normalised.
    """
    sizes, operations = list(batch.sizes), batch.operations
    every = batch.clips.to(device, non_blocking=True)
    labels = batch.labels.to(device, non_blocking=True)
    if device.type != "cpu":  # all chunks together: as many kernels as for one
        every, operations = augmented(every, operations), [()] * len(every)
    drawn = iter(operations)
    pieces = zip(batch.chunks, every.split(sizes), labels.split(sizes), strict=True)
    for number, clips, targets in pieces:
        yield number, normalise(augmented(clips, list(islice(drawn, len(clips))))), targets


def augmented(clips: Tensor, operations: Sequence[Operations]) -> Tensor:
    """Applies AutoAugment's operations: uint8 (B, T, H, W, 3) -> the same shape.

    Clips are taken together up to the memory of `LEVELS`; on a CPU, whose caches hold one, one by
    one. It changes no bit.
    """
    if not any(operations):
        return clips
    size = 1 if clips.device.type == "cpu" else max(1, LEVELS // clips[0].numel())
    done: list[Tensor] = []
    for first in range(0, len(clips), size):
        of = slice(first, first + size)
        done += autoaugmented(list(clips[of]), operations[of])
    return torch.stack(done)
