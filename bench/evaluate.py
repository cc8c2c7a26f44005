"""CPU time of the 30 views of a test video: one decode for all, against view by view.

    python bench/evaluate.py [--videos FOLDER] [--count 4]

Views are 10 clips of 13 frames, stride 6, by three crops of 182 px. "The usual way" opens and
decodes the video anew for each view, with each reader, on x264's default file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import footage
import numpy as np
import readers
import torch

from autox3d.video import views
from autox3d.video.dataset import video_views
from autox3d.video.decode import IndexedVideo
from autox3d.video.transform import cut

FRAMES, STRIDE, SHORT, CROP = 13, 6, 182, 160
PLACES = views.test_places(10, "ends")


def main() -> None:
    torch.set_num_threads(1)
    options = footage.options(__doc__)
    with footage.encoded(options.videos, options.count) as videos:
        best = np.median([spent(together, video) for video in videos])
        print(f"{'one decode, ours':36} {best * 1e3:8.0f} ms a video")
        for name, found in readers.peers().items():
            if isinstance(found, str):
                print(f"{name} {found}")
                continue
            kind = "ours" if name == "ours" else "default"
            cost = np.median([spent(one_by_one, v, found, kind) for v in videos[:2]])
            label = f"view by view, {name}, {kind}"
            print(f"{label:36} {cost * 1e3:8.0f} ms a video  {cost / best:5.1f}")


def spent(work: Callable[..., None], *arguments: Any) -> float:
    began = time.process_time()
    work(*arguments)
    return time.process_time() - began


def together(video: footage.Video) -> None:
    clip = IndexedVideo(video.ours.read_bytes())
    video_views(clip, PLACES, FRAMES, STRIDE, SHORT, CROP, "stride", ["lcr"])


def one_by_one(video: footage.Video, read: readers.Reader, kind: str) -> None:
    for place in PLACES:
        for side in views.crop_sides("lcr"):
            start = place * views.last_start(300, Fraction(FRAMES * STRIDE))
            indices = views.clip_frames(start, FRAMES, STRIDE, 30, "stride")
            frames = read(getattr(video, kind), views.clamp(indices, 300))
            height, width = frames.shape[1:3]
            cut(frames, views.test_box(height, width, "lcr", side, SHORT, CROP), SHORT)


if __name__ == "__main__":
    main()
