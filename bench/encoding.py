"""Does our encoding cost accuracy? The same training on x264's default encoding and on ours.

    python bench/encoding.py --workspace DEMO --out FOLDER [--seeds 1 2 3]

Both are made from the raw videos of a finished workspace (`make demo`), with the same filters at
the same size and rate; only the options of x264 differ. Network S is trained by the stages'
programs under this project's params.yaml, and tested on clips of its own encoding and of the other.
What FOLDER already has is not made again, so that a stopped run resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from autox3d.core import environment, settings, tables
from autox3d.ingest import encode, source
from autox3d.vision.clips.format.decode import IndexedVideo

PARAMS = Path(__file__).parents[1] / "params.yaml"
OURS = ("-tune", "-crf", "-preset", "-x264-params")  # our options; x264's defaults have none
KINDS = ("default", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    workspace, out = options.workspace.resolve(), options.out.resolve()
    clips = {"ours": workspace / "data/clips.parquet", "default": out / "default/clips.parquet"}
    if not clips["default"].exists():
        by_default(workspace, clips["default"])
    for kind in KINDS:
        print(f"{kind}: {tables.read_table(clips[kind])['length'].sum() / 1e6:.1f} MB of clips")
    shards = {"ours": workspace / "data/shards", "default": out / "default"}
    genotype = workspace / "results/genotypes/s.yaml"
    rows = []
    for seed in options.seeds:
        for kind in KINDS:
            folder = out / f"{kind}-{seed}"
            train(folder, genotype, clips[kind], shards[kind], seed)
            for tested in KINDS:
                found = test(folder, clips[tested], shards[tested], tested)
                top1 = [100 * found[crops]["top1"] for crops in ("center", "lcr")]
                rows.append((kind, tested, seed, *top1))
    show(pd.DataFrame(rows, columns=["trained", "tested", "seed", "center", "lcr"]))


def by_default(workspace: Path, table: Path) -> None:
    """Encodes the clips of the workspace with x264's default options, and writes their table."""
    params = settings.load(PARAMS).transcode
    rows = tables.read_table(workspace / "data/clips.parquet")
    paths = tables.read_table(workspace / "data/videos.parquet").set_index("key")["path"]
    raw = workspace / environment.raw()
    table.parent.mkdir(parents=True, exist_ok=True)

    def made(key: str) -> bytes:
        target = table.parent / f"{key}.mp4"
        found = source.probe(raw / paths[key], params.max_pixels)
        command = encode.arguments(raw / paths[key], target, found, params)
        subprocess.run([*untold(command)], check=True, capture_output=True)
        data = target.read_bytes()
        target.unlink()
        return data

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        data = [*pool.map(made, rows["key"])]
    if [IndexedVideo(clip).count for clip in data] != rows["frames"].tolist():
        raise SystemExit("the default encoding has other frames than ours")
    (table.parent / "0.tar").write_bytes(b"".join(data))
    rows["shard"], rows["length"] = "0.tar", [len(clip) for clip in data]
    rows["offset"] = np.cumsum(rows["length"]) - rows["length"]
    classes = tables.read_classes(workspace / "data/clips.parquet")
    tables.write_table(rows, table, classes)


def untold(command: list[str]) -> Iterator[str]:
    """The command without the options in OURS and their values."""
    parts = iter(command)
    for part in parts:
        if part in OURS:
            next(parts)
        else:
            yield part


def train(folder: Path, genotype: Path, clips: Path, shards: Path, seed: int) -> None:
    settings = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    settings["train"]["s"]["seed"] = seed
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "params").exists():
        (folder / "params").symlink_to(PARAMS.parent / "params")
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    outputs = {"weights": "weights/s", "curve": "s.csv", "made": "made.json"}
    if not (folder / "made.json").exists():
        stage("train", folder, shards, genotype=genotype, clips=clips, **outputs)


def test(folder: Path, clips: Path, shards: Path, tested: str) -> dict:
    """The metrics of the stage."""
    metrics = folder / f"{tested}.json"
    if not metrics.exists():
        outputs = {"scores": f"{tested}.parquet", "confusion": f"{tested}.csv"}
        inputs = {"weights": "weights/s", "clips": clips}
        stage("evaluate", folder, shards, **inputs, **outputs, metrics=metrics)
    return json.loads(metrics.read_text(encoding="utf-8"))


def stage(name: str, folder: Path, shards: Path, **files: Path | str) -> None:
    command = [sys.executable, "-m", "autox3d.runtime.launch", name]
    for option, path in files.items():
        command += [f"--{option}", str(path)]
    environment = os.environ | {"AUTOX3D_SHARDS": str(shards)}
    subprocess.run(command, cwd=folder, env=environment, check=True)


def show(rows: pd.DataFrame) -> None:
    """Prints top-1 of the test videos in percent: the mean over seeds, and each seed."""
    for (trained, tested), part in rows.groupby(["trained", "tested"], sort=False):
        for crops in ("center", "lcr"):
            each = " ".join(f"{top1:.1f}" for top1 in part[crops])
            mean, spread = part[crops].mean(), part[crops].std()
            print(f"{trained:8} on {tested:8} {crops:7} {mean:6.1f} +- {spread:4.1f}   {each}")


if __name__ == "__main__":
    main()
