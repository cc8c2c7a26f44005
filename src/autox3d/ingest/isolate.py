"""Runs work on untrusted files in worker processes with time and memory limits.

Each worker is one process in a session of its own, so that killing it kills all that it has
started. It works off job after job; a job that fails costs its result and a new process, and no
more. Where the parent is killed, its workers and all that they have started die, too.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
AHEAD = 64  # jobs that may be finished before an earlier one is


@dataclass(frozen=True)
class WorkerFailure:
    """Takes the place of a result whose worker ran out of time or died."""

    reason: Literal["timeout", "crashed"]


@dataclass
class _Worker(Generic[Job, Result]):
    work: Callable[[Job], Result]
    memory_mb: int
    job: int | None = None  # number of the current job
    deadline: float = 0.0  # of that job, on the monotonic clock
    process: Any = field(init=False)
    pipe: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        # A fork of a clean server process: as quick as a fork, without this process's threads
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([self.work_module()])
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self.work, self.memory_mb)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.recv()  # the worker is ready; where it cannot start at all, EOFError ends us both
        self.job = None

    def work_module(self) -> str:
        """Returns the module of the work function; of a partial, that of the function it calls."""
        return getattr(self.work, "func", self.work).__module__

    def give(self, number: int, job: Job, timeout: float) -> None:
        """Sends a job, which has `timeout` seconds from now on."""
        self.job, self.deadline = number, time.monotonic() + timeout
        self.pipe.send(job)

    def take(self) -> Result | WorkerFailure | None:
        """Returns the result of the current job, or None while the worker is busy with it."""
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except (EOFError, ConnectionError):
            return WorkerFailure("crashed")
        return WorkerFailure("timeout") if time.monotonic() > self.deadline else None

    def kill(self) -> None:
        """Kills the worker and all that it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # gone, or not yet in its own session
            self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, work: Callable[[Any], Any], memory_mb: int) -> None:
    """Runs in the worker: does the jobs that come through the pipe, until it is closed."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent(pipe)
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    while True:
        try:
            job = pipe.recv()
        except EOFError:  # the parent is gone
            return
        pipe.send(work(job))


def _die_with_parent(pipe: Connection) -> None:
    """Forks a process that waits for the parent's end and then kills this session.

    The worker cannot do it, since it may hang in a decoder; and a signal from the kernel
    (PR_SET_PDEATHSIG) would not reach the ffmpeg that it has started.
    """
    parent = multiprocessing.parent_process()
    if parent is None or os.fork():
        return
    pipe.close()  # the parent sees the worker's end by the pipe, so no other process may hold it
    parent.join()
    os.killpg(0, signal.SIGKILL)


def run_isolated(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    timeout: float,
    memory_mb: int,
) -> Generator[Result | WorkerFailure, None, None]:
    """Yields `work(job)`, or a `WorkerFailure`, for each job in the order of the jobs.

    `work` is a function of a module, or a partial of one, and must not raise. `timeout` is in
    seconds a job; `memory_mb` limits the address space of a worker, and of each process that it
    starts.
    """
    pool = [_Worker(work, memory_mb) for _ in range(min(workers, len(jobs)))]
    finished: dict[int, Result | WorkerFailure] = {}
    given = yielded = 0
    try:
        while yielded < len(jobs):
            for worker in pool:
                if worker.job is None and given < min(len(jobs), yielded + AHEAD):
                    worker.give(given, jobs[given], timeout)
                    given += 1
            busy = [worker for worker in pool if worker.job is not None]
            until = min((worker.deadline for worker in busy), default=0.0)
            wait([worker.pipe for worker in busy], max(0.0, until - time.monotonic()) + 0.01)
            for worker in busy:
                result = worker.take()
                if result is None or worker.job is None:
                    continue
                finished[worker.job], worker.job = result, None
                if isinstance(result, WorkerFailure):
                    worker.kill()
                    worker.start()
            while yielded in finished:
                yield finished.pop(yielded)
                yielded += 1
    finally:
        for worker in pool:
            worker.kill()
