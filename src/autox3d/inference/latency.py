"""Latency: the seconds that a network, or a part of one, takes. All timing is done here.

A network is measured as by Auto-TSNet (supplement, Table 4): all views of one video, repeated many
times after a warm-up. The views are synthetic input, and decoding is not included.

    V views, T frames, S x S pixels
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from autox3d.core.latency_table import Clock
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
    seconds = [timed(run, device) for _ in range(warmup + repeats)]
    taken = seconds[warmup:]
    if len(taken) == 1:
        return Seconds(median=taken[0], low=taken[0], high=taken[0])
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return Seconds(median=median, low=low, high=high)


def timed(
    run: Callable[[], object],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
    calls: int = 1,
) -> float:
    """Seconds of one call of `run`, the mean of `calls` in a row, including the device's work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = clock()
    for _ in range(calls):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (clock() - began) / calls


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each round of each run; the runs take turns, so that other load slows all."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(warmup + rounds):
        for name, run in runs.items():
            taken = timed(run, device, clock)
            if number >= warmup:
                seconds[name].append(taken)
    return seconds


def clock_of(device: torch.device) -> Clock:
    """The clock on which parts of networks are timed: `processor` or `wall`.

    One thread on a CPU is timed on the processor's clock, which stands still while other programs
    run, so that a busy machine gives nearly the times of an idle one.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return "processor" if alone else "wall"


CLOCKS = {"processor": time.process_time, "wall": time.perf_counter}


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
