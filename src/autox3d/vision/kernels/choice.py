"""Which kernel an operation takes, where there are several: the only place that decides it.

The choice is a function of a table and of an operation's kind and size (`core.device_table`), and
never of a clock while networks are trained, so that two runs with one table take the same kernels.
A run decides once for all of its processes (`decided`): by the table that its checkpoint has, else
by the one that the settings name, else by the package's for the device. Without a run, the
package's table for the device counts.

A kernel has a name, under which it stands in a dict next to its use; `REFERENCE` is the first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from autox3d.core.device_table import REFERENCE, Device, DeviceTable, Kernels, Operation

TABLES = Path(__file__).parent / "tables"  # AVX2_1.yaml: of the instruction set, for one thread
MARGIN = (
    0.9  # a kernel replaces the one before it only if it takes less than this share of its time
)

_decided: list[Kernels] = []  # of nested blocks, innermost last


def chosen(operation: Operation, x: Tensor, weight: Tensor, stride: int) -> str:
    """The name of the kernel for a depthwise convolution of x with a weight (C, 1, t, s, s)."""
    time, space = weight.shape[2:4]
    return in_use(x.device).chosen(operation, f"t{time}_s{space}", stride, x.numel())


def takes(name: str, device: torch.device) -> bool:
    """Whether any operation in this block takes the kernel of that name."""
    return any(row.use == name for row in in_use(device).rows)


def in_use(device: torch.device) -> Kernels:
    """What this block's run has decided on, or else the package's choices for the device."""
    if _decided:
        return _decided[-1]
    return packaged(*_kind(device))


@contextmanager
def using_kernels(kernels: Kernels) -> Iterator[Kernels]:
    """Takes these kernels in the block."""
    _decided.append(kernels)
    try:
        yield kernels
    finally:
        _decided.remove(kernels)


@cache
def packaged(instructions: str, threads: int) -> Kernels:
    """The package's choices for a kind of device; without rows where it has none.

    Of the tables for its instructions that for the most threads which it has counts, or the one for
    the fewest.
    """
    found = {int(path.stem.split("_")[1]): path for path in TABLES.glob(f"{instructions}_*.yaml")}
    if not found:
        return _reference()
    least = min(found)
    number = max((known for known in found if known <= threads), default=least)
    return Kernels(f"package's {found[number].stem}", DeviceTable.load(found[number]).kernels)


def best(ms: Mapping[str, float]) -> str:
    """The kernel to take, of those that were timed, in order of preference."""
    names = iter(ms)
    taken = next(names)
    for name in names:
        if ms[name] < MARGIN * ms[taken]:
            taken = name
    return taken


class Ranks(Protocol):
    """The processes of a run: `autox3d.runtime.distributed.World`."""

    @property
    def rank(self) -> int:
        """The number of this process."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        ...

    def share(self, value: Any) -> Any:
        """The value of rank 0, on every rank."""
        ...


@contextmanager
def decided(ranks: Ranks, table: Path | None, saved: Mapping[str, Any] | None) -> Iterator[Kernels]:
    """Takes the kernels in the block that rank 0 decides on.

    Args:
        table: the file that the settings name; None for the package's tables
        saved: the run's checkpoint, whose `kernels` count; one of an earlier version had none

    Raises:
        Refused: the file is missing or damaged.
    """
    found: dict[str, Any] = {}
    if ranks.rank == 0:
        kept = _reference().plain() if saved else _named(ranks.device, table).plain()
        found = (saved or {}).get("kernels", kept)
    with using_kernels(Kernels.of(ranks.share(found))) as kernels:
        yield kernels


def here(device: torch.device) -> Device:
    """What this process computes on."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else str(torch.cpu.get_capabilities().get("cpu_name", "CPU"))
    )
    instructions, threads = _kind(device)
    return Device(name=name, instructions=instructions, threads=threads, torch=torch.__version__)


def _kind(device: torch.device) -> tuple[str, int]:
    """The instruction set and the number of threads."""
    if device.type == "cuda":
        return "sm_{}{}".format(*torch.cuda.get_device_capability(device)), 1
    return torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()


def _reference() -> Kernels:
    return Kernels(REFERENCE, ())


def _named(device: torch.device, table: Path | None) -> Kernels:
    """The choices of a file, if it was made for a device like this one, or else the package's."""
    own = packaged(*_kind(device))
    if table is None:
        return own
    found = DeviceTable.load(table)
    if why := found.device.difference(here(device)):
        line = f"{table}: {why}. Using the {own.name} table. Make one here: autox3d tune"
        print(line, file=sys.stderr, flush=True)
        return own
    return Kernels(f"{table} ({found.device})", found.kernels)
