"""The clips of a demo whose videos are generated, as its first stages make them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autox3d.core import tables
from autox3d.core.settings import Params
from autox3d.datasets import catalogue, listing
from autox3d.datasets.annotations import Annotations
from autox3d.ingest import transcode


def made(folder: Path, params: Params, prepare: Callable[..., Annotations]) -> Path:
    """The table of clips of the generated videos.

    Args:
        prepare: of a module of `autox3d.datasets` that generates videos
    """
    raw, data = folder / "raw", folder / "data"
    raw.mkdir()
    data.mkdir()
    found = prepare(raw, "videos", params.annotate.demo, lambda tasks, _: tasks)
    videos = listing.list_videos(found, raw, "videos", [0])
    listing.write(videos, found, folder / "videos.parquet", folder / "lists", [0])
    transcode.transcode(
        folder / "lists/0.parquet", raw, data / "shards/0.tar", folder / "index/0.parquet",
        params.transcode, workers=2, progress=lambda items, _: items,
    )  # fmt: skip
    joined = catalogue.join(tables.read_table(folder / "videos.parquet"), folder / "index")
    clips = catalogue.clips(joined, found.classes, folder / "videos.parquet")
    tables.write_table(clips, data / "clips.parquet", found.classes, found.task)
    return data / "clips.parquet"
