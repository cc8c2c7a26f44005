"""A server is away, dies, comes back, or answers half: the stages go on, and nothing is lost."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.mlflow_server import Server, free_port, replay, stage, until_spool_is_empty, until_step

from autox3d.runtime import tracking

pytestmark = pytest.mark.slow


def test_a_server_away_from_the_start_costs_nothing_and_gets_all_later(
    server: Server, tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage ends well and says it in a line; one complete run later."""
    away = stage(0, 50, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}")
    _, said = away.communicate(timeout=60)
    assert away.returncode == 0, said
    assert "not sent to MLflow" in said
    assert len(said.splitlines()) == 1
    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
        assert replay() == 1

    assert replay() == 0
    whole_run(server, "test_a_server_away_from_the_start_costs_nothing_and_gets_all_later", 51)
    assert not list(tracking.SPOOL.iterdir())


def whole_run(server: Server, experiment: str, steps: int, status: str = "FINISHED") -> None:
    """One run, and no other; every step of it once."""
    (found,) = server.runs(experiment)
    assert found["info"]["status"] == status
    assert [step for step, _ in server.losses(found)] == list(range(steps))


def test_a_server_that_never_answers_holds_nobody_up(tracked: Path) -> None:
    """It takes connections and is silent: the stage waits as long as it said, and no longer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        work = stage(0, 50, patience=0.5, MLFLOW_TRACKING_URI=url)
        _, said = work.communicate(timeout=8)  # its sender gives a request 10 s

        assert work.returncode == 0, said
        assert said == ""
        assert len(list(tracking.SPOOL.glob("*.jsonl"))) == 1


def test_a_server_that_dies_in_the_middle_and_comes_back_has_one_whole_run(
    server: Server, tracked: Path
) -> None:
    """The stage logs on meanwhile, and ends before it is back."""
    name = "test_a_server_that_dies_in_the_middle_and_comes_back_has_one_whole_run"
    wait = tracked / "wait"
    wait.touch()
    work = stage(0, 20, patience=0.5)
    until_step(server, name, 19)
    server.stop()
    wait.unlink()
    _, said = work.communicate(timeout=60)
    assert work.returncode == 0, said
    server.start()
    whole_run(server, name, 20, status="RUNNING")
    time.sleep(0.5)
    replay()  # waits for no sender that is at it
    until_spool_is_empty()

    whole_run(server, name, 21)


def test_a_run_whose_creation_was_not_answered_is_no_ghost(server: Server, tracked: Path) -> None:
    """MLflow made it, the answer was lost: the next try finds it."""
    with losing_answers(server.port, to=b"runs/create", times=1) as (port, lost):
        work = stage(0, 20, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
        _, said = work.communicate(timeout=60)
        assert work.returncode == 0
        assert "not sent to MLflow" in said
        assert lost == [b"runs/create"]
        assert replay() == 0

    whole_run(server, "test_a_run_whose_creation_was_not_answered_is_no_ghost", 21)


@contextmanager
def losing_answers(port: int, to: bytes, times: int) -> Iterator[tuple[int, list[bytes]]]:
    """A way to the server that hangs up in place of the first answers to such a request.

    Yields:
        its port, and what was lost so far.
    """
    lost: list[bytes] = []

    def serve(near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            threading.Thread(target=pump, args=(far, near, False), daemon=True).start()
            pump(near, far, True)

    def pump(source: socket.socket, target: socket.socket, asking: bool) -> None:
        while data := receive(source):
            if asking and to in data and len(lost) < times:
                lost.append(to)
                target.sendall(data)
                time.sleep(1.0)  # until it is done there
                source.shutdown(socket.SHUT_RDWR)
                return
            target.sendall(data)

    def receive(source: socket.socket) -> bytes:
        try:
            return source.recv(1 << 16)
        except OSError:
            return b""

    def accept() -> None:
        while True:
            try:
                near, _ = door.accept()
            except OSError:  # closed
                return
            threading.Thread(target=serve, args=(near,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=accept, daemon=True).start()
        yield door.getsockname()[1], lost
        door.shutdown(socket.SHUT_RDWR)


def test_a_killed_stage_goes_on_in_the_same_run(server: Server, tracked: Path) -> None:
    """kill -9 loses no line; the resumed stage adds to the run, which then is finished."""
    (tracked / "wait").touch()
    killed = stage(0, 20, "resume")
    assert killed.stdout
    assert killed.stdout.readline() == "logged\n"
    killed.kill()
    killed.communicate()
    until_spool_is_empty()
    (found,) = server.runs("test_a_killed_stage_goes_on_in_the_same_run")
    assert found["info"]["status"] == "KILLED"

    (tracked / "wait").unlink()
    resumed = stage(15, 29, "resume")  # five steps again, since the last checkpoint
    resumed.communicate(timeout=60)
    until_spool_is_empty()
    (found,) = server.runs("test_a_killed_stage_goes_on_in_the_same_run")
    assert found["info"]["status"] == "FINISHED"
    assert {step for step, _ in server.losses(found)} == set(range(30))
