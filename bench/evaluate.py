"""CPU time of the 30 views of a test video: one decode for all views, against one for each view.

    python bench/evaluate.py [--videos FOLDER] [--count 4]

Views are 10 clips of 13 frames, stride 6, by three crops of 182 px. Ours are made from our own
encoding. "View by view" opens and decodes x264's default file again for each view, with each
reader, and cuts the view as ours are cut; "as published" does to its pixels what SlowFast does.
Views are compared before anything is timed. Videos and readers take turns in random order; a ratio
is that of one video, the table has the median and the range over videos.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path

import footage
import numpy as np
import readers
import torch
from torch import Tensor

from autox3d.core.values import ClipSpec
from autox3d.vision.clips import views
from autox3d.vision.clips.format.decode import IndexedVideo
from autox3d.vision.clips.transform import resized
from autox3d.vision.clips.videos import Decoded, frames_at

FRAMES, STRIDE, SHORT = 13, 6, 182
SPEC = ClipSpec(frames=FRAMES, stride=STRIDE, crop=160, short=SHORT)
PLACES = views.test_places(10, "ends")
ROUNDS = 5  # of ours; view by view takes as many decodes already
Way = Callable[[footage.Video], Iterable[Tensor]]  # the views, one after the other


def main() -> None:
    torch.set_num_threads(1)
    options = footage.options(__doc__)
    ways: dict[str, Way] = {"one decode, ours": together}
    for name, found in readers.usable(options.only).items():
        kind = "ours" if name == "ours" else "default"
        ways[f"view by view, {name}, {kind}"] = partial(one_by_one, read=found, kind=kind)
        if name in ("SlowFast's way", "PyTorchVideo"):
            work = partial(one_by_one, read=found, kind=kind, published=True)
            ways[f"view by view, {name}, as published"] = work
    with footage.encoded(options.videos, options.count) as videos:
        check(ways, videos)
        show(measure(ways, videos), len(videos))


def check(ways: dict[str, Way], videos: list[footage.Video]) -> None:
    """Exits if a way gives other views than PyAV's plain decode of its kind of file."""
    for video in videos:
        for name, way in ways.items():
            kind = "ours" if name.endswith(", ours") else "default"
            expected = one_by_one(video, read=decoded_once, kind=kind)
            for number, (view, right) in enumerate(zip(way(video), expected, strict=True)):
                readers.compare(f"{name}, view {number} of {video.ours.name}", view, right)


@lru_cache(maxsize=2)
def _everything(path: Path) -> np.ndarray:
    return readers.pyav(path, np.arange(footage.shape(path)[0]))


def decoded_once(path: Path, indices: np.ndarray) -> np.ndarray:
    """The frames of `readers.pyav`, cached after the first call."""
    return _everything(path)[indices]


def measure(ways: dict[str, Way], videos: list[footage.Video]) -> dict[str, np.ndarray]:
    """Seconds of CPU time of each video, (videos,), the median over rounds, for each way."""
    jobs = [(name, n) for name in ways for n in range(len(videos))]
    jobs += [("one decode, ours", n) for n in range(len(videos))] * (ROUNDS - 1)
    random.Random(0).shuffle(jobs)
    times = defaultdict(lambda: defaultdict(list))
    for name, number in jobs:
        began = time.process_time()
        for _ in ways[name](videos[number]):
            pass
        times[name][number].append(time.process_time() - began)
    return {
        name: np.array([np.median(times[name][n]) for n in range(len(videos))]) for name in ways
    }


def show(times: dict[str, np.ndarray], count: int) -> None:
    ours = times["one decode, ours"]
    print(f"{'':44} {'ms a video':>10} {'times ours':>10} {'range':>11}  of {count} videos")
    for name, seconds in sorted(times.items(), key=lambda pair: np.median(pair[1] / ours)):
        ratio = seconds / ours
        spread = f"{ratio.min():.1f}-{ratio.max():.1f}"
        middle = np.median(seconds) * 1e3
        print(f"{name:44} {middle:10.0f} {np.median(ratio):10.1f} {spread:>11}")


def together(video: footage.Video) -> Tensor:
    clip = IndexedVideo(video.ours.read_bytes())
    found = frames_at(clip, PLACES, SPEC, "stride")
    return Decoded(0, PLACES, *found).views("lcr", SPEC).clips


def one_by_one(
    video: footage.Video, read: readers.Reader, kind: str, published: bool = False
) -> Iterator[Tensor]:
    path = getattr(video, kind)
    count, *_ = footage.shape(path)
    for place in PLACES:
        for side in views.crop_sides("lcr"):
            start = place * views.last_start(count, Fraction(FRAMES * STRIDE))
            indices = views.clip_frames(start, FRAMES, STRIDE, 30, "stride")
            frames = read(path, views.clamp(indices, count))
            _, height, width, _ = frames.shape
            height, width = views.test_frame(height, width, SHORT)
            box = views.test_box(height, width, side, SHORT)
            if published:
                yield readers.as_published(frames, height, width, box)
            else:
                top, left, size = box
                whole = resized(torch.from_numpy(frames), height, width)
                yield whole[:, top : top + size, left : left + size].contiguous()


if __name__ == "__main__":
    main()
