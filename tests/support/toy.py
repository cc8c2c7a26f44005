"""A small pipeline in a git and DVC repository of its own, with the shape of the real one.

    list -> shard@0, shard@1 -> train -> test

Each run of a stage adds a line to ran.log. A stage goes no further while `hold-<stage>` is there;
`pid-<stage>` is its process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from support import ROOT, programs

BIN = Path(sys.executable).parent
PARAMS = {"list": {"n": 4}, "shard": {"pixels": 1}, "train": {"epochs": 1}, "test": {"views": 1}}
ALL = ["list", "shard@0", "shard@1", "train", "test"]
NOTHING = "Nothing to be done"

PIPELINE = """\
stages:
  list:
    cmd: exec python stage.py list
    deps: [stage.py]
    params: [list]
    outs: [data/lists]
  shard:
    matrix: {item: [0, 1]}
    cmd: exec python stage.py shard@${item.item}
    deps: [stage.py, "data/lists/${item.item}.json"]
    params: [shard]
    outs: ["data/shards/${item.item}.json"]
    meta: {resources: {mem_mb: 100}}
  train:
    cmd: exec python stage.py train
    deps: [stage.py, data/shards]
    params: [train]
    outs: [data/model.json]
    metrics: [{train.json: {cache: false}}]
    meta: {resources: {gpu: 1, mem_mb: 100}}
  test:
    cmd: exec python stage.py test
    deps: [stage.py, data/model.json]
    params: [test]
    metrics: [{test.json: {cache: false}}]
"""

STAGE = """\
import json, os, signal, sys, time
from pathlib import Path
import yaml

name = sys.argv[1]
kind, _, item = name.partition("@")
params = yaml.safe_load(Path("params.yaml").read_text())[kind]


def stop(number, frame):
    with open("signals.log", "a") as file:
        file.write(f"{signal.Signals(number).name}\\n")
    sys.exit(75)


