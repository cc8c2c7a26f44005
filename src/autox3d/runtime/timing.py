"""How things are timed: the only module that reads a clock to compare code or devices.

`latency`, `profile`, `plan`, `tune` and bench/ take their seconds from here. Contenders take turns
(`interleaved`), so that other load slows all of them. One thread on a CPU is timed on the
processor's clock, which stands still while other programs run.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from autox3d.core.latency_table import Clock
from autox3d.core.records import Seconds

Run = Callable[[], object]
Now = Callable[[], float]  # seconds of a clock

CLOCKS: dict[Clock, Now] = {"processor": time.process_time, "wall": time.perf_counter}


def clock_of(device: torch.device) -> Clock:
    """The clock on which parts of networks are timed: `processor` or `wall`.

    One thread on a CPU is timed on the processor's clock, so that a busy machine gives nearly the
    times of an idle one.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return "processor" if alone else "wall"


def timed(run: Run, device: torch.device, clock: Now = time.perf_counter, calls: int = 1) -> float:
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
    runs: Mapping[str, Run],
    rounds: int,
    device: torch.device,
    warmup: int = 2,
    clock: Now = time.perf_counter,
    calls: int = 1,
) -> dict[str, list[float]]:
    """Seconds of each round of each run; the runs take turns, so that other load slows all.

    Args:
        calls: in a round, whose mean counts
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(warmup + rounds):
        for name, run in runs.items():
            taken = timed(run, device, clock, calls)
            if number >= warmup:
                seconds[name].append(taken)
    return seconds


def sustained(
    run: Run, enough: float, device: torch.device, warmup: int = 2, clock: Now = time.perf_counter
) -> float:
    """Mean seconds of a call, over calls for some seconds: what a rate is made of."""
    for _ in range(warmup):
        run()
    taken: list[float] = []
    while not taken or sum(taken) < enough:
        taken.append(timed(run, device, clock))
    return statistics.mean(taken)


def spread(seconds: Sequence[float]) -> Seconds:
    """Median and quartiles."""
    if len(seconds) == 1:
        return Seconds(median=seconds[0], low=seconds[0], high=seconds[0])
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Seconds(median=median, low=low, high=high)


def processor_time() -> float:
    """Processor time of this process and of those that it has waited for, s."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
