"""Brings the loader's clips to the device while it still works on those before.

    feed = Feed(device)
    for batch in feed(loader.epoch(0), ("clips", "labels")): ...
    feed.waited  # s that the loop stood still for want of clips

On a GPU a thread takes the next item from the loader, puts its tensors into pinned memory and
copies them on a stream of its own, one item ahead. The loop waits for an event, and the device for
nothing else. PyTorch gives a pinned buffer out again when the copy from it has ended, so that two
or three of them go round. On a CPU items are handed on as they are.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item", bound=NamedTuple)
MUCH = 0.1  # share of the time in waiting that is worth a line
AHEAD = 1  # items on the device that the loop has not asked for yet
PATIENCE = 0.1  # s after which the thread looks whether it is still wanted


class Lane(Protocol):
    """A way to a device, beside the one on which it computes."""

    def begin(self) -> None:
        """Prepares the thread that sends."""
        ...

    def send(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], Any]:
        """Starts to copy tensors; returns the copies, and what `receive` waits for."""
        ...

    def receive(self, copies: Sequence[Tensor], sent: Any) -> None:
        """Lets what follows on the device, in the thread that calls, see the whole copies."""
        ...


class SideStream:
    """The lane of a GPU: pinned memory, and a stream for copies alone."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def begin(self) -> None:
        """Chooses the GPU, which each thread does for itself: pinned memory belongs to one."""
        torch.cuda.set_device(self.device)

    def send(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], torch.cuda.Event]:
        """Copies from pinned memory, without waiting for the end."""
        pinned = [one if one.is_pinned() else one.pin_memory() for one in tensors]
        with torch.cuda.stream(self.stream):
            copies = [one.to(self.device, non_blocking=True) for one in pinned]
        sent = torch.cuda.Event()
        sent.record(self.stream)
        return copies, sent

    def receive(self, copies: Sequence[Tensor], sent: torch.cuda.Event) -> None:
        """The current stream waits for the copies, and their memory is kept until it is done."""
        current = torch.cuda.current_stream(self.device)
        current.wait_event(sent)
        for one in copies:
            one.record_stream(current)


class Feed:
    """Hands on items of a loader, with some of their tensors on the device.

    Args:
        lane: the way to the device; by default a `SideStream` for a GPU, and none for a CPU
    """

    def __init__(self, device: torch.device, lane: Lane | None = None) -> None:
        self.lane = SideStream(device) if lane is None and device.type == "cuda" else lane
        self.waited = 0.0  # s that callers have waited for items

    def begun(
        self, loaders: Sequence[Generator[Item, None, None]]
    ) -> list[Generator[Item, None, None]]:
        """Takes the first item of each loader, and returns generators of all their items.

        So all have their workers before a thread takes the second item of one of them.
        """
        began = time.perf_counter()
        firsts = [list(islice(loader, 1)) for loader in loaders]
        self.waited += time.perf_counter() - began
        return [_again(first, loader) for first, loader in zip(firsts, loaders, strict=True)]

    def __call__(self, items: Iterable[Item], fields: Sequence[str]) -> Generator[Item, None, None]:
        """Yields the items in order, with their tensors `fields` on the device.

        The first item is taken in the calling thread: a loader forks its workers then, and a
        process should not fork while another thread of it computes.

        Raises:
            Exception: whatever the loader raises, where its item would have been.
        """
        source = iter(items)
        moved = source if self.lane is None else _moved(source, fields, self.lane)
        try:
            while True:
                began = time.perf_counter()
                item = next(moved, None)
                self.waited += time.perf_counter() - began
                if item is None:
                    return
                yield item
        finally:
            for one in (moved, source):  # the thread first, then the loader's workers
                if isinstance(one, Generator):
                    one.close()


def waiting(what: str, share: float, setting: str, repeats: int) -> str:
    """The line about a run that waits for clips much of its time, with what to change.

    Args:
        what: the run
        setting: of the sampling, with its present `repeats`
    """
    return (
        f"{what}: {share:.0%} of the time is waiting for clips. Give the job more cores for "
        "each process (or AUTOX3D_WORKERS where it leaves some idle), or raise "
        f"'{setting}.repeats' to {2 * repeats}."
    )


def _again(first: list[Item], others: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """Yields items that were taken already, then the others."""
    with closing(others):
        yield from first
        yield from others


def _moved(
    source: Iterator[Item], fields: Sequence[str], lane: Lane
) -> Generator[Item, None, None]:
    """Yields items whose tensors another thread has sent along the lane."""
    first = next(source, None)
    if first is None:
        return
    ready: queue.Queue[Any] = queue.Queue(AHEAD)
    unwanted = threading.Event()
    thread = threading.Thread(
        target=_send_all, args=(source, fields, lane, ready, unwanted), daemon=True
    )
    sent = _sent(first, fields, lane)
    thread.start()
    try:
        while sent is not None:
            if isinstance(sent, BaseException):
                raise sent
            item, mark = sent
            lane.receive([getattr(item, name) for name in fields], mark)
            yield item
            sent = ready.get()
    finally:
        unwanted.set()
        thread.join()


def _send_all(
    source: Iterator[Item],
    fields: Sequence[str],
    lane: Lane,
    ready: queue.Queue[Any],
    unwanted: threading.Event,
) -> None:
    """The work of the thread: sends each item, then None or the error that ended them."""

    def put(what: Any) -> None:
        while not unwanted.is_set():
            try:
                return ready.put(what, timeout=PATIENCE)
            except queue.Full:
                continue

    try:
        lane.begin()
        while not unwanted.is_set() and (item := next(source, None)) is not None:
            put(_sent(item, fields, lane))
        put(None)
    except BaseException as error:  # noqa: BLE001  # raised where the items are used
        put(error)


def _sent(item: Item, fields: Sequence[str], lane: Lane) -> tuple[Item, Any]:
    copies, mark = lane.send([getattr(item, name) for name in fields])
    return item._replace(**dict(zip(fields, copies, strict=True))), mark
