"""Runs jobs in worker processes that work ahead, and yields the results in order."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from autox3d.core import environment
from autox3d.core.errors import Refused

GRACE = 30  # s that a worker continues after SIGTERM
Job = TypeVar("Job")
Result = TypeVar("Result")


class _Jobs(Dataset, Generic[Job, Result]):
    """Runs each job; user errors are returned, not raised, to survive the worker boundary."""

    def __init__(self, make: Callable[[Job], Result]) -> None:
        self._make = make

    def __getitem__(self, job: Any) -> Result | Refused:
        try:
            return self._make(job)
        except Refused as error:
            return error


def in_workers(
    make: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None, ahead: int = 4
) -> Generator[Result, None, None]:
    """Yields `make(job)` for each job in order.

    Args:
        workers: number of processes; 0: none, None: `default_workers()`
        ahead: jobs that each worker prepares in advance

    Raises:
        Refused: by `make`.
    """
    count = default_workers() if workers is None else workers
    loader = DataLoader(
        _Jobs(make),
        batch_size=None,
        sampler=jobs,  # type: ignore[arg-type]  # the jobs themselves go to the workers
        num_workers=min(count, len(jobs)),
        prefetch_factor=ahead if count and jobs else None,
        # A fork starts within milliseconds, and nothing here touches a GPU or another thread
        multiprocessing_context="fork" if count and jobs else None,
        worker_init_fn=_quiet,
        collate_fn=_as_made,
    )
    results = iter(loader)
    try:
        for result in results:
            if isinstance(result, Refused):
                raise result
            yield result
    finally:  # at once: a traceback would keep the iterator, and with it the workers, alive
        if count and jobs:
            results._shutdown_workers()  # type: ignore[attr-defined]


def _as_made(result: Result) -> Result:
    """Returns the result unchanged; by default the loader would convert tuples and arrays."""
    return result


def _quiet(_worker: int) -> None:
    """Ignores SIGINT, and ends a worker only GRACE seconds after SIGTERM.

    A cluster signals every process of a job, and the main process decides when to stop.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))


def default_workers() -> int:
    """The number of workers: AUTOX3D_WORKERS if it is set, else one for each spare core.

    The host's training processes share its cores, and each keeps one core for itself.
    """
    configured = environment.workers()
    if configured is not None:
        return configured
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // here - 1)
