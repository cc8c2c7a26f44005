"""The processes (ranks) of one job, and how they exchange tensors and values.

`autox3d.runtime.launch` starts them. A single process exchanges nothing and needs no launcher.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from autox3d.core import environment
from autox3d.core.errors import Refused

T = TypeVar("T")


class RanksLost(Refused):
    """Another rank died, hung, or computed a different value."""


@dataclass(frozen=True)
class World:
    """This process among the `size` processes of the job."""

    rank: int
    size: int
    device: torch.device

    @property
    def place(self) -> tuple[int, int]:
        """The rank and the number of processes, by which loaders share the clips."""
        return self.rank, self.size

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Sums each tensor over the ranks, in place, with one message for each dtype."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            bucket = [tensor for tensor in tensors if tensor.dtype == dtype]
            alone = len(bucket) == 1 and bucket[0].is_contiguous()
            flat = bucket[0].detach() if alone else _joined(bucket)
            with self._naming("sum"):
                dist.all_reduce(flat)
            if alone:
                continue
            pieces = flat.split([tensor.numel() for tensor in bucket])
            with torch.no_grad():
                for tensor, piece in zip(bucket, pieces, strict=True):
                    tensor.copy_(piece.view(tensor.shape))

    @property
    def overlaps(self) -> bool:
        """Whether the device computes while a sum is under way; a CPU's cores are busy with it."""
        return self.device.type == "cuda"

    def begin_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Begins to sum a contiguous tensor over the ranks, in place; the result waits for the end.

        All ranks begin their sums in the same order. On a GPU it is the device that waits.
        """
        if self.size == 1:
            return lambda: None
        with self._naming("sum"):
            work = dist.all_reduce(tensor, async_op=True)
        assert work is not None

        def wait() -> None:
            with self._naming("sum"):
                work.wait()

        return wait

    def gather(self, value: T) -> list[T]:
        """Returns the values of all ranks, in rank order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size
        with self._naming("gather"):
            dist.all_gather_object(values, value)
        return values

    def collect(self, value: T) -> list[T]:
        """Returns the values of all ranks, in rank order, on rank 0; none on the others."""
        if self.size == 1:
            return [value]
        values: list[T] | None = [value] * self.size if self.rank == 0 else None
        with self._naming("collect"):
            dist.gather_object(value, values)
        return values or []

    def share(self, value: T) -> T:
        """Returns the value of rank 0, on every rank."""
        if self.size == 1:
            return value
        values = [value]
        with self._naming("share"):
            dist.broadcast_object_list(values)
        return values[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.size == 1:
            return flag
        raised = torch.tensor(int(flag))  # on the CPU: the host need not wait for a device
        self.sum_([raised])
        return bool(raised.item())

    def barrier(self) -> None:
        """Waits until every rank has reached this point."""
        self.any(False)

    def agree(
        self, what: str, value: Tensor | bytes | str | float, way_out: str = "Report this error."
    ) -> None:
        """Checks that a value is the same on every rank, bit for bit.

        Raises:
            RanksLost: on every rank; the message names the ranks that differ from rank 0.
        """
        digests = self.gather(_digest(value))
        odd = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
        if odd:
            ranks = ", ".join(odd)
            raise RanksLost(f"{self}: {what} of rank {ranks} differs from rank 0's. {way_out}")

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size} ({socket.gethostname()}, pid {os.getpid()})"

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what gloo and NCCL raise
            reason = re.sub(r"^\[\S+\] ", "", str(error)).partition(". ")[0]
            line = f"{self}: lost the others in '{what}' ({reason}). Run again."
            raise RanksLost(line) from error


@contextmanager
def join() -> Iterator[World]:
    """Joins the other processes of the job: NCCL between GPUs, gloo between CPUs.

    A single process joins nothing. A rank that leaves with an error ends the job, because the
    launcher stops the others. A `join` inside another one gives the same world, which lets the
    runs of a study share it.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    world = World(rank, size, device)
    if size == 1 or dist.is_initialized():
        yield world
        return
    with world._naming("join"):  # a rank may die before all have joined
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            timeout=timedelta(seconds=environment.timeout()),
            device_id=device if device.type == "cuda" else None,
        )
    try:
        yield world
        world.barrier()
    finally:
        dist.destroy_process_group()


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _digest(value: Tensor | bytes | str | float) -> str:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous().reshape(-1)
        data = plain.view(torch.uint8).numpy().tobytes()
        return hashlib.sha256(f"{value.dtype} {tuple(value.shape)}".encode() + data).hexdigest()
    data = value if isinstance(value, bytes) else repr(value).encode()
    return hashlib.sha256(data).hexdigest()
