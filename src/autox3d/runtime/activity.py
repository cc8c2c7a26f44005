"""What a stage is doing, as a small file that anybody may read: `.pipeline/<stage>.json`.

Both engines tell a stage its name (DVC_STAGE). From then on its program writes down who and where
it is, how far it has come, the last checkpoint, and how it ended. `autox3d status` reads these
files and takes no lock. No failure to write one affects the stage.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from autox3d.core import atomic, environment
from autox3d.runtime.lock import started

T = TypeVar("T")
FOLDER = Path(".pipeline")  # stamps, logs, locks and signs; it may be deleted while nothing runs
EXPERIMENTS = FOLDER / "experiments"  # the signs of experiments that run in copies of the clone
PAUSE = 2.0  # s between signs, at least
End = Literal["", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """The last sign of life of a stage."""

    stage: str
    host: str
    pid: int
    started: str | None  # of the process, in ticks since boot: ids are reused
    begun: float  # s since 1970
    what: str = ""  # the loop that it is in
    unit: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0  # that the loop has taken
    saved: int | None = None  # step of the last checkpoint
    end: End = ""
    why: str = ""  # the last line of a stage that failed

    @property
    def left(self) -> float | None:
        """Seconds until the loop ends at its rate so far; None where there is no rate yet."""
        return self.seconds / self.done * (self.total - self.done) if self.done else None

    @property
    def alive(self) -> bool:
        """Whether the stage is at work; of another host, whether it has not said that it ended."""
        if self.end or self.host != socket.gethostname():
            return not self.end
        return started(self.pid) == self.started


_sign: Sign | None = None  # of this process
_latest = 0.0


def begin() -> None:
    """Writes the first sign, if an engine runs this process as a stage, or as its first rank."""
    global _sign
    stage, rank = os.environ.get("DVC_STAGE"), os.environ.get("RANK")
    if not stage or (rank or os.environ.get("SLURM_PROCID", "0")) != "0":
        return
    pid = os.getpid()
    host, now = socket.gethostname(), time.time()
    _sign = Sign(stage=stage, host=host, pid=pid, started=started(pid), begun=now)
    _write()


def noted(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    """Yields the items, and writes now and then how many are done."""
    begun = time.monotonic()
    for number, item in enumerate(items):
        if _sign and (number == 0 or time.monotonic() - _latest > PAUSE):
            seconds = time.monotonic() - begun
            note(what=what, unit=unit, done=number, total=total, seconds=seconds)
        yield item


def note(**changes: object) -> None:
    """Writes a sign with these changes."""
    global _sign
    if _sign:
        _sign = replace(_sign, **changes)  # type: ignore[arg-type]
        _write()


def ended(how: End, why: str = "") -> None:
    """Writes the last sign; what a rank has written about the same end stays."""
    last = read(path(_sign.stage)) if _sign else None
    if last and not last.end:
        note(**asdict(last) | {"end": how, "why": why})
    if how == "done" and _sign and environment.clone() != Path():
        with contextlib.suppress(OSError):
            path(_sign.stage).unlink(missing_ok=True)


def path(stage: str) -> Path:
    """The file of a stage, in the clone that DVC names; copies of it have a folder each."""
    copied = environment.clone() != Path()
    folder = EXPERIMENTS / environment.experiment() if copied else FOLDER
    return Path(os.environ.get("DVC_ROOT", "")) / folder / f"{stage.replace('/', '_')}.json"


def read(file: Path) -> Sign | None:
    """The sign in a file; None where there is none, or not one of this version."""
    try:
        return Sign(**json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        return None


def _write() -> None:
    global _latest
    assert _sign
    _latest = time.monotonic()
    with contextlib.suppress(OSError):
        path(_sign.stage).parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path(_sign.stage), asdict(_sign))
