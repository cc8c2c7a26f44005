"""The demo of several labels at toy size: both engines, killed and resumed, and what DVC shows."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from support import ROOT, killing, programs
from support.studies import BIN

from autox3d.core.scores import Evaluation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STAGES = ("annotate", "transcode", "index", "baseline", "train", "evaluate", "latency", "summary")
LAST = "summary@x3d_s"
COMMANDS = {
    "dvc": (BIN / "dvc", "repro", LAST),
    "snakemake": (BIN / "snakemake", "--cores", "2", "--quiet", "rules"),
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


def run(folder: Path, *command: Path | str, **environment: str) -> str:
    """A command in a folder, as a user types it; what it printed."""
    done = programs.run("engines", command, folder, ENVIRONMENT | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages as committed, with the demo's own settings but for few videos and epochs.

    With seed 4 the few have every class.
    """
    folder = tmp_path_factory.mktemp("labels") / "listed"
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    run(folder, BIN / "dvc", "init", "-q")
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    stages = {name: pipeline["stages"][name] for name in STAGES}
    for entry in stages.values():
        entry.get("do", entry).pop("meta")  # so that two jobs fit on two cores
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("src", "workflow", "architectures"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "params").mkdir()
    for name in ("scratch", "untimed"):
        (folder / "params" / name).touch()
    params = yaml.safe_load((ROOT / "params/demo_labels.yaml").read_text())
    params["annotate"] |= {"shards": [0]}
    params["annotate"]["demo"] |= {"seed": 4, "train": 2, "val": 1, "test": 1}
    params["scale"]["s"] |= {"crop": 32, "short": 36}
    small = {"epochs": 2, "warmup": 1, "batch": 4, "bn_clips": 2, "bn_steps": 2}
    small["sampling"] = params["train"]["x3d_s"]["sampling"] | {"jitter": [34, 38]}
    params["train"] = {"x3d_s": params["train"]["x3d_s"] | small}
    params["evaluate"] |= {"clips": [1, 3], "crops": 1}
    params["latency"] |= {"views": 2, "batch": 2, "repeats": 1, "warmup": 0}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run(folder, BIN / "dvc", "repro", "index", "baseline@x3d_s")
    return folder


@pytest.fixture(scope="module")
def whole(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained and tested by DVC, undisturbed."""
    folder = tmp_path_factory.mktemp("labels") / "whole"
    shutil.copytree(listed, folder, symlinks=True)
    run(folder, *COMMANDS["dvc"])
    return folder


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of what the training and the test have left, but for how long they took."""
    files = [*folder.glob("data/weights/x3d_s/*"), folder / "data/scores/x3d_s.parquet"]
    files += [folder / "results/train/x3d_s.csv", *folder.glob("results/evaluate/*")]
    assert len(files) > 5
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.mark.parametrize("engine", ["dvc", pytest.param("snakemake", marks=pytest.mark.long)])
def test_a_killed_run_ends_with_the_same_bits(listed, whole, tmp_path, engine):
    """kill -9 of engine and stage within the training, then the same command again."""
    killed = tmp_path / "killed"
    shutil.copytree(listed, killed, symlinks=True)
    process = subprocess.Popen(
        COMMANDS[engine], cwd=killed, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(killed.glob("checkpoints/train-*/step-*2.ckpt")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "data/weights/x3d_s").exists()
    run(killed, *COMMANDS[engine])

    assert digests(killed) == digests(whole)
    assert "up to date" in run(killed, BIN / "dvc", "repro", LAST)


def test_dvc_shows_map(whole):
    """In its table of metrics and in the plot of the training, which names no top-1."""
    tested = Evaluation.read(whole / "results/evaluate/x3d_s.json")
    shown = json.loads(run(whole, BIN / "dvc", "metrics", "show", "--json"))
    (found,) = shown[""]["data"].values()
    assert (tested.task, next(iter(found["data"]))) == ("multilabel", "map")
    assert found["data"]["map"] == tested.headline.metrics["map"]

    plots = json.loads(run(whole, BIN / "dvc", "plots", "show", "--json", "--split"))["data"]
    (drawn,) = plots["results/train/x3d_s.csv"]
    assert drawn["anchor_definitions"]["<DVC_METRIC_Y_LABEL>"] == "val_map"
