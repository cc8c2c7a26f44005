"""Items made in a thread before they are asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], count: int) -> Generator[T, None, None]:
    """The items in their order, up to `count` of them made while the last one is in use.

    What goes wrong in making them is raised here. The thread ends with the generator.
    """
    made: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(count)
    unwanted = threading.Event()

    def put(more: bool, item: T | BaseException | None) -> bool:
        while not unwanted.is_set():
            try:
                made.put((more, item), timeout=0.1)
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
            more, item = made.get()
            if more:
                yield item  # pyright: ignore[reportReturnType]
            elif item is None:
                return
            else:
                raise item  # pyright: ignore[reportGeneralTypeIssues]
    finally:
        unwanted.set()
        thread.join()
