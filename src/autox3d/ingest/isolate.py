"""Work on files that nobody vouches for, in processes that may crash, hang or eat memory.

Each worker is one process with a memory limit, in a session of its own: what it started dies
with it. It serves job after job; one that is lost costs its result and a new process, no more.
Where the parent is killed, its workers die, whatever they are at, and what they started.
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
AHEAD = 64  # jobs that may be done before an earlier one is


@dataclass(frozen=True)
class Lost:
    """In place of the result of a job whose worker did not come back."""

    reason: Literal["timeout", "crashed"]


@dataclass
class _Worker(Generic[Job, Result]):
    work: Callable[[Job], Result]
    memory_mb: int
    job: int | None = None  # number of the job in hand
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
        self.pipe.recv()  # it is ready; where it cannot start at all, EOFError ends us both
        self.job = None

    def work_module(self) -> str:
        return getattr(self.work, "func", self.work).__module__  # of a partial: what it calls

    def give(self, number: int, job: Job, timeout: float) -> None:
        self.job, self.deadline = number, time.monotonic() + timeout
        self.pipe.send(job)

    def take(self) -> Result | Lost | None:
        """The result of the job in hand, or None where it is still at work."""
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except (EOFError, ConnectionError):
            return Lost("crashed")
        return Lost("timeout") if time.monotonic() > self.deadline else None

    def kill(self) -> None:
        """The worker with all that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # gone, or not yet in its own session
            self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, work: Callable[[Any], Any], memory_mb: int) -> None:
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
    """A process beside this one waits for the parent's end, since this one may hang in a decoder.

    It kills the session: a signal from the kernel (PR_SET_PDEATHSIG) would not reach ffmpeg.
    """
    parent = multiprocessing.parent_process()
    if parent is None or os.fork():
        return
    pipe.close()  # its end tells the parent that the worker is gone
    parent.join()
    os.killpg(0, signal.SIGKILL)


def run_isolated(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    timeout: float,
    memory_mb: int,
) -> Generator[Result | Lost, None, None]:
    """`work(job)` for each job, in the order of the jobs, or Lost.

    `work` is a function of a module, or a partial of one; it raises nothing. `timeout` in seconds
    a job; `memory_mb` of address space for a worker, and as much for each process it starts.
    """
    pool = [_Worker(work, memory_mb) for _ in range(min(workers, len(jobs)))]
    done: dict[int, Result | Lost] = {}
    given = told = 0
    try:
        while told < len(jobs):
            for worker in pool:
                if worker.job is None and given < min(len(jobs), told + AHEAD):
                    worker.give(given, jobs[given], timeout)
                    given += 1
            busy = [worker for worker in pool if worker.job is not None]
            until = min((worker.deadline for worker in busy), default=0.0)
            wait([worker.pipe for worker in busy], max(0.0, until - time.monotonic()) + 0.01)
            for worker in busy:
                result = worker.take()
                if result is None or worker.job is None:
                    continue
                done[worker.job], worker.job = result, None
                if isinstance(result, Lost):
                    worker.kill()
                    worker.start()
            while told in done:
                yield done.pop(told)
                told += 1
    finally:
        for worker in pool:
            worker.kill()
