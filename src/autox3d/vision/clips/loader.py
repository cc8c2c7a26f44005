"""Batches of training clips, made by worker processes.

    B clips a step over all processes, T frames, S x S pixels

The random choices of a clip are a function of (seed, epoch, video, index of the clip in its video).
So the clips do not depend on the numbers of workers and processes, and a run that resumes in the
middle of an epoch decodes nothing that it has used before.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autox3d.core.values import ClipSpec, Sampling
from autox3d.vision.clips import augment_policy, views
from autox3d.vision.clips.format.decode import Video
from autox3d.vision.clips.order import epoch_jobs
from autox3d.vision.clips.store import Clips, Seen
from autox3d.vision.clips.transform import cut
from autox3d.vision.clips.views import Box
from autox3d.vision.clips.workers import in_workers


class Batch(NamedTuple):
    """The share of one step's clips that this process works on, in whole chunks."""

    clips: Tensor  # uint8 (B, T, S, S, 3), in pinned memory where there is a GPU
    labels: Tensor  # (B, ...), by the task's `target`
    rows: Tensor  # int64 (B,), row of each clip in its table
    chunks: Sequence[int]  # their numbers in the step
    sizes: Sequence[int]  # the number of clips of each
    operations: list[augment_policy.Operations]  # AutoAugment of each clip, for the device


class Cut(NamedTuple):
    """The frames and pixels of a video that make a training clip."""

    times: np.ndarray  # int64 (T,), frame numbers
    box: Box
    flip: bool

    def seen(self, video: Video) -> Seen:
        """What it shows of its video."""
        crop = views.share(self.box, video.height, video.width, flip=self.flip)
        return Seen(int(self.times[0]), int(self.times[-1]), crop)


class TrainClip(NamedTuple):
    """The pixels of a training clip, and the operations to apply to them on the device."""

    pixels: Tensor  # uint8 (T, S, S, 3)
    operations: augment_policy.Operations
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainLoader:
    """Loads one process's share of the training clips of a table, step by step.

    The clips of a step are split into chunks of `chunk` (the last one may be smaller), which are
    assigned to the processes in turn. With `sampling.repeats`, a video is decoded once for all of
    its clips in a chunk.

    Args:
        batch: clips per step, over all processes
        world: rank and number of processes
        numbers: the chunks of a step that this process makes, in this order, instead of its share
        workers: number of decoding processes; by default one for each spare core
    """

    clips: Clips
    spec: ClipSpec
    sampling: Sampling
    seed: int
    batch: int
    chunk: int
    world: tuple[int, int] = (0, 1)
    numbers: Sequence[int] | None = None
    workers: int | None = None

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """Yields this process's share of each step of an epoch, from step `start` on.

        Raises:
            Refused: there are more processes than chunks, or a shard is missing.
        """
        numbers, jobs = epoch_jobs(
            len(self.clips),
            self.batch,
            self.chunk,
            self.seed,
            number,
            world=self.world,
            numbers=self.numbers,
            start=start,
            repeats=self.sampling.repeats,
        )

        def make(
            wanted: np.ndarray,
        ) -> tuple[Tensor, list[augment_policy.Operations], list[Seen]]:
            return self._cut(number, wanted)

        made = in_workers(make, [job for step in jobs for job in step], self.workers)
        shape = (self.spec.frames, self.spec.crop, self.spec.crop, 3)
        pinned = torch.cuda.is_available()
        for step in jobs:
            rows = np.concatenate(step)[:, 0]
            out = torch.empty((len(rows), *shape), dtype=torch.uint8, pin_memory=pinned)
            operations: list[augment_policy.Operations] = []
            seen: list[Seen] = []
            sizes = [len(part) for part in step]
            for place in out.split(sizes):
                pixels, some, frames = next(made)
                place.copy_(pixels)
                operations += some
                seen += frames
            labels = torch.from_numpy(self.clips.labels_of(rows, seen))
            yield Batch(out, labels, torch.from_numpy(rows), numbers, sizes, operations)

    def _cut(
        self, epoch: int, wanted: np.ndarray
    ) -> tuple[Tensor, list[augment_policy.Operations], list[Seen]]:
        """Makes a chunk's clips; `wanted`: (clips, 2), row of the video, index of its clip."""
        made: list[TrainClip] = []
        for row, same in groupby(wanted.tolist(), itemgetter(0)):
            rngs = [np.random.default_rng((self.seed, epoch, *clip)) for clip in same]
            video, moment = self.clips.video(row), self.clips.moment(row)
            made += train_clips(video, self.sampling, self.spec, rngs, moment)
        pixels, operations, seen = zip(*made, strict=True)
        return torch.stack(pixels), list(operations), list(seen)


def train_clips(
    video: Video,
    sampling: Sampling,
    spec: ClipSpec,
    rngs: Sequence[np.random.Generator],
    moment: int | None = None,
) -> list[TrainClip]:
    """Cuts a random clip for each generator; the video is decoded once for all of them."""
    cuts = [train_cut(video, sampling, spec, rng, moment) for rng in rngs]
    pieces = np.split(video.frames(np.concatenate([one.times for one in cuts])), len(cuts))
    return [
        TrainClip(
            cut(pixels, one.box, spec.crop, one.flip),
            augment_policy.draw(rng) if sampling.autoaugment else (),
            one.seen(video),
        )
        for pixels, one, rng in zip(pieces, cuts, rngs, strict=True)
    ]


def train_cut(
    video: Video,
    sampling: Sampling,
    spec: ClipSpec,
    rng: np.random.Generator,
    moment: int | None = None,
) -> Cut:
    """Samples the frames, the crop and the flip of a training clip.

    Args:
        moment: the frame in the middle of the clip, which then has every tau-th frame; None: the
            clip may begin anywhere
    """
    if moment is None:
        c = views.span(spec.frames, spec.stride, video.rate)
        start = views.train_start(video.count, c, rng)
        times = views.clip_frames(start, spec.frames, spec.stride, video.rate, sampling.rule)
    else:
        times = views.frames_around(moment, spec.frames, spec.stride, video.rate)
    box = views.train_box(video.height, video.width, sampling.jitter, spec.crop, rng)
    return Cut(views.clamp(times, video.count), box, bool(rng.integers(2)) and sampling.flip)
