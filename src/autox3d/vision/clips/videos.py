"""The views of test videos: each video is decoded once, however many views it has.

K clips along the time of a video, T frames, S x S pixels, V views, U frames that any view shows
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
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


class VideoViews(NamedTuple):
    """Every view of one test video by one rule of crops, as slices of the same frames."""

    row: int  # of the video in its table
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewLoader:
    """The views of a table's videos, for the share of one process.

    Args:
        counts: of clips along a video's time; its views are those that any of them needs
        rule: where the clips start
        sampling: which frames a clip has
        crops: each rule gives a VideoViews of its own, one after the other, over the same frames
        world: rank and number of processes; every video is in exactly one process
        workers: processes that decode; by default as many as there are cores to spare
    """

    clips: Clips
    spec: ClipSpec
    counts: Sequence[int]
    rule: StartsRule
    sampling: FramesRule
    crops: Sequence[Crops]
    world: tuple[int, int] = (0, 1)
    workers: int | None = None

    def __len__(self) -> int:
        """Videos of this process."""
        return len(self._rows)

    def videos(self) -> Generator[VideoViews, None, None]:
        """All views of this process's videos.

        Raises:
            Refused: a shard is gone.
        """
        places = views.union_places(self.counts, self.rule)

        def make(row: int) -> tuple[np.ndarray, Tensor]:
            return frames_at(self.clips.video(row), places, self.spec, self.sampling)

        made = in_workers(make, self._rows, self.workers, ahead=1)
        for row, decoded in zip(self._rows, made, strict=True):
            for kind in self.crops:
                side = views.test_size(kind, self.spec.short, self.spec.crop)
                yield VideoViews(row, kind, side, places, *decoded)

    @property
    def _rows(self) -> range:
        rank, size = self.world
        return range(rank, len(self.clips), size)


def centre_clips(
    clips: Clips, spec: ClipSpec, sampling: FramesRule, world: tuple[int, int] = (0, 1)
) -> ViewLoader:
    """One view a video, of its middle clip: for validation while a network is made."""
    return ViewLoader(
        clips=clips,
        spec=spec,
        counts=[1],
        rule="ends",
        sampling=sampling,
        crops=["center"],
        world=world,
    )


def frames_at(
    video: Video, places: Sequence[Fraction], spec: ClipSpec, sampling: FramesRule
) -> tuple[np.ndarray, Tensor]:
    """What the clips at `places` show: int64 (K, T) into uint8 (U, H, W, 3), resized.

    Each frame is decoded and resized once, however many clips and crops it is in.
    """
    c = views.span(spec.frames, spec.stride, video.rate)
    room = views.last_start(video.count, c)
    times = [
        views.clip_frames(place * room, spec.frames, spec.stride, video.rate, sampling)
        for place in places
    ]
    shown, where = np.unique(views.clamp(np.stack(times), video.count), return_inverse=True)
    height, width = views.test_frame(video.height, video.width, spec.short)
    pixels = resized(torch.from_numpy(video.frames(shown)), height, width)
    return where.reshape(len(places), spec.frames), pixels.contiguous()
