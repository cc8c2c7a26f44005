"""A lock file with a heartbeat: one job at a time works in a folder.

The lock is a plain file with an owner, not a lock of the file system: those rely on process ids
and on file systems, neither of which the nodes of a cluster share. A lock is stale when its owner
has ended (on this machine), or when its heartbeat did not move for as long as we watched it (on
another machine). No clocks are compared.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from autox3d.core.errors import Refused

BEAT = 5.0  # s between two heartbeats
STALE_AFTER = 30.0  # s without a heartbeat after which a lock is stale
SETTLE = 0.5  # s after a takeover, so that of two jobs that took over at once one finds out


class Locked(Refused):
    """Another job holds the lock."""


class Lock:
    """Exclusive use of a folder: `acquire`, `check_held` before each write, `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token: str | None = None
        self._end = threading.Event()

    def acquire(self) -> bool:
        """Takes the lock; returns whether the previous owner died while it held it.

        Raises:
            Locked: another job holds it.
        """
        died = False
        token = uuid.uuid4().hex
        owner = {"token": token, "host": socket.gethostname(), "pid": os.getpid()}
        owner["started"] = started(os.getpid())
        part = self.path.with_name(f"{token}.part")
        part.write_text(json.dumps(owner))
        try:
            self.path.hardlink_to(part)  # fails where there is a lock already
        except FileExistsError:
            try:
                self._wait_until_stale()
            except Locked:
                part.unlink()
                raise
            part.replace(self.path)
            time.sleep(SETTLE)
            died = True
        part.unlink(missing_ok=True)
        self._token = token
        self.check_held()
        self._end.clear()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return died

    def wait(self) -> None:
        """Takes the lock as soon as no other job holds it."""
        announced = False
        while True:
            try:
                self.acquire()
                return
            except Locked as locked:
                if not announced:
                    print(f"{locked} Waiting.", file=sys.stderr, flush=True)
                    announced = True
                time.sleep(1.0)

    def check_held(self) -> None:
        """Checks that the lock is still ours.

        Raises:
            Locked: another job has taken it over.
        """
        owner = _read(self.path)
        if self._token is None or owner is None or owner["token"] != self._token:
            raise Locked(f"{self.path}: {_name(owner)} has taken over. Leave the work to it.")

    def release(self) -> None:
        """Removes the lock; does nothing where it is not held."""
        self._end.set()
        owner = _read(self.path)
        if owner is not None and owner["token"] == self._token:
            self.path.unlink(missing_ok=True)
        self._token = None

    def _wait_until_stale(self) -> None:
        """Returns once the existing lock is stale.

        Raises:
            Locked: its owner is alive.
        """
        owner, first = _read(self.path), _last_beat(self.path)
        if owner is None:
            return
        refusal = Locked(f"{self.path}: {_name(owner)} is at work. Wait for it, or stop it.")
        if owner["host"] == socket.gethostname():
            if started(owner["pid"]) == owner["started"]:
                raise refusal
            return
        waiting = f"waiting {STALE_AFTER:.0f} s for a heartbeat of {_name(owner)}"
        print(f"{self.path}: {waiting}", file=sys.stderr)
        until = time.monotonic() + STALE_AFTER
        while time.monotonic() < until:
            time.sleep(min(1.0, STALE_AFTER / 10))
            if _last_beat(self.path) not in (first, None):
                raise refusal

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            try:
                os.utime(self.path)
            except OSError as error:  # the next save finds out whether it matters
                print(f"{self.path}: no heartbeat ({error.strerror})", file=sys.stderr)


def _read(path: Path) -> dict[str, Any] | None:
    """The owner of a lock; None where there is no lock, or an incomplete one."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _last_beat(path: Path) -> int | None:
    """The time of the last heartbeat, ns; the file is opened so that NFS asks its server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def started(pid: int) -> str | None:
    """When a process started, in ticks since boot (ids are reused); None once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _name(owner: dict[str, Any] | None) -> str:
    return f"process {owner['pid']} on {owner['host']}" if owner else "another job"
