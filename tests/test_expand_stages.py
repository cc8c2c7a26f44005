"""The stages of an expansion through DVC: killed in a candidate, they choose the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT, killing, programs
from support.spaces import ONE_GROUP, PLAIN
from support.studies import BIN

from autox3d.core import schema
from autox3d.core.values import NO_EXPANSION, Expand, Regularisation
from autox3d.expanding.price import price
from autox3d.sizing.choice import CandidateRecord, StepChoice
from autox3d.sizing.expansion import Price
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


STAGES = ("begin", "grow", "candidate", "choose", "contract", "reduced", "select", "report")
READ = {"params.yaml", "results/expand"}  # by the report; the other results are not made here
LOCAL = "workflow/profiles/local"  # takes up a job that was cut off
COMMANDS = {
    "dvc": (BIN / "dvc", "repro"),
    "snakemake": (
        BIN / "snakemake",
        "--workflow-profile",
        LOCAL,
        "--cores",
        "2",
        "--quiet",
        "rules",
    ),
}
JOBS = {"dvc": 1, "snakemake": 2}  # at once


def run(folder: Path, *command: Path | str) -> str:
    """A command in a folder, as a user types it; what it printed."""
    done = programs.run("engines", command, folder, ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def ready(clips: Path, folder: Path, expand: dict[str, Any] = EXPAND) -> Path:
    """A repository with the stages of the expansion as committed, in which the clips are there."""
    killing.lay_out(clips, folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    run(folder, BIN / "dvc", "init", "-q")
    (folder / "data/clips.parquet").symlink_to(clips / "clips.parquet")
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {name: pipeline[name] for name in STAGES}
    for entry in stages.values():
        entry.get("do", entry).pop("meta")  # so that two jobs fit on two cores
    deps = stages["report"]["deps"]
    stages["report"]["deps"] = [one for one in deps if one in READ or one.startswith("src/")]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("src", "params", "workflow"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "tiny.yaml").write_text(PLAIN)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["expand"] = expand
    params["train"]["s"] |= {"epochs": 2}
    params["evaluate"] |= {"clips": [1]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def trainings(folder: Path) -> int:
    """How many candidates are being trained there: each once, whatever processes it has."""
    axes = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            words = (process / "cmdline").read_bytes().split(b"\0")
            if {b"candidate", b"--axis"} <= {*words} and (process / "cwd").readlink() == folder:
                axes.add(words[words.index(b"--axis") + 1])
    return len(axes)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of what an expansion leaves, but for how long it took."""
    files = [*folder.glob("results/expand/**/*.json"), *folder.glob("results/**/*.yaml")]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.parent.name != "made"
    }


