"""One job at a time: a file that says who works in a folder, with a heartbeat.

No file lock: those judge by process ids and file systems that a cluster's nodes do not share.
A claim is dead when its process is (same machine), or when its heartbeat has stood still for as
long as we watched it (another machine): no clock is compared.
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

BEAT = 5.0  # s from heartbeat to heartbeat
LIMIT = 30.0  # s without one: nobody is there
SETTLE = 0.5  # s in which two that take over at once find out


class Taken(Refused):
    """Somebody else is at work."""


class Claim:
    """`take` it, work while it `must_be_ours`, `give_back`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token: str | None = None
        self._end = threading.Event()

    def take(self) -> bool:
        """Whether the one before died at work.

        Raises:
            Taken: somebody is at work.
        """
        died = False
        token = uuid.uuid4().hex
        who = {"token": token, "host": socket.gethostname(), "pid": os.getpid()}
        who["started"] = _started(os.getpid())
        part = self.path.with_name(f"{token}.part")
        part.write_text(json.dumps(who))
        try:
            self.path.hardlink_to(part)  # fails where a claim stands
        except FileExistsError:
            try:
                self._watch()
            except Taken:
                part.unlink()
                raise
            part.replace(self.path)
            time.sleep(SETTLE)
            died = True
        part.unlink(missing_ok=True)
        self._token = token
        self.must_be_ours()
        self._end.clear()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return died

    def wait(self) -> None:
        """Takes it as soon as nobody else is at work."""
        told = False
        while True:
            try:
                self.take()
                return
            except Taken as taken:
                if not told:
                    print(f"{taken} Waiting.", file=sys.stderr, flush=True)
                    told = True
                time.sleep(1.0)

    def must_be_ours(self) -> None:
        """Raises Taken when somebody else has taken over."""
        found = _read(self.path)
        if self._token is None or found is None or found["token"] != self._token:
            raise Taken(f"{self.path}: {_name(found)} has taken over. Let it go on.")

    def give_back(self) -> None:
        """Lets the next job in; does nothing where nothing was taken."""
        self._end.set()
        found = _read(self.path)
        if found is not None and found["token"] == self._token:
            self.path.unlink(missing_ok=True)
        self._token = None

    def _watch(self) -> None:
        """Returns when the standing claim is dead.

        Raises:
            Taken: its process lives, or its heart beats.
        """
        found, first = _read(self.path), _pulse(self.path)
        if found is None:
            return
        refusal = Taken(f"{self.path}: {_name(found)} is at work. Wait for it, or stop it.")
        if found["host"] == socket.gethostname():
            if _started(found["pid"]) == found["started"]:
                raise refusal
            return
        print(f"{self.path}: waiting {LIMIT:.0f} s for a beat of {_name(found)}", file=sys.stderr)
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            time.sleep(min(1.0, LIMIT / 10))
            if _pulse(self.path) not in (first, None):
                raise refusal

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            try:
                os.utime(self.path)
            except OSError as error:  # the next save finds out whether it matters
                print(f"{self.path}: no heartbeat ({error.strerror})", file=sys.stderr)


def _read(path: Path) -> dict[str, Any] | None:
    """None where there is no claim, or half of one."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _pulse(path: Path) -> int | None:
    """The last beat's time; opened first, which makes NFS ask its server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _started(pid: int) -> str | None:
    """When the process began, in ticks since boot (ids are used again); None once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _name(found: dict[str, Any] | None) -> str:
    return f"process {found['pid']} on {found['host']}" if found else "another job"
