"""The real stage `train` on real clips, but small: an entry `fit` of a toy pipeline, in fit/."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from pathlib import Path

import yaml

from support import ROOT, shards
from support.spaces import PLAIN
from support.toy import JOB, Toy

ENTRY = """\
  fit:
    wdir: fit
    cmd: >-
      exec python -m autox3d.runtime.launch train --network s --genotype s.yaml
      --clips clips.parquet --weights weights --curve curve.csv --made made.json
    deps: [s.yaml, clips.parquet]
    params: [train.s]
    outs: [weights]
    metrics: [{{made.json: {{cache: false}}}}]
    plots: [{{curve.csv: {{cache: false}}}}]
    meta: {{resources: {{{resources}, mem_mb: 2000, runtime: {minutes}}}}}
"""
SAMPLING = {
    "jitter": [32, 40],
    "flip": False,
    "autoaugment": False,
    "rule": "linspace",
    "repeats": 1,
}
STEPS = 2  # an epoch: 8 clips in batches of 4
ENVIRONMENT: dict[str, str] = {"OMP_NUM_THREADS": "1", "AUTOX3D_WORKERS": "1"}


class Fit:
    """The folder of the entry, and what training leaves there."""

    def __init__(self, toy: Toy) -> None:
        self.toy, self.root = toy, toy.root / "fit"

    @classmethod
    def add(cls, toy: Toy, epochs: int, resources: str, minutes: int = 10) -> Fit:
        """To a toy that has no entry of this name.

        Args:
            resources: what the job asks of SLURM, as in dvc.yaml.
            minutes: its time limit.
        """
        fit = cls(toy)
        fit.root.mkdir()
        shards.make(fit.root)
        (fit.root / "data").mkdir()
        (fit.root / "shards").rename(fit.root / "data/shards")
        (fit.root / "s.yaml").write_text(PLAIN)
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["train"]["s"] |= {"epochs": epochs, "batch": 4, "bn_clips": 2, "sampling": SAMPLING}
        (fit.root / "params.yaml").write_text(yaml.safe_dump(params))
        with (toy.root / "dvc.yaml").open("a") as file:
            file.write(ENTRY.format(resources=resources, minutes=minutes))
        return fit

    def undisturbed(self, root: Path, processes: int) -> Fit:
        """The same training in a copy of the toy, on this machine, without SLURM."""
        other = Fit(self.toy.copy(root))
        asked = {"AUTOX3D_PROCESSES": str(processes), **ENVIRONMENT}
        work = other.toy.start(*JOB, "fit", **asked)
        said, _ = work.communicate(timeout=900)
        assert work.returncode == 0, said
        return other

    def step(self) -> int:
        """Of the newest checkpoint; 0 where there is none."""
        names = [path.stem for path in self.root.glob("checkpoints/train-*/step-*.ckpt")]
        return max((int(name.removeprefix("step-")) for name in names), default=0)

    def pid(self) -> int:
        """Of the process that writes the checkpoints."""
        (claim,) = self.root.glob("checkpoints/train-*/claim.json")
        return json.loads(claim.read_text())["pid"]

    def job_logs(self) -> str:
        """What SLURM kept of the jobs that failed."""
        logs = sorted((self.toy.root / ".snakemake/slurm_logs/rule_fit").glob("*.log"))
        return "".join(log.read_text() for log in logs)

    def log(self) -> str:
        """What all attempts have said."""
        return self.toy.read(".pipeline/fit.log")

    def mirrored(self) -> list[tuple[str, int]]:
        """(status, epochs) of each run in MLflow's store."""
        asked = (
            "select status, count(distinct step) from runs join metrics using (run_uuid) "
            "where key = 'loss' group by run_uuid"
        )
        with sqlite3.connect(self.root / "mlflow.db") as store:
            return store.execute(asked).fetchall()

    def last_attempt(self) -> tuple[int, int]:
        """Steps that it did, of those that were left when it began."""
        found = re.findall(r"^train s: (\d+)/(\d+) steps", self.log(), re.MULTILINE)
        return int(found[-1][0]), int(found[-1][1])

    def digests(self) -> dict[str, str]:
        """SHA-256 of the weights and of the curve."""
        names = ("weights/weights.safetensors", "curve.csv")
        return {name: hashlib.sha256((self.root / name).read_bytes()).hexdigest() for name in names}
