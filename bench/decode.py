"""CPU time to decode a random training clip (13 frames, stride 6, of 10 s videos): ours and peers.

    python bench/decode.py [--videos FOLDER] [--count 4] [--clips 12]

Peers are used if they can be imported (PYTHONPATH). Frames are compared before anything is timed,
the order of measurements is shuffled; figures are medians, with the 10th and 90th percentile.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import defaultdict
from pathlib import Path

import footage
import numpy as np
import readers
import torch

from autox3d.vision.clips import views

FRAMES, STRIDE = 13, 6


def main() -> None:
    torch.set_num_threads(1)
    options = footage.options(__doc__)
    usable = readers.usable(options.only)
    with footage.encoded(options.videos, options.count) as videos:
        for video in videos:
            check(usable, video)
        times = measure(usable, videos, options.clips)
    show(times)


def check(usable: dict[str, readers.Reader], video: footage.Video) -> None:
    """Exits if a reader gives different frames."""
    for path in video:
        indices = views.clip_frames(37.0, FRAMES, STRIDE, 30, "stride")
        expected = readers.pyav(path, indices)
        for name, read in usable.items():
            readers.compare(f"{name}, {path.name}", read(path, indices), expected)


def measure(
    usable: dict[str, readers.Reader], videos: list[footage.Video], clips: int
) -> dict[tuple[str, str], list[float]]:
    """Seconds of CPU time of each clip, by (reader, encoding)."""
    rng = random.Random(0)
    span = FRAMES * STRIDE
    jobs: list[tuple[str, str, Path, int]] = [
        (name, kind, getattr(video, kind), rng.randrange(footage.shape(video.ours)[0] - span))
        for video in videos
        for _ in range(clips)
        for kind in footage.Video._fields
        for name in usable
    ]
    rng.shuffle(jobs)
    times = defaultdict(list)
    for name, kind, path, start in jobs:
        indices = views.clip_frames(float(start), FRAMES, STRIDE, 30, "stride")
        began = time.process_time()
        usable[name](path, indices)
        times[name, kind].append(time.process_time() - began)
    return times


def show(times: dict[tuple[str, str], list[float]]) -> None:
    best = statistics.median(times["ours", "ours"])
    print(f"{'reader':18} {'encoding':8} {'ms a clip':>9} {'10-90 %':>13} {'to ours/ours':>12}")
    for (name, kind), seconds in sorted(times.items(), key=lambda pair: pair[0][1]):
        middle = statistics.median(seconds)
        low, high = np.percentile(seconds, (10, 90)) * 1e3
        spread = f"{low:.1f}-{high:.1f}"
        print(f"{name:18} {kind:8} {middle * 1e3:9.1f} {spread:>13} {middle / best:12.1f}")


if __name__ == "__main__":
    main()