def report(folder: Path) -> str:
    """The page of the results that are there."""
    return (folder / "results/report.html").read_text()


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
    killed, together = ready(clips, tmp_path / "killed"), 0
    process = subprocess.Popen(
        COMMANDS[engine], cwd=killed, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    step = "checkpoints/candidate-*/step-*3.ckpt"
    while together < JOBS[engine] or not list(killed.glob(step)):
        assert process.poll() is None
        together = max(together, trainings(killed))
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert together == JOBS[engine]
    assert not list(killed.glob("results/expand/choices/step1.json"))
    run(killed, *COMMANDS[engine])

    assert digests(killed) == digests(whole)
    assert all("How it was expanded" in report(folder) for folder in (killed, whole))
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


BAD = {  # what a user may ask for, the program that refuses it, and its line
    "target below the base": (
        {"targets": {"small": 0.0001}},
        "'expand.targets.small': the target 0.0001 is below the base, which costs 0.0006088. "
        "Change it, or the steps of expand.path.",
    ),
    "unknown axis": (
        {"axes": ["temporal", "sideways"]},
        "'expand.axes', row 2 must be one of 'fast', 'temporal', 'spatial', 'depth', 'width' or "
        "'bottleneck', not 'sideways'.",
    ),
    "no candidate that fits": (
        {"memory_mb": 0.01},
        "'expand.memory_mb': no candidate of step1 keeps within 0.01 MB; the smallest needs "
        "0.1884. Raise it.",
    ),
}


@pytest.mark.timeout(200)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_the_program_with_one_line(whole, tmp_path, case):
    """No traceback, an exit status that engines see, and nothing is written."""
    changes, line = BAD[case]
    params = yaml.safe_load((whole / "params.yaml").read_text())
    params["expand"] |= changes
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    results = whole / "results/expand"
    files = f"--base {results}/base.yaml --before {results}/choices/tiny.json --out out"
    command = [sys.executable, "-m", "autox3d.stages.grow", "--step", "step1", *files.split()]
    command += ["--clips", str(whole / "data/clips.parquet")]
    done = programs.run("engines", command, tmp_path, ENVIRONMENT)

    assert done.returncode == 1
    assert done.stderr == f"params.yaml: {line}\n"
    assert not (tmp_path / "out").exists()


# ---- other budgets, several axes of a contraction, levels by the gap

LEVELS = [
    {"step": 1, "batch": 1.0, "epochs": 1.0, "bn_clips": 2, "drop_connect": 0.0},
    {"step": 2, "batch": 2.0, "epochs": 0.5, "bn_clips": 4, "drop_connect": 0.1},
]
TWO = {"step1": {"after": "tiny"}, "step2": {"after": "step1"}}
PATHS = {
    "params": {
        "budget": "params",
        "path": TWO,
        "axes": ["spatial", "depth", "bottleneck"],
        "targets": {"small": 0.006},
        "contract": ["last", "depth", "bottleneck"],
    },
    "memory": {"budget": "memory", "axes": ["depth", "spatial"], "targets": {"small": 0.12}},
    "ms": {"budget": "ms", "latency": "ms.yaml", "space": "small.yaml", "targets": {}},
    "gap": {
        "path": TWO,
        "axes": ["bottleneck"],
        "regularise": {"rule": "gap", "most": 0.0, "levels": LEVELS},
        "targets": {},
    },
}
FREE = {"params": {"spatial"}, "memory": {"depth"}}  # axes that the budget does not follow


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", PATHS)
def test_every_budget_and_rule_goes_through_the_stages(clips, tmp_path, case):
    """Each step doubles what its budget counts, takes the best, and contractions meet targets."""
    asked = EXPAND | {"memory_mb": None} | PATHS[case]
    folder = ready(clips, tmp_path / case, asked)
    if case == "ms":
        (folder / "small.yaml").write_text(ONE_GROUP)
        how = ("--device", "cpu", "--threads", "1", "--type", "float32", "--batch", "1")
        run(folder, BIN / "autox3d", "profile", "small.yaml", "--out", "ms.yaml", *how)
    said = run(folder, *COMMANDS["dvc"])

    results = folder / "results/expand"
    expand = schema.check(asked, Expand, folder / "params.yaml", "expand")
    with contextlib.chdir(folder):
        of = price(expand, 3)
    taken = [StepChoice.read(results / "choices/tiny.json")]
    for name in expand.path:
        step = ExpansionStep.read(results / "steps" / name)
        taken.append(StepChoice.read(results / f"choices/{name}.json"))
        checked(step, taken[-1], of, results / "steps" / name)
        assert (step.before, step.unit) == (taken[-2].price, expand.budget)
        assert all(1.4 < one.price / step.before < 2.8 for one in step.candidates.values())
        assert step.absent.keys() == FREE.get(case, set())
    for name, most in expand.targets.items():
        step = ExpansionStep.read(results / "targets" / name)
        checked(
            step, StepChoice.read(results / f"selected/{name}.json"), of, results / "targets" / name
        )
        assert all(one.price <= most for one in step.candidates.values())
        assert step.candidates.keys() | step.absent.keys() == set(expand.contract)
        assert (len(step.candidates) > 1) == (len({one.axis for one in taken[1:]}) > 1)
    if case == "gap":
        (gap,) = taken[1].gaps
        level = Regularisation(**LEVELS[gap > 0])
        assert [one.level for one in taken[1:]] == [Regularisation(**LEVELS[0]), level]
        how = "1 epochs of 2 steps of 8" if gap > 0 else "2 epochs of 4 steps of 4"
        assert re.search(rf"step2_bottleneck on .*, {how} clips", said)


def checked(step: ExpansionStep, taken: StepChoice, of: Price, folder: Path) -> None:
    """The candidates cost what their genotypes do, and the best of those trained is taken."""
    for axis, one in step.candidates.items():
        assert one.price == pytest.approx(of(Genotype.load(folder / f"{axis}.yaml")))
    if taken.contest is None:
        assert len(step.candidates) == 1
        return
    means = {axis: sum(values) / len(values) for axis, values in taken.contest.scores.items()}
    assert means.keys() == step.candidates.keys()
    best = max(means, key=lambda axis: means[axis])
    assert taken.factors == step.candidates[best].factors
