"""Experiments of DVC in copies of the clone keep checkpoints and tracked runs in the clone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.toy import ENVIRONMENT, wait_for

from autox3d.core import environment

PIPELINE = """\
stages:
  train:
    cmd: exec python stage.py
    deps: [stage.py, src]
    params: [train.s]
    outs: [data/model.txt]
    metrics: [{train.json: {cache: false}}]
"""
PARAMS = "train:\n  s: {lr: 1.6, steps: 6}\n"
STAGE = """\
import json, sys, time
from dataclasses import make_dataclass
from pathlib import Path
import torch, yaml
from autox3d.core import environment
from autox3d.runtime import tracking
from autox3d.runtime.checkpoint import RESUME, Checkpoints, folder, stop_requested
from autox3d.runtime.program import run
from autox3d import mark


def main():
    params = yaml.safe_load(Path("params.yaml").read_text())["train"]["s"]
    clone = environment.clone()
    assert environment.raw() == clone / "data/raw"
    with (
        Checkpoints(folder("train", params=params)) as kept,
        tracking.run("train", "s", params, {}, resume=kept.folder / "mlflow-run") as tracked,
    ):
        step, _ = kept.newest() or (0, None)
        with (clone / "ran.log").open("a") as log:
            log.write(f"{params['lr']} from {step}, code {mark.NAME}, apart {clone != Path()}\\n")
        while step < params["steps"]:
            tracked.log(step, {"loss": 1 / (step + 1)})
            step += 1
            kept.save(step, {"w": torch.zeros(1)})
            while step == 3 and (clone / "hold").exists() and not stop_requested():
                time.sleep(0.02)
            if stop_requested():
                sys.exit(RESUME)
    Path("data").mkdir(exist_ok=True)
    Path("data/model.txt").write_text(str(params))
    Path("train.json").write_text(json.dumps({"loss": 1 / step}))


if __name__ == "__main__":
    run(main)
"""
TRACKED = """\
select r.status, e.value, p.value, count(*) from runs r
join tags e on e.run_uuid = r.run_uuid and e.key = 'dvc.experiment'
join params p on p.run_uuid = r.run_uuid and p.key = 'lr'
join metrics m on m.run_uuid = r.run_uuid
group by r.run_uuid order by r.start_time
"""
DVC = (sys.executable, "-m", "dvc")


class Clone:
    """A repository with the package itself in it, at a mark of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
        self.write("src/autox3d/mark.py", "NAME = 'committed'\n")
        self.write("stage.py", STAGE)
        self.write("dvc.yaml", PIPELINE)
        self.write("params.yaml", PARAMS)
        self.write(".gitignore", "/data\n/checkpoints\n/*.log\n/hold\n/.mlflow*\n/mlflow.db\n"
                   "/mlruns\n/.pipeline\n__pycache__\n")  # fmt: skip
        self.type("git", "init", "--quiet")
        self.type(*DVC, "init", "--quiet")
        self.type("git", "add", "--all")
        self.type("git", "commit", "--quiet", "--message", "clone")

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def start(self, *command: str) -> subprocess.Popen[str]:
        path = {"PYTHONPATH": str(self.root / "src"), "AUTOX3D_TRACKING": "on"}
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=ENVIRONMENT | path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def type(self, *command: str, status: int = 0) -> str:
        process = self.start(*command)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == status, said
        return said

    def ran(self) -> list[str]:
        return (self.root / "ran.log").read_text().splitlines()

    def tracked(self, status: str = "") -> list[tuple[str, str, str, int]]:
        """(status, experiment, learning rate, metrics) of each run of an experiment."""
        if not (self.root / "mlflow.db").exists():
            return []
        with sqlite3.connect(self.root / "mlflow.db") as store:
            found = store.execute(TRACKED).fetchall()
        return [row for row in found if status in ("", row[0])]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_experiment_in_a_copy_is_killed_resumed_and_kept_with_its_clone(clone: Clone) -> None:
    """One folder of checkpoints, one MLflow run with the experiment's name, six steps in all."""
    hold = clone.root / "hold"
    hold.touch()
    command = (*DVC, "exp", "run", "--temp", "--name", "low", "-S", "train.s.lr=0.25")
    first = clone.start(*command)
    wait_for(lambda: list(clone.root.glob("checkpoints/train-*/step-000000003.ckpt")))
    (claim,) = clone.root.glob("checkpoints/train-*/claim.json")
    os.kill(json.loads(claim.read_text())["pid"], signal.SIGTERM)
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


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_queue_runs_the_code_that_was_queued(clone: Clone) -> None:
    """What is edited while experiments wait belongs to the next ones; all are in one MLflow."""
    for name, rate in (("one", "0.1"), ("two", "0.2")):
        clone.type(*DVC, "exp", "run", "--queue", "--name", name, "-S", f"train.s.lr={rate}")
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
