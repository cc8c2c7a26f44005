"""Runs the commands of a stage: output goes to its log, signals are forwarded, no orphans."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from autox3d.runtime.program import die_with_parent

TAIL = 20  # lines of a failed command's log to show


def execute(
    commands: Sequence[str | list[str]], options: dict[str, Any], log: Path
) -> tuple[int, list[str]]:
    """Runs the commands one after another until one fails.

    Args:
        options: for `subprocess.Popen`
        log: the output of the commands is appended to it

    Returns:
        (status of the command that failed, the last lines of its output), or (0, []).
    """
    with log.open("ab") as file:
        start = file.tell()
        for command in commands:
            shown = command if isinstance(command, str) else command[-1]
            file.write(f"{datetime.now():%F %T} {socket.gethostname()}: {shown}\n".encode())
            file.flush()
            status = _process(command, {**options, "stdout": file, "stderr": file})
            if status:
                break
        else:
            return 0, []
    with log.open("rb") as file:
        file.seek(start)
        return status, file.read().decode(errors="replace").splitlines()[-TAIL:]


def _process(command: str | list[str], options: dict[str, Any]) -> int:
    """Runs one command in a process group of its own, which receives each signal once.

    Returns its status when the whole group has ended, since a signal may end a shell before the
    child of that shell has saved.
    """
    options |= {"start_new_session": True, "preexec_fn": die_with_parent}
    process = subprocess.Popen(command, **options)

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, forward) for number in numbers}
    status = process.wait()
    while _alive(process.pid):
        time.sleep(0.1)
    for number, handler in before.items():
        signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _alive(group: int) -> bool:
    """Whether the group still has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
