"""CPU time of a training loader, 2 workers: decode, crop, resize, flip, batch; ours and its peers.

    python bench/loader.py [--videos FOLDER] [--count 4] [--clips 12]

Every loader makes the same batches of uint8 from random clips of 13 frames, stride 6, at 160 px:
ours from shards, the peers' from files, through the same cut and the same DataLoader, so that
they differ in the reader alone. "As published" does what SlowFast and mmaction2 do to pixels
besides: the whole frame to float, normalised, then resized and cropped.
"""

from __future__ import annotations

import gc
import random
import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import footage
import numpy as np
import pandas as pd
import readers
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from autox3d import config
from autox3d.video import tables, views
from autox3d.video.dataset import train_batches
from autox3d.video.store import Clips
from autox3d.video.transform import cut

FRAMES, STRIDE, CROP = 13, 6, 160
Loader = Callable[[], Iterable[Tensor]]
WORKERS, BATCH, ROUNDS = 2, 8, 3
SAMPLING = config.Sampling(
    jitter=(182, 228), flip=True, autoaugment=False, rule="stride", repeats=1
)


class Files(Dataset):
    """Random clips of files by one reader."""

    def __init__(self, read: readers.Reader, paths: list[Path], published: bool) -> None:
        self.read, self.paths, self.published = read, paths, published

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        rng = np.random.default_rng(row)
        path = self.paths[row]
        start = rng.uniform(0, footage.frames(path) - FRAMES * STRIDE)
        frames = self.read(path, views.clip_frames(start, FRAMES, STRIDE, 30, "stride"))
        height, width = frames.shape[1:3]
        box = views.train_box(height, width, SAMPLING.jitter, CROP, rng)
        return published(frames, box) if self.published else cut(frames, box, CROP)


def published(frames: np.ndarray, box: views.Box) -> Tensor:
    """float (3, T, 160, 160): the same box, out of the resized frame."""
    scale = CROP / box.side
    height, width = (round(side * scale) for side in frames.shape[1:3])
    top, left = (
        min(round(box.top * scale), height - CROP),
        min(round(box.left * scale), width - CROP),
    )
    return readers.as_published(frames, height, width, views.Box(top, left, CROP))


def main() -> None:
    torch.set_num_threads(1)
    options = footage.options(__doc__)
    with footage.encoded(options.videos, options.count) as videos:
        rows = [video for video in videos for _ in range(options.clips)]
        loaders: dict[str, Loader] = {"ours, shards": shards(videos, options.clips)}
        for name, found in readers.usable(options.only).items():
            if name.startswith("ours"):
                continue
            for kind in footage.Video._fields:
                paths = [getattr(video, kind) for video in rows]
                loaders[f"{name}, {kind}"] = plain(Files(found, paths, published=False))
            paths = [video.default for video in rows]
            loaders[f"{name}, default, as published"] = plain(Files(found, paths, published=True))
        times: dict[str, list[float]] = {name: [] for name in loaders}
        turns = [*loaders] * ROUNDS
        random.Random(0).shuffle(turns)
        for name in turns:
            times[name].append(run(loaders[name]))
    best = float(np.median(times["ours, shards"]))
    for name, seconds in times.items():
        middle, low, high = np.median(seconds), min(seconds), max(seconds)
        spread = f"{low * 1e3:.1f}-{high * 1e3:.1f}"
        print(f"{name:42} {middle * 1e3:7.1f} ms a clip  {spread:>12}  {middle / best:5.1f}")


def shards(videos: list[footage.Video], repeats: int) -> Loader:
    """Our loader over one shard that holds the clips."""
    folder = videos[0].ours.parent
    data = [video.ours.read_bytes() for video in videos]
    (folder / "0.tar").write_bytes(b"".join(data))
    lengths = [len(clip) for clip in data]
    table = pd.DataFrame({"key": [str(n) for n in range(len(data))], "label": 0})
    table["split"], table["shard"] = "train", "0.tar"
    table["frames"] = [footage.frames(video.ours) for video in videos]
    table["offset"], table["length"] = np.cumsum([0, *lengths[:-1]]), lengths
    table = pd.concat([table] * repeats, ignore_index=True)
    tables.write_table(table, folder / "clips.parquet")
    clips = Clips.load(folder / "clips.parquet", split="train", shards=folder)

    def make() -> Iterator[Tensor]:
        made = train_batches(
            clips, SAMPLING, FRAMES, STRIDE, CROP,
            seed=0, epoch=0, batch=BATCH, chunk=BATCH, workers=WORKERS,
        )  # fmt: skip
        return (batch.clips for batch in made)

    return make


def plain(dataset: Files) -> Loader:
    return lambda: DataLoader(
        dataset, BATCH, num_workers=WORKERS, drop_last=True, multiprocessing_context="fork"
    )


def run(make: Loader) -> float:
    """Seconds of CPU time a clip, of this process and of its workers from start to end."""
    began, clips = spent(), 0
    for batch in make():
        clips += len(batch)
    gc.collect()  # a loader's workers are waited for when it goes
    return (spent() - began) / clips


def spent() -> float:
    """Seconds of CPU time, children that have ended included."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


if __name__ == "__main__":
    main()
