"""Runs the steps of a long run with progress, checkpoints and a clean stop on a signal."""

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

NAMED = 8  # clips that a message names; the file beside the checkpoints lists all

T = TypeVar("T")


class Resumable(Protocol):
    """A long run that can be saved after any step and resumed: a training or a search."""

    @property
    def world(self) -> World:
        """The processes that share the run."""
        ...

    @property
    def net(self) -> nn.Module:
        """The network; a checkpoint is written only while its weights are finite."""
        ...

    def saved(self) -> tuple[int, dict[str, Any]]:
        """The number of steps done, and all the state that a later process needs to resume."""
        ...

    def ends_epoch(self) -> bool:
        """Whether the latest step was the last one of its epoch."""
        ...

    def is_best(self) -> bool:
        """Whether the latest epoch is the best one so far."""
        ...

    def clips_of(self, error: FloatingPointError, *, done: bool) -> list[str]:
        """The keys of the clips that the error is about.

        Args:
            done: the error is about the step that was just done, not about the one that failed.
        """
        ...


def newest(kept: Checkpoints, world: World) -> dict[str, Any] | None:
    """The state of the newest checkpoint, the same one on every rank; None if there is none.

    Raises:
        RanksLost: a rank sees another checkpoint: it has a disk of its own, or a file system that
            does not show the file yet.
    """
    saved = kept.newest()
    way_out = f"Run again, where all ranks see the same {kept.folder}."
    world.agree("the newest checkpoint", saved[0] if saved else "none", way_out)
    return saved[1] if saved else None


def resumable(
    work: Resumable, steps: Iterator[T], left: int, what: str, kept: Checkpoints
) -> Iterator[T]:
    """Yields the steps, and saves a checkpoint now and then and at the end of each epoch.

    The caller's loop body runs before the step that it received is saved.

    Args:
        left: the number of steps that are left.
        what: the label of the progress bar.

    Raises:
        SystemExit: a rank received a stop signal; the state is saved, and the exit status is
            RESUME.
        Refused: a loss, a gradient or a weight is not finite; the last checkpoint is kept.
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


def until_stopped(
    items: Iterable[T], rounds: int, work: Resumable, kept: Checkpoints
) -> Iterator[T]:
    """Yields one item a round until any rank receives a stop signal; then saves and exits.

    Args:
        rounds: the number of rounds, the same on every rank, also on one that has an item less.
    """
    source = iter(items)
    for _ in range(rounds):
        if work.world.any(stop_requested()):
            leave(work, kept)
        yield from islice(source, 1)


def save(work: Resumable, kept: Checkpoints) -> None:
    """Saves a checkpoint if all weights are finite, so that the newest one can be resumed.

    Raises:
        Refused: a weight is not finite, on every rank.
    """
    step, state = work.saved()
    if not all(weight.isfinite().all() for weight in work.net.parameters()):
        error = FloatingPointError(f"the weights after step {step - 1} are not finite")
        raise _refusal(work, error, kept, done=True)
    kept.save(step, state, best=work.is_best())


def leave(work: Resumable, kept: Checkpoints) -> NoReturn:
    """Saves a checkpoint and exits with status RESUME."""
    save(work, kept)
    work.world.barrier()  # a rank that leaves first ends the others
    sys.exit(RESUME)


def _refusal(
    work: Resumable, error: FloatingPointError, kept: Checkpoints, *, done: bool
) -> Refused:
    """The message: the step, its clips and what is kept; a file lists all clips, one a line."""
    clips = work.clips_of(error, done=done)
    path = kept.folder / "not-finite.txt"
    if work.world.rank == 0:
        atomic.write_text(path, "".join(f"{clip}\n" for clip in clips))
    named = ", ".join(clips[:NAMED]) + (f" and {len(clips) - NAMED} more" * (len(clips) > NAMED))
    return Refused(
        f"{path}: {error}, from {named}; {kept.resume_point()}. "
        "Run again; if it happens again, look at these clips or lower the learning rate."
    )
