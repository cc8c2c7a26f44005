"""The pipeline on a real SLURM of two nodes, through Snakemake's executor, with failures."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT
from support.small_training import ENVIRONMENT, STEPS, Fit
from support.toy import SLURM, Toy, wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

CLUSTER = ROOT / "tests/slurm/cluster"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running SLURM."""
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run([CLUSTER, "start", folder], check=True)
    yield folder
    subprocess.run([CLUSTER, "stop", folder], check=True)


@pytest.fixture
def toy(cluster: Path, tmp_path: Path) -> Iterator[Toy]:
    """A workspace where nothing has run; no job is left running afterwards."""
    toy = Toy.new(tmp_path / "toy")
    yield toy
    toy.stop()
    subprocess.run(["scancel", "--partition", "test"], check=True)


def test_the_cluster_of_another_is_not_touched(cluster: Path, tmp_path: Path) -> None:
    """A running SLURM that another checkout started is left alone."""
    second = subprocess.run([CLUSTER, "start", tmp_path], capture_output=True, text=True)

    assert second.returncode == 1
    assert second.stderr == (
        "cluster: /etc/slurm/slurm.conf belongs to another SLURM; not touching it.\n"
    )
    assert subprocess.run([CLUSTER, "stop", tmp_path]).returncode == 0
    assert Path("/etc/slurm/slurm.conf").resolve() == cluster / "slurm.conf"


def test_the_pipeline_runs_and_a_training_killed_on_two_nodes_is_resumed(
    toy: Toy, tmp_path: Path
) -> None:
    """Two ranks on two nodes are killed; the next attempt has the bits of two on one node."""
    fit = Fit.add(toy, epochs=16, resources='nodes: 2, gres: "gpu:1"')
    mirrored = {"AUTOX3D_PROCESSES": "1", "AUTOX3D_TRACKING": "on"}
    work = toy.start(*SLURM, **mirrored, **ENVIRONMENT)
    wait_for(lambda: fit.step() >= 2 * STEPS, 200)
    (job,) = toy.jobs("rule_fit")
    toy.type("scancel", "--signal", "KILL", "--full", job)
    killed = fit.step()
    output, _ = work.communicate(timeout=300)

    assert work.returncode == 0, output
    assert sorted(toy.ran()) == ["list", "shard@0", "shard@1", "test", "train"]
    assert toy.up_to_date()
    done, total = fit.last_attempt()
    assert done == total <= 16 * STEPS - killed
    assert '"processes": 2' in toy.read("fit/made.json")
    assert fit.digests() == fit.undisturbed(tmp_path / "other", processes=2).digests()
    assert fit.mirrored() == [("FINISHED", 16)]
    assert not list(fit.root.glob(".mlflow-spool/*.jsonl"))  # all has been sent


def test_after_snakemake_was_killed_the_next_one_adopts_its_jobs(toy: Toy) -> None:
    """The new job gets no node before the old one has ended, whose result is used."""
    toy.dvc("repro", "shard")
    hold = toy.hold("train")
    toy.ran()
    first = toy.start(*SLURM)
    toy.pid("train", 120)
    (left,) = toy.jobs("rule_train")
    first.kill()
    first.wait()

    second = toy.start(*SLURM)
    wait_for(lambda: len(toy.jobs("rule_train")) == 2, 60)
    waiting = toy.type("squeue", "--noheader", "--states", "PD", "--format", "%k %E")
    hold.unlink()
    output, _ = second.communicate(timeout=200)

    assert waiting == f"rule_train afterany:{left}(unfulfilled)\n"
    assert second.returncode == 0, output
    assert toy.ran() == ["train", "test"]
    assert toy.up_to_date()
    assert toy.jobs("") == []


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_job_put_back_into_the_queue_resumes(toy: Toy, tmp_path: Path) -> None:
    """`scontrol requeue`, as after the loss of a node, resumes the job from its checkpoint."""
    fit = Fit.add(toy, epochs=40, resources="gpu: 1")
    work = toy.start(*SLURM, "--until", "fit", **ENVIRONMENT)
    wait_for(lambda: fit.step() >= 2 * STEPS, 200)
    (job,) = toy.jobs("rule_fit")
    toy.type("scontrol", "requeue", job)
    saved = fit.step()
    output, _ = work.communicate(timeout=500)

    assert work.returncode == 0, output
    assert "Trying to restart" not in output
    assert fit.log().count("exec python") == 2
    done, total = fit.last_attempt()
    assert done == total <= 40 * STEPS - saved
    assert fit.digests() == fit.undisturbed(tmp_path / "other", processes=1).digests()


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_job_out_of_time_saves_and_the_next_one_resumes(toy: Toy, tmp_path: Path) -> None:
    """The job is delayed until its limit of a minute is over."""
    fit = Fit.add(toy, epochs=40, resources="gpu: 1", minutes=1)
    work = toy.start(*SLURM, "--until", "fit", **ENVIRONMENT)
    wait_for(lambda: fit.step() >= 2 * STEPS, 200)
    os.kill(fit.pid(), signal.SIGSTOP)
    held = fit.step()
    output, _ = work.communicate(timeout=500)

    assert work.returncode == 0, output
    assert "Trying to restart" in output
    assert "fit: saved and stopped: run again to resume." in fit.job_logs()
    done, total = fit.last_attempt()
    assert done == total <= 40 * STEPS - held
    assert fit.digests() == fit.undisturbed(tmp_path / "other", processes=1).digests()
