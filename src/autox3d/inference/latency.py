"""Latency: the seconds that a network takes for the views of a video, and its memory.

A network is measured as by Auto-TSNet (supplement, Table 4): all views of one video, repeated many
times after a warm-up. The views are synthetic input, and decoding is not included.

    V views, T frames, S x S pixels
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from autox3d.core.records import Seconds
from autox3d.runtime.timing import interleaved, spread

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # Linux: proc(5)


class Measured(NamedTuple):
    """The latency and memory of one network in one form."""

    batched: Seconds  # views in batches
    one_by_one: Seconds  # views one by one
    peak_mb: float  # MB, peak memory: of the network on a GPU, else of the whole process


def measure(
    score: Callable[[Tensor], object],
    clips: Tensor,
    batch: int,
    repeats: int,
    warmup: int,
) -> Measured:
    """Times `score` on `clips` (V, 3, T, S, S), in batches and one by one.

    Args:
        score: (B, 3, T, S, S) -> anything; it may return before a GPU is done
        warmup: runs before the first one that counts
    """
    device = clips.device
    _forget_peak(device)

    def timed(size: int) -> Seconds:
        pieces = clips.split(size)
        return latency(lambda: [score(piece) for piece in pieces], repeats, warmup, device)

    return Measured(timed(batch), timed(1), _peak_mb(device))


def latency(run: Callable[[], object], repeats: int, warmup: int, device: torch.device) -> Seconds:
    """The wall time of `run`, including the work of the device."""
    return spread(interleaved({"": run}, repeats, device, warmup)[""])


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR.exists():
        CLEAR.write_text("5")


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if STATUS.exists():
        line = next(row for row in STATUS.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
