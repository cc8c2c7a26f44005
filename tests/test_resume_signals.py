"""A signal ends a training within seconds with its step saved; the same command resumes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import killing

from autox3d.runtime.checkpoint import RESUME

pytestmark = pytest.mark.timeout(300)

SAVED_WITHIN = 10  # s from the signal
DOWN_WITHIN = 60  # s from a rank's death


@pytest.fixture(scope="module")
def two(clips, runner, tmp_path_factory) -> dict[str, str]:
    """The digests of an undisturbed run of two processes."""
    folder = killing.fresh(clips, tmp_path_factory.mktemp("two") / "run")
    return runner.finish("train", folder, 2)


@pytest.fixture(scope="module")
def one(clips, runner, tmp_path_factory) -> dict[str, str]:
    """The digests of an undisturbed run of one process."""
    return runner.finish("train", killing.fresh(clips, tmp_path_factory.mktemp("one") / "run"))


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """The folder from which every Python process of a run imports `points`, and is armed."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("from support import points\npoints.arm()\n")
    return folder


def launched(folder: Path, hooks: Path, processes: int, **environment: str) -> tuple[int, float]:
    """Runs the stage's command with /bin/sh as DVC does; returns its status and end time."""
    command = f"exec {sys.executable} -m autox3d.runtime.launch train {killing.FLAGS['train']}"
    settings = killing.ENVIRONMENT | {
        "AUTOX3D_PROCESSES": str(processes),
        "AUTOX3D_SAVE_EVERY": "600",
        "PYTHONPATH": os.pathsep.join([str(hooks), *sys.path]),
        "SHELL": "/bin/sh",
    }
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env=os.environ | settings | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            return process.wait(120), time.time()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(("moment", "step"), [("update:6", 6), ("score:12", 8)])
def test_sigterm_saves_the_step_and_asks_to_be_run_again(
    moment, step, clips, runner, one, hooks, tmp_path
):
    """It works in an epoch and in a validation; a second SIGTERM while saving is harmless."""
    folder = killing.fresh(clips, tmp_path / "run")
    check_saved(folder, launched(folder, hooks, 1, TERM=moment, TARGET="rank")[0], step)
    assert runner.finish("train", folder) == one


@pytest.mark.long
@pytest.mark.parametrize("target", ["rank", "launcher", "all"])
@pytest.mark.parametrize(
    ("moment", "step"), [("update:6", 6), ("score:3", 4), ("settle:1", 12), ("half:1", 5)]
)
def test_sigterm_to_two_processes(target, moment, step, clips, runner, two, hooks, tmp_path):
    """It is sent to one rank, to torchrun, or to all of them as a batch system does.

    One that comes while the checkpoint of step 4 is written is heard after the next step.
    """
    folder = killing.fresh(clips, tmp_path / "run")
    check_saved(folder, launched(folder, hooks, 2, TERM=moment, TARGET=target)[0], step)
    assert runner.finish("train", folder, 2) == two


@pytest.mark.slow
def test_a_launcher_that_is_told_again_waits_for_its_ranks(clips, runner, two, hooks, tmp_path):
    """It is told at every write to the disk, and the ranks save their step all the same."""
    folder = killing.fresh(clips, tmp_path / "run")
    check_saved(folder, launched(folder, hooks, 2, TERM="half:1", TARGET="launcher")[0], 5)
    assert runner.finish("train", folder, 2) == two


def check_saved(folder: Path, status: int, step: int) -> None:
    """Checks that the status means "run again" and that the checkpoint was saved in time."""
    log = (folder / "log").read_text()
    assert status == RESUME, log
    assert "Traceback" not in log
    assert killing.newest(folder, "train") == step
    newest = max(folder.glob("checkpoints/train-*/step-*.ckpt"))
    assert newest.stat().st_mtime - (folder / "told").stat().st_mtime < SAVED_WITHIN
    assert not list(newest.parent.glob("*.part"))


@pytest.mark.long
@pytest.mark.parametrize("moment", ["update:6", "score:3"])
def test_a_rank_that_dies_takes_the_job_down(moment, clips, runner, two, hooks, tmp_path):
    """After kill -9 of rank 1 alone, the last line names it, and the run resumes."""
    folder = killing.fresh(clips, tmp_path / "run")
    status, ended = launched(folder, hooks, 2, POINT=moment, AT="1")

    log = (folder / "log").read_text()
    assert status == 1, log
    assert ended - (folder / "died").stat().st_mtime < DOWN_WITHIN
    assert "was killed by SIGKILL. Run again: it resumes." in log.splitlines()[-1]
    assert runner.finish("train", folder, 2) == two
