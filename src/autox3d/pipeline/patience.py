"""Waiting for DVC's lock, and DVC's errors as one line."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

os.environ.setdefault("DVC_NO_ANALYTICS", "1")

from dvc.exceptions import DvcException
from dvc.lock import LockError

from autox3d.core import environment
from autox3d.core.errors import Refused

T = TypeVar("T")


def patiently(name: str, action: Callable[[], T]) -> T:
    """Runs an action that needs DVC's lock, as soon as no other DVC process holds it.

    Raises:
        Refused: another process holds the lock for too long, or DVC reports an error.
    """
    seconds = environment.patience()
    until, announced = time.monotonic() + seconds, False
    while True:
        try:
            with one_line(name):
                return action()
        except LockError as error:
            if not announced:
                say(f"{name}: waiting for another DVC process")
                announced = True
            if time.monotonic() > until:
                raise Refused(
                    f"{name}: DVC has been locked for {seconds:.0f} s. Find the dvc process that "
                    "works here; if there is none, delete .dvc/tmp/rwlock."
                ) from error
            time.sleep(0.2)


@contextlib.contextmanager
def one_line(name: str) -> Iterator[None]:
    """Turns an error of DVC into a user error of one line."""
    try:
        yield
    except LockError:
        raise
    except DvcException as error:
        reasons = [" ".join(str(reason).split()) for reason in (error, error.__cause__) if reason]
        raise Refused(f"{name}: {': '.join(reasons)}") from error


def say(line: str) -> None:
    """Prints a line on stderr at once."""
    print(line, file=sys.stderr, flush=True)
