"""The views of test videos. Each video is decoded once, however many views it has.

K clips along the time of a video, T frames, S x S pixels, V views, U distinct frames of all views
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
    """All views of one test video for one rule of crops, as slices of the same frames."""

    row: int  # row of the video in its table
    crops: Crops
    size: int  # S, px
    places: tuple[Fraction, ...]  # (K,), see `View.place`
    times: np.ndarray  # int64 (K, T), indices into `frames`
    frames: Tensor  # uint8 (U, H, W, 3), the distinct frames of all views

    @property
    def views(self) -> tuple[View, ...]:
        """The V views in order: all crops of the first clip, then of the next one."""
        sides = views.crop_sides(self.crops)
        return tuple(View(place, side) for place in self.places for side in sides)

    @property
    def clips(self) -> Tensor:
        """The pixels of all views, uint8 (V, T, S, S, 3), assembled anew at each access."""
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
    """Loads the views of one process's share of a table's videos.

    Args:
        counts: numbers of clips per video; each video has the views that any of them needs
        rule: for the starts of the clips
        sampling: rule for the frames of a clip
        crops: rules of crops; each gives its own VideoViews, over the same frames
        world: rank and number of processes; each video belongs to exactly one process
        workers: number of decoding processes; by default one for each spare core
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
        """The number of videos of this process."""
        return len(self._rows)

    def videos(self) -> Generator[VideoViews, None, None]:
        """Yields all views of each of this process's videos.

        Raises:
            Refused: a shard is missing.
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


def frames_at(
    video: Video, places: Sequence[Fraction], spec: ClipSpec, sampling: FramesRule
) -> tuple[np.ndarray, Tensor]:
    """Decodes and resizes the frames of the clips at `places`, each frame once.

    Returns:
        indices, int64 (K, T), into the frames, uint8 (U, H, W, 3).
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
