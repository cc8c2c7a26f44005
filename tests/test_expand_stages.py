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
from autox3d.sizing.choice import CandidateRecord, StepChoice
from autox3d.sizing.steps import ExpansionStep
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

pytestmark = pytest.mark.slow

EXPAND = NO_EXPANSION | {
    "base": {"tiny": {"of": "tiny.yaml", "stride": 4}},
    "path": {"step1": {"after": "tiny"}},
    "axes": ["temporal", "bottleneck", "spatial"],
    "memory_mb": 0.2,
    "seeds": [1],
    "candidate": "s",
    "targets": {"small": 0.0009},
}
LARGE = "needs 0.212 MB of activations"
ENVIRONMENT = (
    os.environ
    | killing.ENVIRONMENT
    | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "DVC_NO_ANALYTICS": "1",
    }
)


STAGES = ("begin", "grow", "candidate", "choose", "contract", "reduced", "select")
COMMANDS = {
    "dvc": (BIN / "dvc", "repro"),
    "snakemake": (BIN / "snakemake", "--cores", "2", "--quiet", "rules"),
}


def run(folder: Path, *command: Path | str) -> str:
    """A command in a folder, as a user types it; what it printed."""
    done = programs.run("engines", command, folder, ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ready(clips: Path, folder: Path) -> Path:
    """A repository with the stages of the expansion as committed, in which the clips are there."""
    killing.lay_out(clips, folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    run(folder, BIN / "dvc", "init", "-q")
    (folder / "data/clips.parquet").symlink_to(clips / "clips.parquet")
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {name: pipeline[name] for name in STAGES}
    for entry in stages.values():
        entry.get("do", entry).pop("meta")  # so that two jobs fit on two cores
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("src", "params", "workflow"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "tiny.yaml").write_text(PLAIN)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["expand"] = EXPAND
    params["train"]["s"] |= {"epochs": 2}
    params["evaluate"] |= {"clips": [1]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of what an expansion leaves, but for how long it took."""
    files = [*folder.glob("results/expand/**/*.json"), *folder.glob("results/**/*.yaml")]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.parent.name != "made"
    }


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory) -> Path:
    """The toy expansion, undisturbed, by DVC."""
    folder = ready(clips, tmp_path_factory.mktemp("expansion") / "whole")
    run(folder, *COMMANDS["dvc"])
    return folder


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["dvc", pytest.param("snakemake", marks=pytest.mark.long)])
def test_a_step_that_is_killed_in_a_candidate_chooses_the_same(clips, whole, tmp_path, engine):
    """kill -9 of engine and stage within a training, then again; Snakemake has two jobs at once."""
    killed = ready(clips, tmp_path / "killed")
    process = subprocess.Popen(
        COMMANDS[engine], cwd=killed, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(killed.glob("checkpoints/candidate-*/step-*3.ckpt")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(killed.glob("results/expand/choices/step1.json"))
    run(killed, *COMMANDS[engine])

    assert digests(killed) == digests(whole)
    assert "up to date" in run(killed, BIN / "dvc", "repro")


def test_the_stages_leave_what_their_records_say(whole):
    """An axis that is not there has its reason, and the target is met by a network to train."""
    (shown,) = whole.glob("results/genotypes/*.yaml")
    made = Genotype.load(shown)
    taken = StepChoice.read(whole / "results/expand/choices/step1.json")
    step = ExpansionStep.read(whole / "results/expand/steps/step1")
    records = {
        axis: CandidateRecord.read(whole / f"results/expand/trained/step1/{axis}_1.json")
        for axis in EXPAND["axes"]
    }

    assert taken.contest
    assert set(taken.contest.scores) == set(step.candidates) == {"temporal", "bottleneck"}
    assert records["spatial"].trained is None
    assert records["spatial"].why == step.absent["spatial"] == LARGE
    best = max(one.trained.value for one in records.values() if one.trained)
    assert best == max(value for (value,) in taken.contest.scores.values())
    assert made.name == "small"
    assert cost(made, 3).gmacs <= EXPAND["targets"]["small"]
