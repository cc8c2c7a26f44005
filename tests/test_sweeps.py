"""Experiments of DVC in copies of the clone keep checkpoints and tracked runs in the clone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.clone import DVC, Clone
from support.toy import wait_for

from autox3d.core import environment


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_experiment_in_a_copy_is_killed_resumed_and_kept_with_its_clone(clone: Clone) -> None:
    """One folder of checkpoints, one MLflow run with the experiment's name, six steps in all."""
    hold = clone.root / "hold"
    hold.touch()
    command = (*DVC, "exp", "run", "--temp", "--name", "low", "-S", "train.s.lr=0.25", "train")
    first = clone.start(*command)
    os.kill(clone.owner(), signal.SIGTERM)
    said, _ = first.communicate(timeout=60)
    assert first.returncode != 0
    assert "train: saved and stopped: run again to resume.\n" in said
    hold.unlink()
    clone.type(*command)

    assert clone.ran() == [f"0.25 from {step}, code committed, apart True" for step in (0, 3)]
    wait_for(lambda: clone.tracked("FINISHED"), 30)
    assert clone.tracked() == [("FINISHED", "low", "0.25", 6)]
    assert not list(clone.root.glob(".dvc/tmp/exps/standalone/tmp*"))
    assert ",0.25," in clone.type(*DVC, "exp", "show", "--csv")


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_queue_runs_the_code_that_was_queued(clone: Clone) -> None:
    """What is edited while experiments wait belongs to the next ones; all are in one MLflow."""
    for name, rate in (("one", "0.1"), ("two", "0.2")):
        clone.type(
            *DVC, "exp", "run", "--queue", "--name", name, "-S", f"train.s.lr={rate}", "train"
        )
    clone.write("src/autox3d/mark.py", "NAME = 'edited'\n")
    clone.type(*DVC, "queue", "start")
    wait_for(lambda: len(clone.tracked("FINISHED")) == 2, 90)
    clone.type(*DVC, "queue", "stop", "--kill")

    assert sorted(clone.ran()) == [
        f"{rate} from 0, code committed, apart True" for rate in (0.1, 0.2)
    ]
    assert sorted(name for _, name, *_ in clone.tracked()) == ["one", "two"]


def test_paths_are_the_clones_in_its_copies_and_relative_elsewhere(tmp_path, monkeypatch):
    """Raw videos and checkpoints; what a variable says otherwise is taken as it is."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "AUTOX3D_RAW", "AUTOX3D_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)
    copy = tmp_path / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))  # as every stage has it
    assert environment.clone() == Path()

    monkeypatch.setenv("DVC_EXP_NAME", "low")
    assert environment.clone() == tmp_path
    assert environment.raw() == tmp_path / "data/raw"
    assert environment.checkpoints() == tmp_path / "checkpoints"
    monkeypatch.setenv("AUTOX3D_CHECKPOINTS", "/nfs")
    assert environment.checkpoints() == Path("/nfs")
    monkeypatch.chdir(tmp_path)  # `dvc exp run` without --temp
    assert environment.clone() == Path()
    assert environment.raw() == Path("data/raw")
