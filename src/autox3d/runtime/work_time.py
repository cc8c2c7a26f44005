"""How long a run has worked, and how much of that it has waited for clips."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from autox3d.runtime.distributed import World


class WorkTime:
    """The time of a run, summed over all processes that continued it one after another.

    Args:
        waited: gives the seconds that this process has waited for clips so far
    """

    def __init__(self, waited: Callable[[], float]) -> None:
        self._waited, self._began = waited, time.monotonic()
        self._before, self._waited_before, self._warned = 0.0, 0.0, False

    def resume(self, saved: dict[str, Any]) -> None:
        """Adds what an earlier process took, from its checkpoint."""
        self._before, self._waited_before = saved["seconds"], saved.get("waited", 0.0)

    def begin(self) -> None:
        """Counts this process's time from now on."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of work so far."""
        return self._before + time.monotonic() - self._began

    @property
    def waited(self) -> float:
        """Seconds of them in which this process waited for clips."""
        return self._waited_before + self._waited()

    @property
    def data_wait(self) -> float:
        """The share of the work so far in which this process waited for clips."""
        return self.waited / self.seconds

    def saved(self) -> dict[str, float]:
        """What `resume` needs, for a checkpoint."""
        return {"seconds": self.seconds, "waited": self.waited}

    def slowest(self, world: World, much: float, line: Callable[[float], str]) -> float:
        """`data_wait` of the slowest process; rank 0 says once, by `line`, where it is over `much`.

        All processes of the world must call it.
        """
        share = max(world.gather(self.data_wait))
        if share > much and world.rank == 0 and not self._warned:
            self._warned = True
            print(line(share), file=sys.stderr, flush=True)
        return share
