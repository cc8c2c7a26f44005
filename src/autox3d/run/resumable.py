"""The steps of a long stage: watched, saved now and then, and stopped when a signal asks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from autox3d.run.checkpoint import RESUME, Checkpoints, stop_requested
from autox3d.run.distributed import World
from autox3d.run.progress import progress

SAVE_EVERY = 600.0  # s between checkpoints within an epoch; each epoch ends with one

Step = TypeVar("Step")


def resumable(
    steps: Iterator[Step],
    left: int,
    what: str,
    *,
    ends_epoch: Callable[[Step], bool],
    state: Callable[[], tuple[int, dict[str, Any]]],
    kept: Checkpoints,
    world: World,
) -> Iterator[Step]:
    """The same steps; what the caller does with one is done before that one is saved.

    Args:
        left: how many there are.
        what: they do, for the progress bar.
        state: how many are done in all, and everything that a later process needs to go on.

    Raises:
        SystemExit: a rank was told to stop; the state is saved, and the status says "run again".
    """
    saved = time.monotonic()
    for step in progress(steps, left, what, "steps"):
        yield step
        stop = world.any(stop_requested())
        if stop or ends_epoch(step) or time.monotonic() - saved > SAVE_EVERY:
            kept.save(*state())
            saved = time.monotonic()
        if stop:
            world.barrier()  # a rank that leaves first ends the others
            sys.exit(RESUME)
