"""Batches of training clips, and the views of test videos, made by worker processes.

    N clips or videos of a table, B clips a step over all processes, T frames, S x S pixels

The order of an epoch is a function of (seed, epoch), the cut of a clip one of (seed, epoch,
video, which of its clips). So neither the number of workers nor of processes changes a clip, and
a run that is resumed in the middle of an epoch begins there, decoding nothing to catch up.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from autox3d.core import environment
from autox3d.core.errors import Refused
from autox3d.core.values import Sampling
from autox3d.vision.clips import augment_policy, views
from autox3d.vision.clips.format.decode import Video
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.transform import cut, resized
from autox3d.vision.clips.views import Box, Crops, FramesRule, StartsRule, View

GRACE = 30  # s that a worker goes on after a signal to end
Job = TypeVar("Job")
Result = TypeVar("Result")


class Batch(NamedTuple):
    """The share of one step's clips that this process works on, in whole chunks."""

    clips: Tensor  # uint8 (B, T, S, S, 3), in pinned memory where there is a GPU
    labels: Tensor  # int64 (B,)
    rows: Tensor  # int64 (B,), of the clips in their table
    chunks: Tensor  # int64 (chunks,), their numbers in the step
    operations: list[
        augment_policy.Operations
    ]  # B, of AutoAugment: still to be done, on the device


class VideoViews(NamedTuple):
    """Every view of one test video by one rule of crops, as slices of the same frames."""

    row: int  # of the video in its table
    label: int  # -1: none
    crops: Crops
    size: int  # S
    places: tuple[Fraction, ...]  # K
    times: np.ndarray  # int64 (K, T), into `frames`
    frames: Tensor  # uint8 (U, H, W, 3): all that any view shows, each once

    @property
    def views(self) -> tuple[View, ...]:
        """V of them: all crops of the first clip, then of the next."""
        sides = views.crop_sides(self.crops)
        return tuple(View(place, side) for place in self.places for side in sides)

    @property
    def clips(self) -> Tensor:
        """uint8 (V, T, S, S, 3), put together each time that it is asked for."""
        height, width = self.frames.shape[1:3]
        sides = views.crop_sides(self.crops)
        boxes = [views.test_box(height, width, side, self.size) for side in sides]
        pixels = [
            self.frames[time, box.top : box.top + box.side, box.left : box.left + box.side]
            for clip in self.times.tolist()
            for box in boxes
            for time in clip
        ]
        return torch.stack(pixels).unflatten(0, (-1, self.times.shape[1]))


