"""A small table of clips with its two shards, made by the real thing from generated videos."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from autox3d.core import settings, tables
from autox3d.core.values import Encoding
from autox3d.ingest.transcode import transcode
from autox3d.vision.clips.store import Clips
from support import ROOT, corpus

PARAMS = ROOT / "params.yaml"
CLASSES = ("left", "right", "up")
SIZES = ("128x96", "96x128", "160x90", "72x72")


def encoding(**changes) -> Encoding:
    """Those of the demo."""
    plain = settings.load(PARAMS).transcode
    return Encoding(**vars(plain) | changes)


def listing(root: Path, target: Path, names: list[str]) -> Path:
    """The list that `annotate` writes of files that are there."""
    stats = [(root / name).stat() for name in names]
    rows = {
        "key": [Path(name).stem for name in names],
        "path": names,
        "size": [stat.st_size for stat in stats],
        "mtime_ns": [stat.st_mtime_ns for stat in stats],
    }
    tables.write_table(pd.DataFrame(rows), target)
    return target


def shard(root: Path, out: Path, number: int, names: list[str], workers: int = 2) -> pd.DataFrame:
    """Makes shard `number` under `out`; its index."""
    transcode(
        listing(root, out / f"lists/{number}.parquet", names),
        root,
        out / f"shards/{number}.tar",
        out / f"index/{number}.parquet",
        encoding(),
        workers=workers,
        progress=lambda items, total: items,
    )
    return tables.read_table(out / f"index/{number}.parquet")


def key(name: str) -> str:
    """For names that no tar could have."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def any_files(root: Path, names: list[str], out: Path, **changes) -> pd.DataFrame:
    """Makes a shard of files that may be bad or missing; its index, by name of the video."""
    rows = []
    for name in names:
        try:
            stat = (root / name).stat()
            rows.append((key(name), name, stat.st_size, stat.st_mtime_ns))
        except OSError:
            rows.append((key(name), name, -1, -1))
    listed = pd.DataFrame(rows, columns=["key", "path", "size", "mtime_ns"])
    tables.write_table(listed, out / "list.parquet")
    transcode(
        out / "list.parquet",
        root,
        out / "0.tar",
        out / "index.parquet",
        encoding(**changes),
        workers=2,
        progress=lambda items, total: items,
    )
    rows = tables.read_table(out / "index.parquet")
    return rows.set_index(rows["key"].map({key(name): name for name in names}))


def make(out: Path, count: int = 12) -> Path:
    """clips.parquet of `count` videos of 0.4 to 2 s, a third of them for tests."""
    root = out / "raw"
    root.mkdir()
    names = [f"v{number:02d}.mp4" for number in range(count)]
    for number, name in enumerate(names):
        picture = corpus.pictures(SIZES[number % 4], rate=30)
        hue = f"hue=h={number * 360 // count}"
        seconds = 0.4 + 0.8 * (number % 3)
        corpus.ffmpeg(*picture, "-vf", hue, *corpus.H264, seconds=seconds, to=root / name)
    rows = pd.concat([shard(root, out, 0, names[::2]), shard(root, out, 1, names[1::2])])
    rows = rows.sort_values("key", ignore_index=True)
    number = rows.index.to_numpy()
    rows["label"] = number % len(CLASSES)
    rows["split"] = ["test" if n % 3 == 2 else "train" for n in number]
    rows["half"] = ["weights" if n % 2 else "alpha" for n in number]
    tables.write_table(rows, out / "clips.parquet", classes=CLASSES)
    return out / "clips.parquet"


def clips(table: Path, split: str = "train", half: str | None = None) -> Clips:
    return Clips.load(table, split=split, half=half, shards=table.parent / "shards")
