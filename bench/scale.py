"""Kinetics-400 simulated: 240,000 videos in 240 shards, as DVC, Snakemake and a loader see them.

    python bench/scale.py [--gigabytes 2] [--shards 240]

A scratch clone gets params/kinetics400.yaml and every output that the stages would leave, all
committed to DVC: tables of the real length, shards of random bytes, `--gigabytes` together. Then
each command runs as a user would run it, in a process of its own. The figures are wall seconds,
seconds of processor time and peak memory. The clone is deleted at the end.

    table and sampler   clips.parquet opened, an epoch ordered, one of 64 processes given its share
    status, warm        `dvc status` when DVC knows every file's hash
    planning            `snakemake --dry-run` with nothing to do: rules, stamps, graph
    a job begins, ends  what each of 64 jobs does under DVC's lock, the recording included
    status, cold        `dvc status` of the shards after DVC's state is lost: every byte is hashed
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

os.environ["DVC_NO_ANALYTICS"] = "1"

import numpy as np
import pandas as pd
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import dump_yaml

from autox3d.core import tables

ROOT = Path(__file__).parents[1]
VIDEOS, CLASSES, BLOCK = 240_000, 400, 1 << 20
PLAN = ["snakemake", "--workflow-profile", "workflow/profiles/local", "--dry-run"]
LOADER = """
from pathlib import Path
from autox3d.vision.clips.order import epoch_order
from autox3d.vision.clips.store import Clips
clips = Clips.load(Path("data/clips.parquet"), split="train")
order = epoch_order(len(clips), 512, seed=1, epoch=3)
assert order.reshape(len(order), -1, 8)[:, 63::64].size
"""
JOB = """
from dvc.repo import Repo
from autox3d.pipeline import bridge as pipeline
assert pipeline._prepare("transcode@7") is None
stage = Repo(".").stage.load_one(name="transcode@7")
stage.save_deps()
before = pipeline._inputs(stage)
pipeline._record("transcode@7", before)
"""


class Spent(NamedTuple):
    """Time and memory of one process and its children."""

    clock: float  # s
    processor: float  # s
    megabytes: float  # of the largest process


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of all shards together")
    parser.add_argument("--shards", type=int, default=240)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        root, state = Path(folder) / "clone", Path(folder) / "state"
        os.environ["DVC_SITE_CACHE_DIR"] = str(state)  # where DVC keeps the hashes it knows
        fill(root, options.shards, int(options.gigabytes * 1e9))
        python = [sys.executable, "-c"]
        for what, command in {
            "table and sampler": [*python, LOADER],
            "status, warm": ["dvc", "status"],
            "planning": PLAN,
            "a job begins, ends": [*python, JOB],
        }.items():
            tell(what, spent(command, root))
        shutil.rmtree(state)
        size = sum(path.stat().st_size for path in (root / "data/shards").iterdir()) / 1e9
        found = spent(["dvc", "status", "transcode"], root)
        tell("status, cold", found)
        rates = size / found.clock, size / found.processor
        print("{:20} {:.2f} GB: {:.3f} GB/s; {:.3f} a s of processor time".format("", size, *rates))


def fill(root: Path, shards: int, size: int) -> None:
    """Makes a clone in which every stage is done."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
    os.chdir(root)
    settings = Path("params/kinetics400.yaml").read_text()
    listed = f"shards: {list(range(shards))}"
    Path("params.yaml").write_text(re.sub(r"shards: \[.*?\]", listed, settings, flags=re.DOTALL))
    shutil.rmtree("results", ignore_errors=True)
    Path("dvc.lock").unlink(missing_ok=True)
    repo = Repo(os.curdir)
    with repo.lock:
        for stage in repo.index.stages:
            for out in stage.outs:
                make(out, shards, size // shards)
        locked = {}
        for stage in repo.index.stages:
            stage.save()
            stage.commit()
            locked[stage.addressing] = to_single_stage_lockfile(stage)
    dump_yaml("dvc.lock", {"schema": "2.0", "stages": locked})
    os.chdir(ROOT)


def make(out: Output, shards: int, size: int) -> None:
    """Makes a placeholder for one output, of `size` bytes if it is a shard."""
    path = Path(out.fs_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name == "clips.parquet":
        tables.write_table(table(shards), path, classes=[f"class {n}" for n in range(CLASSES)])
    elif path.name == "lists":
        path.mkdir()
        for number in range(shards):
            (path / f"{number}.parquet").write_bytes(os.urandom(40_000))
    elif path.parent.name == "weights":
        path.mkdir()
        (path / "weights.safetensors").write_bytes(os.urandom(BLOCK))
    elif path.suffix == ".tar":
        with path.open("wb") as file:
            for start in range(0, size, BLOCK):
                file.write(os.urandom(min(BLOCK, size - start)))
    else:
        text = {".json": b"{}", ".csv": b"epoch,loss\n"}
        path.write_bytes(text.get(path.suffix, os.urandom(1000)))


def table(shards: int) -> pd.DataFrame:
    """Writes clips.parquet with 240,000 clips."""
    number = np.arange(VIDEOS)
    hashed = [f"{n:064x}" for n in np.random.default_rng(0).integers(1 << 62, size=VIDEOS)]
    return pd.DataFrame(
        {
            "key": [f"{n:011d}_000010_000020" for n in number],
            "label": number % CLASSES,
            "split": "train",
            "shard": [f"{n % shards}.tar" for n in number],
            "offset": number // shards * 1_300_000,
            "length": 1_300_000,
            "frames": 300,
            "sha256": hashed,
        }
    )


def spent(command: Sequence[str], folder: Path) -> Spent:
    """Runs a command, which must succeed, and returns its time and memory."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    clock = time.perf_counter() - began
    if status:
        sys.exit(f"{' '.join(command)[:80]}: {errors.decode()}")
    return Spent(clock, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def tell(what: str, found: Spent) -> None:
    print(
        f"{what:20} {found.clock:6.1f} s, {found.processor:6.1f} s of processor time, "
        f"{found.megabytes:5.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
