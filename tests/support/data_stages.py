"""The stages annotate, transcode and index as programs, on videos made for a test."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from support import ROOT, corpus, programs


def stage(folder: Path, name: str, flags: str, code: int = 0) -> str:
    """What a stage prints; the last line of its errors where it is to refuse."""
    command = [sys.executable, "-m", f"autox3d.stages.{name}", *flags.split()]
    done = programs.run("data", command, folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1] if code else done.stdout


def index(folder: Path, code: int = 0) -> str:
    """What the stage `index` says."""
    flags = "--videos data/videos.parquet --index data/index --clips data/clips.parquet"
    return stage(
        folder, "index", f"{flags} --unused data/unused.csv --report results/data.json", code
    )


def annotated(folder: Path, code: int = 0) -> str:
    """What the stage `annotate` says."""
    return stage(folder, "annotate", "--videos data/videos.parquet --lists data/lists", code)


def transcoded(folder: Path, shard: int = 0) -> str:
    """What the stage `transcode` says."""
    return stage(
        folder,
        "transcode",
        f"--list data/lists/{shard}.parquet --shard data/shards/{shard}.tar "
        f"--index data/index/{shard}.parquet",
    )


def settings(folder: Path, shards: int = 8, max_lost: float = 0.2, **annotate: object) -> None:
    """Writes params.yaml."""
    content = yaml.safe_load((ROOT / "params/folder.yaml").read_text())
    content["annotate"] |= {"shards": list(range(shards))} | annotate
    content["transcode"] |= {"short": 48, "preset": "ultrafast", "max_lost": max_lost}
    content["subset"]["classes"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def video(path: Path, hue: int = 0) -> None:
    """Makes a short one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10", "-vf", f"hue=h={hue}")
    corpus.ffmpeg(*picture, *corpus.H264, seconds=0.3, to=path)
