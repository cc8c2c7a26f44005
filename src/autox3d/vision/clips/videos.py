"""The views of test videos. Each video is decoded once, however many views it has.

K clips along the time of a video, T frames, S x S pixels, V views, U distinct frames of all views
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autox3d.core.values import ClipSpec
from autox3d.vision.clips import views
from autox3d.vision.clips.format.decode import Video
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.transform import resized
from autox3d.vision.clips.views import Crops, FramesRule, StartsRule, View
from autox3d.vision.clips.workers import in_workers
from autox3d.vision.tasks import boxes
from autox3d.vision.tasks.task import Task


class Decoded(NamedTuple):
    """The distinct frames of all views of one test video, whatever the rule of crops."""

    row: int  # row of the video in its table
    places: tuple[Fraction, ...]  # (K,), see `View.place`
    times: Tensor  # int64 (K, T), indices into `frames`
    frames: Tensor  # uint8 (U, H, W, 3)
    boxes: np.ndarray | None = None  # (M, 4), corners in the whole frame, see `tasks.boxes`

    def views(self, crops: Crops, spec: ClipSpec) -> VideoViews:
        """The views of one rule of crops; the frames are shared."""
        return VideoViews(crops, views.test_size(crops, spec.short, spec.crop), self)


class VideoViews(NamedTuple):
    """All views of one test video for one rule of crops, as slices of the same frames."""

    crops: Crops
    size: int  # S, px
    video: Decoded

    @property
    def row(self) -> int:
        """The row of the video in its table."""
        return self.video.row

    @property
    def views(self) -> tuple[View, ...]:
        """The V views in order: all crops of the first clip, then of the next one."""
        sides = views.crop_sides(self.crops)
        return tuple(View(place, side) for place in self.video.places for side in sides)

    @property
    def clips(self) -> Tensor:
        """The pixels of all views, uint8 (V, T, S, S, 3), cut anew at each access.

        They are cut where the frames are, on a GPU by one gather and one copy.
        """
        times, frames = self.video.times, self.video.frames
        height, width = frames.shape[1:3]
        sides = views.crop_sides(self.crops)
        boxes = [views.test_box(height, width, side, self.size) for side in sides]
        shown = frames.index_select(0, times.flatten()).unflatten(0, times.shape)
        pixels = [shown[:, :, b.top : b.top + b.side, b.left : b.left + b.side] for b in boxes]
        return torch.stack(pixels, 1).flatten(0, 1)

    @property
    def boxes(self) -> Tensor:
        """The corners of the boxes in each view, float32 (V, M, 4)."""
        assert self.video.boxes is not None
        height, width = self.video.frames.shape[1:3]
        sides = views.crop_sides(self.crops)
        crops = [
            views.share(views.test_box(height, width, s, self.size), height, width) for s in sides
        ]
        shown = np.stack([boxes.within(self.video.boxes, crop) for crop in crops])
        return torch.from_numpy(np.tile(shown, (len(self.video.places), 1, 1))).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewLoader:
    """Loads the views of one process's share of a table's videos.

    Args:
        counts: numbers of clips per video; each video has the views that any of them needs
        rule: for the starts of the clips
        sampling: rule for the frames of a clip
        crops: rules of crops; each gives its own VideoViews, over the same frames
        world: rank and number of processes; each video belongs to exactly one process
        wanted: rows of the table to load, which the processes share; None: all
        workers: number of decoding processes; by default one for each spare core
    """

    clips: Clips
    spec: ClipSpec
    counts: Sequence[int]
    rule: StartsRule
    sampling: FramesRule
    crops: Sequence[Crops]
    world: tuple[int, int] = (0, 1)
    wanted: Sequence[int] | None = None
    workers: int | None = None

    def __len__(self) -> int:
        """The number of videos of this process."""
        return len(self._rows)

    def videos(self) -> Generator[VideoViews, None, None]:
        """Yields all views of each of this process's videos.

        Raises:
            Refused: a shard is missing.
        """
        for video in self.decoded():
            for kind in self.crops:
                yield video.views(kind, self.spec)

    def decoded(self) -> Generator[Decoded, None, None]:
        """Yields the frames of each of this process's videos.

        Raises:
            Refused: a shard is missing.
        """
        places = views.union_places(self.counts, self.rule)

        def make(row: int) -> tuple[Tensor, Tensor]:
            video, moment = self.clips.video(row), self.clips.moment(row)
            return frames_at(video, places, self.spec, self.sampling, moment)

        made = in_workers(make, self._rows, self.workers, ahead=1)
        for row, (times, frames) in zip(self._rows, made, strict=True):
            yield Decoded(row, places, times, frames, self.clips.boxes(row))

    @property
    def _rows(self) -> Sequence[int]:
        rank, size = self.world
        return (range(len(self.clips)) if self.wanted is None else self.wanted)[rank::size]


def centre_clips(
    clips: Clips, spec: ClipSpec, sampling: FramesRule, world: tuple[int, int] = (0, 1)
) -> ViewLoader:
    """A loader of each video's middle clip in one centre crop, for validation during training."""
    return ViewLoader(
        clips=clips,
        spec=spec,
        counts=[1],
        rule="ends",
        sampling=sampling,
        crops=["center"],
        world=world,
    )


def shown_in_tests(task: Task, spec: ClipSpec) -> ClipSpec:
    """The clips of a test: boxes are asked about in the whole square of the shorter side.

    X3D's detection has crops of 112 gamma_s in training, and of 128 gamma_s in tests.
    """
    return replace(spec, crop=spec.short) if task.boxed else spec


def frames_at(
    video: Video,
    places: Sequence[Fraction],
    spec: ClipSpec,
    sampling: FramesRule,
    moment: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Decodes and resizes the frames of the clips at `places`, each frame once.

    Args:
        moment: the frame in the middle of every clip, wherever its place would be; None: see there

    Returns:
        indices, int64 (K, T), into the frames, uint8 (U, H, W, 3).
    """
    c = views.span(spec.frames, spec.stride, video.rate)
    room = views.last_start(video.count, c)
    times = [
        views.clip_frames(place * room, spec.frames, spec.stride, video.rate, sampling)
        if moment is None
        else views.frames_around(moment, spec.frames, spec.stride, video.rate)
        for place in places
    ]
    shown, where = np.unique(views.clamp(np.stack(times), video.count), return_inverse=True)
    height, width = views.test_frame(video.height, video.width, spec.short)
    pixels = resized(torch.from_numpy(video.frames(shown)), height, width)
    return torch.from_numpy(where.reshape(len(places), spec.frames)), pixels.contiguous()
