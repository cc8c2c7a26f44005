"""Prefetching: a thread makes items before they are needed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], count: int) -> Generator[T, None, None]:
    """Yields the items in order, while a thread makes up to `count` of the next ones.

    An error in making an item is raised here. The thread ends with the generator.
    """
    ready: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(count)
    unwanted = threading.Event()

    def put(more: bool, item: T | BaseException | None) -> bool:
        while not unwanted.is_set():
            try:
                ready.put((more, item), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(True, item):
                    return
            put(False, None)
        except BaseException as error:  # noqa: BLE001  # raised where the items are used
            put(False, error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            more, item = ready.get()
            if more:
                yield item  # pyright: ignore[reportReturnType]
            elif item is None:
                return
            else:
                raise item  # pyright: ignore[reportGeneralTypeIssues]
    finally:
        unwanted.set()
        thread.join()
