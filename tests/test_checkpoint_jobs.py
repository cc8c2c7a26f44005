"""Checkpoints survive kills, signals and second jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.states import state

from autox3d.runtime import lock
from autox3d.runtime.checkpoint import Checkpoints, stop_requested
from autox3d.runtime.lock import Locked


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Checkpoints]:
    with Checkpoints(tmp_path / "run") as kept:
        yield kept


WRITER = """
import sys
from pathlib import Path
import torch
from autox3d.runtime.checkpoint import Checkpoints
torch.set_num_threads(1)
with Checkpoints(Path(sys.argv[1])) as kept:
    found = kept.newest()
    step = found[0] if found else 0
    assert found is None or bool((found[1]["x"] == step).all())
    print("from", step, flush=True)
    while True:
        step += 1
        kept.save(step, {"x": torch.full((50_000,), float(step))})
        print(step, flush=True)
"""


def test_a_kill_inside_the_writing_loses_nothing(tmp_path: Path) -> None:
    """After kill -9 at any moment, all that was reported as saved is there, without repair."""
    announced = 0
    for pause in (0.0, 0.005, 0.01):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        begun = int(writer.stdout.readline().split()[1])
        assert begun >= announced
        for _ in range(3):
            announced = int(writer.stdout.readline())
        time.sleep(pause)
        writer.kill()
        output = writer.communicate()[0].split()
        announced = int(output[-1]) if output else announced
    with Checkpoints(tmp_path) as kept:
        found = kept.newest()
    assert found is not None
    assert found[0] >= announced
    assert not list(tmp_path.glob("*.part"))


def test_two_jobs_never_write_one_run(kept: Checkpoints) -> None:
    """The second job's message names the first one; when that has ended, the second works."""
    second = textwrap.dedent(
        f"""
        from pathlib import Path
        from autox3d.runtime.checkpoint import Checkpoints
        with Checkpoints(Path({str(kept.folder)!r})):
            pass
        """
    )
    run = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True)

    assert run.returncode == 1
    assert f"claim.json: process {os.getpid()} on " in run.stderr
    assert " is at work. Wait for it, or stop it." in run.stderr
    kept.__exit__()
    assert subprocess.run([sys.executable, "-c", second]).returncode == 0


def test_a_lock_of_another_machine_is_taken_over_once_its_heartbeat_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock is watched, so no clocks are compared; one with a heartbeat is respected."""
    monkeypatch.setattr(lock, "STALE_AFTER", 0.5)
    path = tmp_path / "claim.json"
    path.write_text(json.dumps({"token": "x", "host": "n7", "pid": 1, "started": "1"}))
    os.utime(path, (0, 0))
    ours = lock.Lock(path)
    assert ours.acquire()
    assert capsys.readouterr().err == f"{path}: waiting 0 s for a heartbeat of process 1 on n7\n"
    ours.check_held()

    path.write_text(json.dumps({"token": "y", "host": "n7", "pid": 1, "started": "1"}))
    with pytest.raises(Locked, match="process 1 on n7 has taken over"):
        ours.check_held()
    monkeypatch.setattr(lock, "BEAT", 0.05)
    monkeypatch.setattr(lock.socket, "gethostname", lambda: "n8")
    theirs = lock.Lock(tmp_path / "beating.json")
    theirs.acquire()
    monkeypatch.setattr(lock.socket, "gethostname", lambda: "n9")
    with pytest.raises(Locked, match="on n8 is at work"):
        lock.Lock(tmp_path / "beating.json").acquire()
    theirs.release()


def test_only_the_first_rank_writes_and_all_receive_sigterm(tmp_path: Path) -> None:
    """The loop sees the flag at its next step; afterwards the old handler is restored."""
    before = signal.getsignal(signal.SIGTERM)
    with Checkpoints(tmp_path / "run", writes=False) as kept:
        kept.save(1, state(1))
        assert not stop_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop_requested()
    assert signal.getsignal(signal.SIGTERM) == before
    assert not (tmp_path / "run").exists()


def test_ctrl_c_saves_and_a_second_one_does_not_wait(tmp_path: Path) -> None:
    """The first Ctrl-C requests a stop, as SIGTERM does."""
    with Checkpoints(tmp_path, writes=False):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop_requested()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
