"""The stages of an expansion through DVC: killed in a candidate, they choose the same."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from support import ROOT, killing, programs
from support.spaces import PLAIN
from support.studies import BIN

from autox3d.core.values import NO_EXPANSION

pytestmark = pytest.mark.slow

EXPAND = NO_EXPANSION | {
    "base": {"tiny": {"of": "tiny.yaml", "stride": 4}},
    "path": {"step1": {"after": "tiny"}},
    "axes": ["temporal", "bottleneck"],
    "seeds": [1],
    "candidate": "s",
    "targets": {"small": 0.00065},
}
ENVIRONMENT = (
    os.environ
    | killing.ENVIRONMENT
    | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "DVC_NO_ANALYTICS": "1",
    }
)


def dvc(folder: Path, *words: str) -> str:
    """DVC in a folder, as a user types it; what it printed."""
    done = programs.run("engines", [BIN / "dvc", *words], folder, ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ready(clips: Path, folder: Path) -> Path:
    """A repository with the pipeline as committed, in which the clips are there."""
    killing.lay_out(clips, folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    dvc(folder, "init", "-q")
    (folder / "data/clips.parquet").symlink_to(clips / "clips.parquet")
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "params", folder / "params")
    (folder / "tiny.yaml").write_text(PLAIN)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["expand"] = EXPAND
    params["train"]["s"] |= {"epochs": 2}
    params["evaluate"] |= {"clips": [1]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of what an expansion leaves, but for how long it took."""
    found = sorted(folder.glob("results/expand/*/**/*.json"))
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.parent.name != "made"
    }


def test_a_step_that_is_killed_in_a_candidate_chooses_the_same(clips, tmp_path):
    """kill -9 of DVC and the stage within a training; then the same command again."""
    whole = ready(clips, tmp_path / "whole")
    dvc(whole, "repro", "--single-item", "begin@tiny", "grow@step1")
    killed = tmp_path / "killed"
    shutil.copytree(whole, killed, symlinks=True)
    stages = ["candidate@step1-temporal-1", "candidate@step1-bottleneck-1", "choose@step1"]
    command = ("repro", "--single-item", *stages)
    dvc(whole, *command)

    process = subprocess.Popen(
        [BIN / "dvc", *command], cwd=killed, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(killed.glob("checkpoints/candidate-*/step-*3.ckpt")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(killed.glob("results/expand/trained/**/*.json"))
    dvc(killed, *command)

    assert digests(killed) == digests(whole)
    assert len(digests(whole)) == 5  # step.json, two candidates, the base's and the step's choice
