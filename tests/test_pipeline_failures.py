"""A stage that dies, or whose inputs change while it runs, is never recorded as done."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import zc.lockfile
from support.toy import ALL, JOB, SNAKEMAKE, Toy, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A workspace where all stages have run."""
    toy = Toy.new(tmp_path_factory.mktemp("done") / "toy")
    toy.dvc("repro")
    assert toy.ran() == ALL
    return toy


@pytest.fixture
def toy(done: Toy, tmp_path: Path) -> Iterator[Toy]:
    with done.copied(tmp_path / "toy") as toy:
        yield toy


def test_a_failed_stage_says_why_and_is_not_recorded(toy: Toy) -> None:
    """Neither engine accepts its partial output under the final name."""
    toy.set({"train": {"epochs": 1, "fail": 1}})
    output = toy.snakemake(status=1)

    assert "train: status 1. The end of .pipeline/train.log:" in output
    assert "  train: the loss is not finite" in output
    assert toy.ran() == ["train"]
    assert toy.read("data/model.json") == '"half"'
    assert "train" in toy.dvc("status")

    toy.set({"test": {"views": 2}})
    toy.snakemake()
    assert toy.ran() == ["test"]  # train came back from the cache
    assert toy.up_to_date()


def test_a_killed_stage_runs_again(toy: Toy) -> None:
    """After kill -9 nothing has to be cleaned up by hand."""
    toy.set({"train": {"epochs": 2}})
    hold = toy.hold("train")
    work = toy.start(*SNAKEMAKE)
    os.kill(toy.pid("train"), signal.SIGKILL)
    output, _ = work.communicate(timeout=60)
    hold.unlink()

    assert work.returncode == 1
    assert "train: status 137" in output
    toy.snakemake()
    assert toy.ran() == ["train", "train", "test"]
    assert toy.up_to_date()


def test_a_change_while_a_stage_runs_is_refused_and_dvc_answers_meanwhile(toy: Toy) -> None:
    """No lock is held meanwhile; with the old settings the stage gives the old result."""
    toy.set({"train": {"epochs": 2}})
    hold = toy.hold("train")
    work = toy.start(*SNAKEMAKE)
    toy.pid("train")
    assert "train" in toy.dvc("status")
    second = toy.snakemake(status=1)
    assert f"process {work.pid} on" in second
    assert "is at work. Wait for it, or stop it." in second
    assert "train" in toy.snakemake("--dry-run")
    toy.set({"train": {"epochs": 3}})
    hold.unlink()
    output, _ = work.communicate(timeout=60)

    assert work.returncode == 1
    line = "train: params.yaml: train changed while it ran, so its result is not recorded."
    assert line in output
    assert toy.ran() == ["train"]
    assert "train" in toy.dvc("status")
    toy.set({"train": {"epochs": 2}})
    toy.snakemake()
    assert toy.ran() == ["train", "test"]
    assert toy.up_to_date()


def test_after_snakemake_was_killed_the_next_one_waits_for_its_job(toy: Toy) -> None:
    """The job that it left behind ends and is recorded; nothing runs twice or needs unlocking."""
    toy.set({"train": {"epochs": 2}})
    hold = toy.hold("train")
    first = toy.start(*SNAKEMAKE)
    toy.pid("train")
    first.kill()
    first.wait()
    second = toy.start(*SNAKEMAKE)
    log = iter(second.stdout or [])
    assert any("train.claim" in line and "Waiting." in line for line in log)
    hold.unlink()
    rest = "".join(log)

    assert second.wait(60) == 0, rest
    assert "train: nothing to do" in rest
    assert toy.ran() == ["train", "test"]
    assert toy.up_to_date()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_stage_once_and_its_status_comes_back(
    toy: Toy, number: signal.Signals
) -> None:
    """The group receives it, as from a terminal or SLURM. Status 75 means saved, run again."""
    toy.set({"train": {"epochs": 2}})
    toy.hold("train")
    work = toy.start(*JOB, "train")
    toy.pid("train")
    os.killpg(work.pid, number)
    output, _ = work.communicate(timeout=60)

    assert work.returncode == 75
    assert "train: saved and stopped: run again to resume." in output
    assert toy.read("signals.log") == f"{number.name}\n"


def test_a_killed_job_takes_its_stage_with_it(toy: Toy) -> None:
    """No orphan writes outputs while the next job writes them."""
    toy.set({"train": {"epochs": 2}})
    toy.hold("train")
    work = toy.start(*JOB, "train")
    stage = Path(f"/proc/{toy.pid('train')}")
    work.kill()
    work.wait()

    wait_for(lambda: not stage.exists(), 5)


def test_a_job_waits_for_dvc_and_reports_it(toy: Toy) -> None:
    """It waits up to a limit; then its message says what to look for."""
    toy.set({"train": {"epochs": 2}})
    lock = zc.lockfile.LockFile(str(toy.root / ".dvc/tmp/lock"))
    output = toy.job("train", status=1, AUTOX3D_PATIENCE="1")
    assert output.splitlines() == [
        "train: waiting for another DVC process",
        "train: DVC has been locked for 1 s. Find the dvc process that works here; "
        "if there is none, delete .dvc/tmp/rwlock.",
    ]

    work = toy.start(*JOB, "train")
    log = iter(work.stdout or [])
    assert next(log) == "train: waiting for another DVC process\n"
    lock.close()
    assert work.wait(60) == 0
    assert toy.ran() == ["train"]
