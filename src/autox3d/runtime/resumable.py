"""The steps of a long stage: watched, saved now and then, and stopped when a signal asks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NoReturn, Protocol, TypeVar

from torch import nn

from autox3d.core import atomic, environment
from autox3d.core.errors import Refused
from autox3d.runtime.checkpoint import RESUME, Checkpoints, stop_requested
from autox3d.runtime.distributed import World
from autox3d.runtime.progress import progress

NAMED = 8  # clips that a message names; the file beside the checkpoints has all

T = TypeVar("T")


class Work(Protocol):
    """A long stage, as it is seen from here."""

    @property
    def world(self) -> World:
        """The processes that share it."""
        ...

    @property
    def net(self) -> nn.Module:
        """Whose weights are saved only where they are finite."""
        ...

    def saved(self) -> tuple[int, dict[str, Any]]:
        """How many steps are done, and everything that a later process needs to go on."""
        ...

    def ends_epoch(self) -> bool:
        """Whether the step just done is the last one of its epoch."""
        ...

    def is_best(self) -> bool:
        """Whether nothing before was better than the epoch just done."""
        ...

    def clips_of(self, error: FloatingPointError, *, done: bool) -> list[str]:
        """The clips of the step that it tells of: the last one done, or the one that failed."""
        ...


def newest(kept: Checkpoints, world: World) -> dict[str, Any] | None:
    """The state of the newest checkpoint, of the same step on every rank; None before the first.

    Raises:
        Lost: a rank sees another one, on a disk of its own or before a file has come to it.
    """
    found = kept.newest()
    way_out = f"Run again, where all ranks see the same {kept.folder}."
    world.agree("the newest checkpoint", found[0] if found else "none", way_out)
    return found[1] if found else None


def resumable(
    work: Work, steps: Iterator[T], left: int, what: str, kept: Checkpoints
) -> Iterator[T]:
    """The same steps; what the caller does with one is done before that one is saved.

    Args:
        left: how many there are.
        what: they do, for the progress bar.

    Raises:
        SystemExit: a rank was told to stop; the state is saved, and the status says "run again".
        Refused: a loss, a gradient or a weight is not finite; the last checkpoint stands.
    """
    last, save_every = time.monotonic(), environment.save_every()
    try:
        for step in progress(steps, left, what, "steps"):
            yield step
            if work.world.any(stop_requested()):
                leave(work, kept)
            if work.ends_epoch() or time.monotonic() - last > save_every:
                save(work, kept)
                last = time.monotonic()
    except FloatingPointError as error:
        raise _refusal(work, error, kept, done=False) from error


def until_stopped(items: Iterable[T], rounds: int, work: Work, kept: Checkpoints) -> Iterator[T]:
    """The items, one a round, until any rank is told to stop; then it saves and exits.

    Args:
        rounds: the same number on every rank, also where there is an item less.
    """
    found = iter(items)
    for _ in range(rounds):
        if work.world.any(stop_requested()):
            leave(work, kept)
        yield from islice(found, 1)


def save(work: Work, kept: Checkpoints) -> None:
    """A checkpoint of finite weights only, so that the newest one is a place to go on from.

    Raises:
        Refused: a weight is not finite, on every rank.
    """
    step, state = work.saved()
    if not all(weight.isfinite().all() for weight in work.net.parameters()):
        error = FloatingPointError(f"the weights after step {step - 1} are not finite")
        raise _refusal(work, error, kept, done=True)
    kept.save(step, state, best=work.is_best())


def leave(work: Work, kept: Checkpoints) -> NoReturn:
    """Saves and exits with RESUME."""
    save(work, kept)
    work.world.barrier()  # a rank that leaves first ends the others
    sys.exit(RESUME)


def _refusal(work: Work, error: FloatingPointError, kept: Checkpoints, *, done: bool) -> Refused:
    """Names the step, its clips and what is kept; a file has all clips, one a line."""
    clips = work.clips_of(error, done=done)
    path = kept.folder / "not-finite.txt"
    if work.world.rank == 0:
        atomic.write_text(path, "".join(f"{clip}\n" for clip in clips))
    named = ", ".join(clips[:NAMED]) + (f" and {len(clips) - NAMED} more" * (len(clips) > NAMED))
    return Refused(
        f"{path}: {error}, from {named}; {kept.standing()}. "
        "Run again; if it comes back, look at these clips or lower the rate."
    )
