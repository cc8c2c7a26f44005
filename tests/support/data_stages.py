"""The stages annotate, transcode, index and subset as programs, on videos made for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from support import ROOT, corpus, programs

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
FLAGS = {
    "annotate": "--videos data/videos.parquet --lists data/lists",
    "transcode": "--list data/lists/{shard}.parquet --shard data/shards/{shard}.tar "
    "--index data/index/{shard}.parquet",
    "index": "--videos data/videos.parquet --index data/index --clips data/clips.parquet "
    "--unused data/unused.csv --report results/data.json",
    "subset": "--clips data/clips.parquet --subset data/subset.parquet",
}


def stage(folder: Path, name: str, *before: str, shard: int = 0, code: int = 0) -> str:
    """What a stage prints; the last line of its errors (below the progress) if it is to refuse.

    Args:
        before: words put before its command.
    """
    command = [*before, sys.executable, "-m", f"autox3d.stages.{name}", *flags(name, shard)]
    if before:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    else:
        done = programs.run("data", command, folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1] if code else done.stdout


def flags(name: str, shard: int = 0) -> list[str]:
    """Where the stage reads and writes, as in the pipeline."""
    return FLAGS[name].format(shard=shard).split()


def index(folder: Path, code: int = 0) -> str:
    """What the stage `index` says."""
    return stage(folder, "index", code=code)


def annotated(folder: Path, code: int = 0) -> str:
    """What the stage `annotate` says."""
    return stage(folder, "annotate", code=code)


def transcoded(folder: Path, shard: int = 0) -> str:
    """What the stage `transcode` says."""
    return stage(folder, "transcode", shard=shard)


def settings(folder: Path, shards: int = 8, max_lost: float = 0.2, **annotate: object) -> None:
    """Writes params.yaml from params/folder.yaml, with several shards, for small videos."""
    content = yaml.safe_load((ROOT / "params/folder.yaml").read_text())
    content["annotate"] |= {"shards": list(range(shards))} | annotate
    content["transcode"] |= {"short": 48, "preset": "ultrafast", "max_lost": max_lost}
    content["subset"]["classes"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def write_settings(folder: Path, **annotate: object) -> None:
    """Writes params.yaml from the shipped one, with one shard, a small subset and `annotate`."""
    content = PARAMS | {"annotate": PARAMS["annotate"] | {"shards": [0]} | annotate}
    content["subset"] = PARAMS["subset"] | {"classes": None, "train": 2, "val": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def video(path: Path, hue: int = 0) -> None:
    """Makes a short one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10", "-vf", f"hue=h={hue}")
    corpus.ffmpeg(*picture, *corpus.H264, seconds=0.3, to=path)
