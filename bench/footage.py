"""The videos on which readers are compared: given or generated ones, encoded in two ways.

Generated pictures favour our reader: real footage costs every decoder more.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import autox3d.runtime  # noqa: F401  # memory in large pages, as the stages have it
from autox3d.core import settings
from autox3d.ingest import encode
from autox3d.vision.clips.format.decode import IndexedVideo

PARAMS = Path(__file__).parents[1] / "params.yaml"
SECONDS, SHORT = 10, 256
GENERATED = (  # lavfi sources, 340x256
    "testsrc2=s=340x256:r=30",
    "mandelbrot=s=340x256:r=30",
    "testsrc2=s=340x256:r=30,noise=alls=12:allf=t",
    "life=s=340x256:r=30:mold=10:ratio=0.1:life_color=white:death_color=blue",
)


class Video(NamedTuple):
    """One source video in two encodings."""

    default: Path  # x264 at its default settings, 30 frames a second
    ours: Path  # as `transcode` stores it


@functools.cache
def shape(path: Path) -> tuple[int, int, int]:
    """Frames, height and width; read before anything is timed."""
    video = IndexedVideo(path.read_bytes())
    return video.count, video.height, video.width


def options(doc: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=Path, help="folder of real videos; else, generated ones")
    parser.add_argument("--count", type=int, default=4, help="videos used, at most")
    parser.add_argument("--clips", type=int, default=12, help="clips timed of each video")
    parser.add_argument("--only", nargs="+", metavar="READER", help="these peers alone, by name")
    return parser.parse_args()


@contextmanager
def encoded(folder: Path | None, count: int) -> Iterator[list[Video]]:
    """Up to `count` videos in both encodings; the files are deleted after the block."""
    params = settings.load(PARAMS).transcode
    small = dataclasses.replace(params, short=SHORT)
    with tempfile.TemporaryDirectory() as scratch:
        made = []
        for number, source in enumerate(_sources(folder, count)):
            default, ours = (Path(scratch) / f"{kind}{number}.mp4" for kind in ("default", "ours"))
            _ffmpeg(*source, "-t", str(SECONDS), "-vf", "fps=30,scale=-2:256", default)
            ours.write_bytes(encode.encode(default, small, Path(scratch) / "x.mp4").data)
            made.append(Video(default, ours))
            assert shape(default) == shape(ours)
        sizes = [sum(v[i].stat().st_size for v in made) / 1e6 for i in (0, 1)]
        kind = f"of {folder}" if folder else "generated (these flatter us)"
        print(f"{len(made)} videos {kind}: default {sizes[0]:.1f} MB, ours {sizes[1]:.1f} MB")
        yield made


def _sources(folder: Path | None, count: int) -> list[tuple[str | Path, ...]]:
    if folder is None:
        return [("-f", "lavfi", "-i", source) for source in GENERATED[:count]]
    return [("-i", path) for path in sorted(p for p in folder.iterdir() if p.is_file())[:count]]


def _ffmpeg(*arguments: str | Path) -> None:
    command = [encode.program(), "-v", "error", "-y", *arguments[:-1]]
    coding = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-threads", "1"]
    subprocess.run([*command, *coding, arguments[-1]], check=True)