def put(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
Path(f"pid-{name}").write_text(str(os.getpid()))
with open("ran.log", "a") as file:
    file.write(f"{name}\\n")
while Path(f"hold-{name}").exists():
    time.sleep(0.02)
if params.get("fail"):
    put("data/model.json", "half")
    sys.exit("train: the loss is not finite")
if kind == "list":
    for item in range(2):
        put(f"data/lists/{item}.json", [item] * params["n"])
elif kind == "shard":
    put(f"data/shards/{item}.json", [params, Path(f"data/lists/{item}.json").read_text()])
elif kind == "train":
    shards = [path.read_text() for path in sorted(Path("data/shards").glob("*.json"))]
    put("data/model.json", [params, shards])
    put("train.json", {"loss": 1 / params["epochs"]})
else:
    put("test.json", {"views": params["views"], "model": len(Path("data/model.json").read_text())})
Path(f"pid-{name}").unlink()
"""

ENVIRONMENT = {
    key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "SNAKEMAKE_"))
} | {
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "SHELL": "/bin/sh",  # where SHELL is unset, DVC takes it, too; not every sh execs by itself
    "DVC_NO_ANALYTICS": "1",
    "GIT_AUTHOR_NAME": "toy",
    "GIT_AUTHOR_EMAIL": "toy@localhost",
    "GIT_COMMITTER_NAME": "toy",
    "GIT_COMMITTER_EMAIL": "toy@localhost",
}


class Toy:
    """The repository, and what one types in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.started: list[subprocess.Popen[str]] = []

    @classmethod
    def new(cls, root: Path) -> Toy:
        """Nothing has run yet."""
        root.mkdir(parents=True)
        toy = cls(root)
        for name in ("Snakefile", ".dvcignore"):
            shutil.copy(ROOT / name, root)
        shutil.copytree(ROOT / "workflow", root / "workflow")
        (root / ".dvc").mkdir()
        for name in ("config", ".gitignore"):
            shutil.copy(ROOT / ".dvc" / name, root / ".dvc")
        (root / "dvc.yaml").write_text(PIPELINE)
        (root / "stage.py").write_text(STAGE)
        (root / ".gitignore").write_text("/.pipeline\n/.snakemake\n/*.log\n/pid-*\n/hold-*\n")
        toy.set(PARAMS)
        toy.type("git", "init", "--quiet")
        toy.commit()
        return toy

    def copy(self, root: Path) -> Toy:
        """Another one in the same state."""
        shutil.copytree(self.root, root, symlinks=True)
        return Toy(root)

    @contextlib.contextmanager
    def copied(self, root: Path) -> Iterator[Toy]:
        """Another one in the same state; nothing is left at work in it afterwards."""
        toy = self.copy(root)
        try:
            yield toy
        finally:
            toy.stop()

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """The command, at work in a session of its own."""
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=ENVIRONMENT | environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def stop(self) -> None:
        """Kills what a failed test has left at work."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def type(self, *command: str, status: int = 0, **environment: str) -> str:
        """What the command says; its exit status must be this one."""
        if command[0] in FORKED:
            done = programs.run(
                "engines", command, self.root, ENVIRONMENT | environment, together=True
            )
            assert done.returncode == status, done.stdout
            return done.stdout
        process = self.start(*command, **environment)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == status, said
        return said

    def snakemake(self, *flags: str, status: int = 0) -> str:
        """Runs the whole pipeline."""
        return self.type(*SNAKEMAKE, *flags, status=status)

    def job(self, stage: str, status: int = 0, **environment: str) -> str:
        """Runs one stage as a Snakemake job does."""
        return self.type(*JOB, stage, status=status, **environment)

    def dvc(self, *words: str) -> str:
        """DVC's own command."""
        return self.type(str(BIN / "dvc"), *words)

    def up_to_date(self) -> bool:
        """Whether DVC has nothing to do."""
        return "up to date" in self.dvc("status")

    def lock(self) -> dict[str, Any]:
        """What is recorded, in whatever order the stages ended."""
        return yaml.safe_load(self.read("dvc.lock"))

    def set(self, params: dict[str, dict[str, int]]) -> None:
        """Writes params.yaml: the usual ones, save these."""
        (self.root / "params.yaml").write_text(yaml.safe_dump(PARAMS | params))

    def commit(self) -> None:
        """All that git is to keep."""
        self.type("git", "add", "--all")
        self.type("git", "commit", "--quiet", "--message", "state")

    def hold(self, stage: str) -> Path:
        """The stage will wait until this file goes."""
        path = self.root / f"hold-{stage}"
        path.touch()
        return path

    def pid(self, stage: str, seconds: float = 60.0) -> int:
        """Of the stage's process, once it is at work."""
        path = self.root / f"pid-{stage}"
        wait_for(lambda: path.exists() and path.read_text() != "", seconds)
        return int(path.read_text())

    def jobs(self, rule: str) -> list[str]:
        """Of SLURM, at work or waiting, whose comment ends with this."""
        lines = self.type("squeue", "--noheader", "--format", "%i %k").splitlines()
        return [line.split()[0] for line in lines if line.endswith(rule)]

    def ran(self) -> list[str]:
        """The stages that ran since the last time it was asked."""
        path = self.root / "ran.log"
        stages = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return stages

    def read(self, name: str) -> str:
        """A file's text."""
        return (self.root / name).read_text()


SNAKEMAKE = (str(BIN / "snakemake"), "--workflow-profile", "workflow/profiles/local")
SLURM = (
    str(BIN / "snakemake"),
    *("--workflow-profile", "workflow/profiles/slurm"),
    *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"),
)
JOB = (sys.executable, "-m", "autox3d.pipeline.bridge")
FORKED = {sys.executable, str(BIN / "dvc"), str(BIN / "snakemake")}  # they import for a second


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Returns once the condition holds; fails when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
