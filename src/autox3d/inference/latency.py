"""Latency: the seconds that a network takes for the views of one video.

Measured as by Auto-TSNet (supplement, Table 4): all views of one video, repeated many times after a
warm-up. The views are synthetic input, and decoding is not included.

    V views, T frames, S x S pixels
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from autox3d.core.records import Seconds

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
    taken = []
    for repeat in range(warmup + repeats):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat >= warmup:
            taken.append(time.perf_counter() - began)
    if len(taken) == 1:
        return Seconds(median=taken[0], low=taken[0], high=taken[0])
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return Seconds(median=median, low=low, high=high)


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