def epoch_shape(count: int, batch: int) -> tuple[int, int]:
    """Steps of an epoch, and clips of a step.

    Clips that do not fill a last batch wait for the next epoch's order; nothing is repeated to
    fill it. Fewer clips than one batch are one step.
    """
    return max(1, count // batch), min(batch, count)


def epoch_order(count: int, batch: int, seed: int, epoch: int, repeats: int = 1) -> np.ndarray:
    """(steps, B) int64: the videos of each step, each `repeats` times side by side.

    An epoch is as long with repeats as without, of fewer videos.
    """
    steps, size = epoch_shape(count, batch)
    order = np.random.default_rng((seed, epoch)).permutation(count).repeat(repeats)
    return order[: steps * size].reshape(steps, size)


def epoch_jobs(
    count: int,
    batch: int,
    chunk: int,
    seed: int,
    epoch: int,
    *,
    world: tuple[int, int] = (0, 1),
    start: int = 0,
    repeats: int = 1,
) -> tuple[range, list[list[np.ndarray]]]:
    """What process `world[0]` of `world[1]` makes of an epoch of `count` clips, from `start` on.

    The numbers of its chunks in every step, and for each step those chunks: (clips, 2) int64, the
    row of each clip in the table and which of the video's clips it is.

    Raises:
        Refused: there are more processes than chunks.
    """
    order = epoch_order(count, batch, seed, epoch, repeats)
    repeat = np.arange(order.size).reshape(order.shape) % repeats
    pairs = np.stack((order, repeat), 2)[start:]
    numbers = _dealt(order.shape[1], chunk, *world)
    parts = [slice(number * chunk, (number + 1) * chunk) for number in numbers]
    return numbers, [[step[part] for part in parts] for step in pairs]


class Cut(NamedTuple):
    """What a training clip is of its video."""

    times: np.ndarray  # int64 (T,)
    box: Box
    flip: bool


def train_cut(
    video: Video,
    sampling: Sampling,
    frames: int,
    stride: int,
    crop: int,
    rng: np.random.Generator,
) -> Cut:
    """A random one."""
    c = views.span(frames, stride, video.rate)
    start = views.train_start(video.count, c, rng)
    times = views.clip_frames(start, frames, stride, video.rate, sampling.rule)
    box = views.train_box(video.height, video.width, sampling.jitter, crop, rng)
    return Cut(views.clamp(times, video.count), box, bool(rng.integers(2)) and sampling.flip)


class TrainClip(NamedTuple):
    """Pixels, and what is to be done to them on the device."""

    pixels: Tensor  # uint8 (T, S, S, 3)
    operations: augment_policy.Operations


def train_clips(
    video: Video,
    sampling: Sampling,
    frames: int,
    stride: int,
    crop: int,
    rngs: Sequence[np.random.Generator],
) -> list[TrainClip]:
    """A random clip for each generator, from one decode."""
    cuts = [train_cut(video, sampling, frames, stride, crop, rng) for rng in rngs]
    shown = np.split(video.frames(np.concatenate([cut.times for cut in cuts])), len(cuts))
    return [
        TrainClip(
            cut(pixels, c.box, crop, c.flip),
            augment_policy.draw(rng) if sampling.autoaugment else (),
        )
        for pixels, c, rng in zip(shown, cuts, rngs, strict=True)
    ]


def train_batches(
    clips: Clips,
    sampling: Sampling,
    frames: int,
    stride: int,
    crop: int,
    *,
    seed: int,
    epoch: int,
    batch: int,
    chunk: int,
    world: tuple[int, int] = (0, 1),
    start: int = 0,
    workers: int | None = None,
) -> Generator[Batch, None, None]:
    """This process's share of each step of an epoch, from step `start` on.

    Each step's clips are cut into chunks of `chunk` (the last one may be smaller), which are
    dealt out to the processes in turn; `world` is (rank, number of processes). With
    `sampling.repeats` a video is decoded once for all of its clips in a chunk.

    Raises:
        Refused: there are more processes than chunks, or a shard is gone.
    """
    numbers, jobs = epoch_jobs(
        len(clips), batch, chunk, seed, epoch, world=world, start=start, repeats=sampling.repeats
    )

    def make(wanted: np.ndarray) -> tuple[Tensor, list[augment_policy.Operations]]:
        made: list[TrainClip] = []
        for row, same in groupby(wanted.tolist(), itemgetter(0)):
            rngs = [np.random.default_rng((seed, epoch, *clip)) for clip in same]
            made += train_clips(clips.video(row), sampling, frames, stride, crop, rngs)
        return torch.stack([clip.pixels for clip in made]), [clip.operations for clip in made]

    made = _in_workers(make, [job for step in jobs for job in step], workers)
    shape, pinned = (frames, crop, crop, 3), torch.cuda.is_available()
    for step in jobs:
        rows = torch.from_numpy(np.concatenate(step)[:, 0])
        out = torch.empty((len(rows), *shape), dtype=torch.uint8, pin_memory=pinned)
        operations: list[augment_policy.Operations] = []
        for place in out.split(chunk):
            pixels, some = next(made)
            place.copy_(pixels)
            operations += some
        labels = torch.from_numpy(clips.labels)[rows]
        yield Batch(out, labels, rows, torch.tensor(numbers), operations)


def _dealt(clips: int, chunk: int, rank: int, size: int) -> range:
    """The numbers of the chunks of a step that process `rank` of `size` works on."""
    count = -(-clips // chunk)
    if count < size:
        raise Refused(
            f"params.yaml: a step of {clips} clips is {count} chunks of {chunk}, "
            f"too few for {size} processes. Raise the batch, or use fewer."
        )
    return range(rank, count, size)


def eval_views(
    clips: Clips,
    counts: Sequence[int],
    rule: StartsRule,
    frames: int,
    stride: int,
    short: int,
    crop: int,
    *,
    sampling: FramesRule,
    crops: Sequence[Crops],
    world: tuple[int, int] = (0, 1),
    workers: int | None = None,
) -> Generator[VideoViews, None, None]:
    """All views of this process's videos; every video is in exactly one process, decoded once.

    The views of a video are those that any number of clips in `counts` needs; each rule in
    `crops` gives a VideoViews of its own, one after the other, over the same frames.
    """
    rank, size = world
    places = views.union_places(counts, rule)

    def make(row: int) -> tuple[np.ndarray, Tensor]:
        return test_frames(clips.video(row), places, frames, stride, short, sampling)

    rows = range(rank, len(clips), size)
    for row, made in zip(rows, _in_workers(make, rows, workers, ahead=1), strict=True):
        for kind in crops:
            side = views.test_size(kind, short, crop)
            yield VideoViews(row, int(clips.labels[row]), kind, side, places, *made)


def test_frames(
    video: Video,
    places: Sequence[Fraction],
    frames: int,
    stride: int,
    short: int,
    sampling: FramesRule,
) -> tuple[np.ndarray, Tensor]:
    """What the clips at `places` show: int64 (K, T) into uint8 (U, H, W, 3), resized.

    Each frame is decoded and resized once, however many clips and crops it is in.
    """
    c = views.span(frames, stride, video.rate)
    room = views.last_start(video.count, c)
    times = [views.clip_frames(p * room, frames, stride, video.rate, sampling) for p in places]
    shown, where = np.unique(views.clamp(np.stack(times), video.count), return_inverse=True)
    height, width = views.test_frame(video.height, video.width, short)
    pixels = resized(torch.from_numpy(video.frames(shown)), height, width)
    return where.reshape(len(places), frames), pixels.contiguous()


class _Jobs(Dataset, Generic[Job, Result]):
    """Makes what each job asks for; a mistake of the user's comes back in its place."""

    def __init__(self, make: Callable[[Job], Result]) -> None:
        self._make = make

    def __getitem__(self, job: Any) -> Result | Refused:
        try:
            return self._make(job)
        except Refused as error:
            return error


def _in_workers(
    make: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None, ahead: int = 4
) -> Generator[Result, None, None]:
    """`make(job)` for each job in order, `ahead` jobs a worker before they are asked for."""
    count = default_workers() if workers is None else workers
    loader = DataLoader(
        _Jobs(make),
        batch_size=None,
        sampler=jobs,  # type: ignore[arg-type]  # the jobs themselves go to the workers
        num_workers=min(count, len(jobs)),
        prefetch_factor=ahead if count and jobs else None,
        # A fork starts within milliseconds, and nothing here touches a GPU or another thread
        multiprocessing_context="fork" if count and jobs else None,
        worker_init_fn=_quiet,
        collate_fn=_as_made,
    )
    results = iter(loader)
    try:
        for result in results:
            if isinstance(result, Refused):
                raise result
            yield result
    finally:  # at once: a traceback would keep the iterator, and with it the workers, alive
        if count and jobs:
            results._shutdown_workers()  # type: ignore[attr-defined]


def _as_made(result: Result) -> Result:
    """The loader's own way would turn tuples into lists and arrays into tensors."""
    return result


def _quiet(_worker: int) -> None:
    """A cluster signals every process of a job; the main one decides what ends, and when."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))


def default_workers() -> int:
    """AUTOX3D_WORKERS, or a core for each but the one that trains, among the host's processes."""
    asked = environment.workers()
    if asked is not None:
        return asked
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // here - 1)
