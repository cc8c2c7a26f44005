"""A repository in which a training of six short steps stands for a long one."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from support import ROOT
from support.toy import ENVIRONMENT, wait_for

PIPELINE = """\
stages:
  train:
    cmd: exec python stage.py train
    deps: [stage.py, src]
    params: [train.s]
    outs: [data/model.txt]
    metrics: [{train.json: {cache: false}}]
  test:
    cmd: exec python stage.py test
    deps: [data/model.txt]
    metrics: [{test.json: {cache: false}}]
"""
PARAMS = "train:\n  s: {lr: 1.6, steps: 6}\n"
STAGE = """\
import json, os, sys, time
from pathlib import Path
import torch, yaml
from autox3d.core import environment
from autox3d.runtime import tracking
from autox3d.runtime.checkpoint import RESUME, Checkpoints, folder, stop_requested
from autox3d.core.errors import Refused
from autox3d.runtime.program import run
from autox3d.runtime.progress import progress
from autox3d import mark


def test():
    Path("test.json").write_text(json.dumps({"top1": 0.5}))


def train():
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
        if params["lr"] > 9:
            raise Refused("params.yaml: 'train.s.lr' is too high. Lower it.")
        left = range(step, params["steps"])
        for _ in progress(left, len(left), "train s", "steps"):
            tracked.log(step, {"loss": 1 / (step + 1)})
            step += 1
            kept.save(step, {"w": torch.zeros(1)})
            if step >= 3 and (clone / "hold").exists():
                (clone / "part.log").write_text(str(os.getpid()))
                (clone / "part.log").rename(clone / "held.log")
                while (clone / "hold").exists() and not stop_requested():
                    time.sleep(0.02)
            if stop_requested():
                sys.exit(RESUME)
    Path("data").mkdir(exist_ok=True)
    Path("data/model.txt").write_text(str(params))
    Path("train.json").write_text(json.dumps({"loss": 1 / step}))


if __name__ == "__main__":
    run({"train": train, "test": test}[sys.argv[1]])
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

    def __init__(self, root: Path, tracking: str = "on") -> None:
        self.root, self.tracking = root, tracking
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
        path = {"PYTHONPATH": str(self.root / "src"), "AUTOX3D_TRACKING": self.tracking}
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=ENVIRONMENT | path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def type(self, *command: str, status: int = 0) -> str:
        process = self.start(*command)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == status, said
        return said

    def owner(self) -> int:
        """The process of the training, once the file `hold` stops it behind a step from 3 on."""
        held = self.root / "held.log"
        wait_for(held.exists)
        pid = int(held.read_text())
        held.unlink()
        return pid

    def ran(self) -> list[str]:
        return (self.root / "ran.log").read_text().splitlines()

    def tracked(self, status: str = "") -> list[tuple[str, str, str, int]]:
        """(status, experiment, learning rate, metrics) of each run of an experiment."""
        if not (self.root / "mlflow.db").exists():
            return []
        with sqlite3.connect(self.root / "mlflow.db") as store:
            found = store.execute(TRACKED).fetchall()
        return [row for row in found if status in ("", row[0])]
