"""CPU and wall time of a training loader, 2 workers: decode, crop, resize, flip, batch.

    python bench/loader.py [--videos FOLDER] [--count 4] [--clips 12]

Every loader makes the same batches of uint8, from the same random clips of 13 frames, stride 6, and
the same boxes, at 160 px: ours from shards, the peers' from files, through the same cut and the
same DataLoader, so that they differ in the reader alone. "As published" does what SlowFast and
mmaction2 do to pixels besides: the whole frame to float, normalised, then resized and cropped.
Batches are compared before anything is timed; the order of rounds is shuffled; figures are
medians with the lowest and the highest, and include the start of the workers: use many clips.
Wall time needs an idle machine: on a busy one it favours readers that start more threads.
"""

from __future__ import annotations

import gc
import random
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import footage
import numpy as np
import pandas as pd
import readers
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from autox3d.core import tables
from autox3d.core.values import ClipSpec, Sampling
from autox3d.vision.clips import loader, views
from autox3d.vision.clips.order import epoch_order
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.transform import cut

FRAMES, STRIDE, CROP = 13, 6, 160
SPEC = ClipSpec(frames=FRAMES, stride=STRIDE, crop=CROP, short=182)
SEED = EPOCH = 0
Loader = Callable[[], Iterable[Tensor]]
WORKERS, BATCH, ROUNDS = 2, 8, 5
SAMPLING = Sampling(jitter=(182, 228), flip=True, autoaugment=False, rule="stride", repeats=1)


class Spent(NamedTuple):
    """CPU and wall time, seconds for each clip."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Unread:
    """A `decode.Video` of which only the shape was read, before anything is timed."""

    count: int
    height: int
    width: int
    rate = Fraction(30)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Files(Dataset):
    """The clips that our loader makes from shards, made from files by one reader."""

    def __init__(self, read: readers.Reader, paths: list[Path], published: bool = False) -> None:
        self.read, self.paths, self.published = read, paths, published
        self.videos = [Unread(*footage.shape(path)) for path in paths]

    def __getitem__(self, row: int) -> Tensor:
        rng = np.random.default_rng((SEED, EPOCH, row, 0))  # as loader.TrainLoader has it
        chosen = loader.train_cut(self.videos[row], SAMPLING, SPEC, rng)
        frames = self.read(self.paths[row], chosen.times)
        if self.published:
            return published(frames, chosen)
        return cut(frames, chosen.box, CROP, chosen.flip)


def published(frames: np.ndarray, chosen: loader.Cut) -> Tensor:
    """The same box cut from the resized frame, float (3, T, 160, 160)."""
    box = chosen.box
    scale = CROP / box.side
    height, width = (round(side * scale) for side in frames.shape[1:3])
    top = min(round(box.top * scale), height - CROP)
    left = min(round(box.left * scale), width - CROP)
    pixels = readers.as_published(frames, height, width, views.Box(top, left, CROP))
    return pixels.flip(3) if chosen.flip else pixels


def main() -> None:
    torch.set_num_threads(1)
    options = footage.options(__doc__)
    with footage.encoded(options.videos, options.count) as videos:
        files = {
            kind: [getattr(video, kind) for video in videos] * options.clips
            for kind in footage.Video._fields
        }
        loaders: dict[str, Loader] = {"ours, shards, ours": shards(videos, options.clips)}
        for name, found in readers.usable(options.only).items():
            if name.startswith("ours"):
                continue
            for kind, paths in files.items():
                loaders[f"{name}, {kind}"] = plain(Files(found, paths))
            work = Files(found, files["default"], published=True)
            loaders[f"{name}, as published, default"] = plain(work)
        check(loaders, {kind: plain(Files(readers.pyav, paths)) for kind, paths in files.items()})
        times: dict[str, list[Spent]] = {name: [] for name in loaders}
        turns = [*loaders] * ROUNDS
        random.Random(0).shuffle(turns)
        for name in turns:
            times[name].append(run(loaders[name]))
    show(times)


def check(loaders: dict[str, Loader], expected: dict[str, Loader]) -> None:
    """Exits if a loader gives other pixels than PyAV's plain decode of its kind of file."""
    for kind, reference in expected.items():
        whole = [*reference()]
        for name, make in loaders.items():
            if name.endswith(f", {kind}"):
                for batch, right in zip(make(), whole, strict=True):
                    readers.compare(name, batch, right)


def shards(videos: list[footage.Video], repeats: int) -> Loader:
    """Our loader over one shard with the clips."""
    folder = videos[0].ours.parent
    data = [video.ours.read_bytes() for video in videos]
    (folder / "0.tar").write_bytes(b"".join(data))
    lengths = [len(clip) for clip in data]
    table = pd.DataFrame({"key": [str(n) for n in range(len(data))], "label": 0})
    table["split"], table["shard"] = "train", "0.tar"
    table["frames"] = [footage.shape(video.ours)[0] for video in videos]
    table["offset"], table["length"] = np.cumsum([0, *lengths[:-1]]), lengths
    table = pd.concat([table] * repeats, ignore_index=True)
    tables.write_table(table, folder / "clips.parquet")
    clips = Clips.load(folder / "clips.parquet", split="train", shards=folder)

    def make() -> Iterator[Tensor]:
        ours = loader.TrainLoader(
            clips=clips, spec=SPEC, sampling=SAMPLING,
            seed=SEED, batch=BATCH, chunk=BATCH, workers=WORKERS,
        )  # fmt: skip
        return (batch.clips for batch in ours.epoch(EPOCH))

    return make


def plain(files: Files) -> Loader:
    """A loader of the same clips in the same order with one reader."""
    order = epoch_order(len(files.paths), BATCH, SEED, EPOCH).tolist()
    return lambda: DataLoader(
        files, batch_sampler=order, num_workers=WORKERS, multiprocessing_context="fork"
    )


def run(make: Loader) -> Spent:
    """The time of this process and of its workers, from start to end."""
    began, cpu, clips = time.perf_counter(), cpu_time(), 0
    for batch in make():
        clips += len(batch)
    gc.collect()  # a loader's workers are waited for when it goes
    return Spent((cpu_time() - cpu) / clips, (time.perf_counter() - began) / clips)


def cpu_time() -> float:
    """CPU time in seconds, including children that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def show(times: dict[str, list[Spent]]) -> None:
    print(f"{'ms a clip, ' + str(WORKERS) + ' workers':42}" + f"{'CPU':>8}{'wall':>30}")
    best = np.median(times["ours, shards, ours"], 0)
    for name, rounds in times.items():
        columns = zip(np.median(rounds, 0), np.min(rounds, 0), np.max(rounds, 0), best, strict=True)
        cells = [
            f"{middle * 1e3:8.1f} {f'{low * 1e3:.1f}-{high * 1e3:.1f}':>13} {middle / ours:6.1f}"
            for middle, low, high, ours in columns
        ]
        print(f"{name:42}{'  '.join(cells)}")


if __name__ == "__main__":
    main()
