"""The pipeline on a real SLURM of two nodes, through Snakemake's executor."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy import BIN, ENVIRONMENT, ROOT, Toy

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

CLUSTER = ROOT / "tests/slurm/cluster"
SNAKEMAKE = (
    str(BIN / "snakemake"),
    *("--workflow-profile", "workflow/profiles/slurm"),
    *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"),
)
SPAN = """\
  span:
    cmd: exec python -m autox3d.run.launch span --out span.json
    deps: [stage.py]
    metrics: [{span.json: {cache: false}}]
    meta: {resources: {nodes: 2, gres: "gpu:1", mem_mb: 1000, runtime: 5}}
"""
STAGE = """\
import json
import os

import torch

from autox3d.run.distributed import join
from autox3d.run.program import paths, run


def main():
    out = paths(__doc__, "out").out
    with join() as world:
        ones = torch.ones(3) * (world.rank + 1)
        world.sum_([ones])
        places = world.gather([os.environ[name] for name in ("SLURMD_NODENAME", "SLURM_STEP_GPUS")])
        if world.rank == 0:
            out.write_text(json.dumps({"sum": ones.tolist(), "places": places}))


run(main)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run([CLUSTER, "start", folder], check=True)
    yield folder
    subprocess.run([CLUSTER, "stop", folder], check=True)


def test_the_cluster_of_another_is_not_touched(cluster: Path, tmp_path: Path) -> None:
    """To this one, the running one is another's."""
    second = subprocess.run([CLUSTER, "start", tmp_path], capture_output=True, text=True)

    assert second.returncode == 1
    assert second.stderr == (
        "cluster: /etc/slurm/slurm.conf belongs to another SLURM; not touching it.\n"
    )
    assert subprocess.run([CLUSTER, "stop", tmp_path]).returncode == 0
    assert Path("/etc/slurm/slurm.conf").resolve() == cluster / "slurm.conf"


def test_the_pipeline_runs_through_a_killed_job_and_on_two_nodes(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The killed one is tried again; the other spans the nodes by torchrun, a GPU on each."""
    toy = Toy.new(tmp_path / "toy")
    stages = tmp_path / "stages"
    stages.mkdir()
    (stages / "span.py").write_text(STAGE)
    (stages / "sitecustomize.py").write_text(
        f"import autox3d.stages\nautox3d.stages.__path__.append({str(stages)!r})\n"
    )
    with (toy.root / "dvc.yaml").open("a") as file:
        file.write(SPAN)
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPATH", str(stages))
    monkeypatch.setitem(ENVIRONMENT, "AUTOX3D_PROCESSES", "1")
    hold = toy.hold("train")
    work = toy.start(*SNAKEMAKE)
    try:
        toy.pid("train", 180)
        running = toy.type("squeue", "--noheader", "--states", "R", "--format", "%i %k")
        jobs = [line.split()[0] for line in running.splitlines() if line.endswith("rule_train")]
        toy.type("scancel", "--signal", "KILL", "--full", *jobs)
        hold.unlink()
        said, _ = work.communicate(timeout=300)
    finally:
        toy.stop()

    assert len(jobs) == 1
    assert work.returncode == 0, said
    ran = toy.ran()
    assert sorted(ran) == ["list", "shard@0", "shard@1", "test", "train", "train"]
    assert ran[-1] == "test"
    span = json.loads(toy.read("span.json"))
    assert span["sum"] == [3.0, 3.0, 3.0]
    assert sorted(span["places"]) == [["n1", "0"], ["n2", "0"]]
    assert toy.up_to_date()
