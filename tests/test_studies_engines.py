"""The studies of the search under DVC and Snakemake: stages that stop, go on, and may be absent."""

from __future__ import annotations

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
from support.studies import BIN, SMALL, digests, lay_out

from autox3d.core import overrides, settings
from autox3d.core.search_records import StudyProvenance, StudyRecord
from autox3d.studies.kind import kind_of

pytestmark = pytest.mark.slow

STAGES = [  # of the pipeline as committed: `dvc stage list --name-only`
    "annotate", "control", "derive", "index", "report", "search", "subset", "warmup",
    *(f"baseline@{name}" for name in ("s_t1", "x3d_s")),
    *(f"explain@{name}" for name in ("s", "x3d_s")),
    *(f"scale@{name}" for name in ("l", "m", "s")),
    *(f"transcode@{shard}" for shard in range(4)),
    *(f"{stage}@{name}" for stage in ("evaluate", "latency", "summary", "train")
      for name in ("l", "m", "s", "s_t1", "x3d_s")),
]  # fmt: skip


def dvc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """DVC in a folder, as a user types it."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | killing.ENVIRONMENT | {"PATH": path, "DVC_NO_ANALYTICS": "1"}
    environment["PYTHONPATH"] = str(ROOT / "src")
    command = [BIN / "dvc", *words]
    return programs.run("engines", command, folder, environment)


def repository(folder: Path) -> Path:
    """A git and DVC repository with the pipeline as committed, and links to its code."""
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    assert dvc(folder, "init", "-q").returncode == 0
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copytree(ROOT / "architectures", folder / "architectures")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params", "results/genotypes"):
        (folder / name).mkdir(parents=True)
    for name in ("scratch", "untimed"):
        shutil.copy(ROOT / "params" / name, folder / "params")
    return folder


def listed(folder: Path) -> list[str]:
    """The stages that DVC finds."""
    found = dvc(folder, "stage", "list", "--name-only")
    assert found.returncode == 0, found.stderr
    return sorted(found.stdout.split())


def test_as_shipped_there_is_no_study_and_every_stage_of_before(tmp_path):
    """Also where params.yaml has no section `studies`; with one study there is one stage more."""
    folder = repository(tmp_path)
    shipped = (ROOT / "params.yaml").read_text()
    (folder / "params.yaml").write_text(shipped)
    assert listed(folder) == sorted(STAGES)

    params = yaml.safe_load(shipped)
    assert not params.get("studies")
    params.pop("studies", None)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    assert settings.load(folder / "params.yaml").studies == {}
    assert listed(folder) == sorted(STAGES)

    params["studies"] = {"beta": SMALL["beta"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    assert listed(folder) == sorted([*STAGES, "study@beta"])


def test_snakemake_plans_the_studies_that_there_are(tmp_path):
    """Empty as shipped; filled, a job each, and no other rule has changed."""
    folder = repository(tmp_path)
    shutil.copy(ROOT / "Snakefile", folder)
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())

    def planned(studies: dict[str, Any]) -> list[str]:
        (folder / "params.yaml").write_text(yaml.safe_dump(params | {"studies": studies}))
        command = [BIN / "snakemake", "--dry-run", "--cores", "1", "--quiet", "rules"]
        path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
        done = programs.run("engines", command[:-2], folder, os.environ | path, together=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return sorted(set(re.findall(r"\.pipeline/(\S+)\.done", done.stdout)))

    assert planned({}) == sorted(STAGES)
    both = {"beta": SMALL["beta"], "other": SMALL["seeds"]}
    assert planned(both) == sorted([*STAGES, "study@beta", "study@other"])


def ready(clips: Path, folder: Path) -> Path:
    """A repository in which the stages before the study of `beta` have left their files."""
    folder.mkdir()
    repository(lay_out(clips, folder, {"beta": SMALL["beta"]}))
    (folder / "data/supernet").mkdir()
    (folder / "data/supernet/warmup.safetensors").write_bytes(b"of another space, so not taken")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["supernet"]["space"] = "architectures/space_demo.yaml"
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


@pytest.mark.timeout(300)
def test_a_killed_study_goes_on_under_dvc_and_leaves_the_same_bytes(clips, tmp_path):
    """kill -9 of the engine and of the stage in the second search; then the same command again."""
    whole, killed = ready(clips, tmp_path / "whole"), ready(clips, tmp_path / "killed")
    command = ("repro", "--single-item", "study@beta")
    done = dvc(whole, *command)
    assert done.returncode == 0, done.stdout + done.stderr

    environment = os.environ | killing.ENVIRONMENT | {"PYTHONPATH": str(ROOT / "src")}
    environment |= {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.Popen(
        [BIN / "dvc", *command], cwd=killed, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while len(list(killed.glob("checkpoints/study-*/step-*.ckpt"))) < 5:  # 2 + 2 of two runs
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "results/studies/beta.json").exists()

    done = dvc(killed, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert digests(killed / "data/studies") == digests(whole / "data/studies")
    record = "results/studies/beta.json"
    assert (killed / record).read_bytes() == (whole / record).read_bytes()
    assert "up to date" in dvc(killed, *command).stdout


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_processes_share_one_world_from_run_to_run(clips, tmp_path):
    """All runs of a study are those of the same ranks, which find the same."""
    folder = lay_out(clips, tmp_path, SMALL)
    words = "study --name seeds --space space.yaml --subset clips.parquet --clips clips.parquet"
    words += " --init none --out out --record seeds.json --made seeds_made.json"
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["supernet"]["seed"] = 9  # so that no warm-up is that of the pipeline, which is not there
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    done = subprocess.run(
        [sys.executable, "-m", "autox3d.runtime.launch", *words.split()],
        cwd=folder, env=os.environ | killing.ENVIRONMENT | {"AUTOX3D_PROCESSES": "2"},
        capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    made = StudyProvenance.read(folder / "seeds_made.json").runs
    assert {one.processes for one in made.values()} == {2}
    assert len(StudyRecord.read(folder / "seeds.json").rows) == 4


@pytest.mark.parametrize("name", ["demo", "kinetics400"])
def test_the_sections_that_are_shipped_fit_behind_their_settings(name, tmp_path):
    """`cat params/studies/demo.yaml >> params.yaml` is all: one study of each kind."""
    whole = ROOT / ("params.yaml" if name == "demo" else f"params/{name}.yaml")
    section = ROOT / f"params/studies/{name}.yaml"
    path = tmp_path / "params.yaml"
    path.write_text(whole.read_text() + section.read_text())
    params = settings.load(path)

    assert {study["kind"] for study in SMALL.values()} == {
        study.kind for study in params.studies.values()
    }
    for one, asked in params.studies.items():
        kind_of(overrides.for_study(params, one, path), one, path)
        assert (ROOT / asked.space).is_file()
