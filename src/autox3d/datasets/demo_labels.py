"""Generated videos of two motions at once, each in a half and for a time of its own.

A video has one or two of the demo's motions (`scene`). Each moves the picture of the left or the
right half for a tenth, a third or all of the video, and the half stands still before and after; a
half without a motion has a still picture. So a clip shows some of a video's labels only. A video
is a function of (seed, split, number).
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ffmpeg
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.core.tables import MULTILABEL
from autox3d.datasets import demo, scene
from autox3d.datasets.annotations import Annotations, Label, Video
from autox3d.datasets.demo import FINISHED, SPEC, Kinds

if TYPE_CHECKING:
    from autox3d.core.settings import Demo

SIDE, RATE, SECONDS = 96, 15, 6  # px, frames a second, length of a video
SPANS = (1 / 10, 1 / 3, 1.0)  # shares of a video that a motion may fill
Progress = Callable[[Iterable[Any], int], Iterable[Any]]
MOST = 2  # motions of a video, one in each half


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What happens in a half of a video."""

    kind: str | None  # class of its motion; None: a still picture
    first: int  # frames, of the motion
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One video to render."""

    split: str
    number: int
    path: Path
    seed: int
    kinds: Kinds

    def rng(self) -> np.random.Generator:
        """The generator of the video's random choices."""
        return generator(self.seed, self.split, self.number)

    def parts(self, rng: np.random.Generator) -> list[Part]:
        """The left half and the right one."""
        frames = RATE * SECONDS
        kinds = rng.permutation(sorted(self.kinds))[: rng.integers(1, MOST, endpoint=True)]
        parts = []
        for kind in (*kinds.tolist(), *[None] * (MOST - len(kinds))):
            count = frames if kind is None else max(2, round(frames * rng.choice(SPANS)))
            first = int(rng.integers(0, frames - count, endpoint=True))
            parts.append(Part(kind=kind, first=first, count=count))
        return [parts[place] for place in rng.permutation(MOST)]


def tasks(folder: Path, counts: dict[str, int], seed: int, kinds: Kinds) -> list[Task]:
    """All videos: as many that about `counts[split]` have each class."""
    classes = (1 + MOST) / 2  # of a video, on average
    return [
        Task(split=split, number=number, path=path, seed=seed, kinds=kinds)
        for split, count in counts.items()
        for number in range(math.ceil(count * len(kinds) / classes))
        for path in [folder / split / f"{number:04d}.mp4"]
    ]


def prepare(root: Path, videos: str, settings: Demo, progress: Progress) -> Annotations:
    """Renders the videos that do not exist yet, on all cores, and returns the annotations.

    `root` is the data root, `videos` the folder under it.

    Raises:
        Refused: the folder holds files that this has not made.
    """
    counts = {"train": settings.train, "val": settings.val, "test": settings.test}
    kinds = demo.kinds_of(settings)
    open_folder(root / videos, settings.seed, __file__, kinds)
    every = tasks(root / videos, counts, settings.seed, kinds)
    todo = [task for task in every if not finished(task.path)]
    for folder in {task.path.parent for task in todo}:
        folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        if todo:
            deque(progress(pool.map(_render, todo, chunksize=4), len(todo)), maxlen=0)
    return describe(videos, counts, settings.seed, kinds)


def describe(videos: str, counts: dict[str, int], seed: int, kinds: Kinds) -> Annotations:
    """The annotations of the videos, in the folder `videos` of the data root."""
    rows = []
    for task in tasks(Path(videos), counts, seed, kinds):
        name, path = f"{task.split}-{task.path.stem}", task.path.as_posix()
        labels = tuple(
            Label(part.kind, part.first / RATE, (part.first + part.count - 1) / RATE)
            for part in task.parts(task.rng())
            if part.kind
        )
        rows.append(Video(name, name, path, None, task.split, path, labels))
    return Annotations(rows, tuple(sorted(kinds)), MULTILABEL)


def generator(seed: int, split: str, number: int) -> np.random.Generator:
    """The generator of the random choices of a video, which follow from these alone."""
    name = f"{split}/{number}".encode()
    return np.random.default_rng([seed, *hashlib.sha256(name).digest()])


def open_folder(folder: Path, seed: int, module: str, kinds: Kinds | None = None) -> None:
    """Empties a folder of another seed, of other classes or by other code.

    Args:
        module: the file that renders

    Raises:
        Refused: the folder holds files that were not rendered.
    """
    files = dict.fromkeys((module, __file__, demo.__file__, scene.__file__))
    code = [Path(file).read_bytes() for file in files]
    named = repr(kinds).encode() if kinds else b""
    digest = hashlib.sha256(b"".join([*code, named])).hexdigest()
    made_from, spec = f"seed {seed}, code {digest}\n", folder / SPEC
    if spec.exists() and spec.read_text() == made_from:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not spec.exists() and any(folder.iterdir()):
        raise Refused(
            f"{folder}: holds files that the demo has not made. "
            "Set annotate.videos in params.yaml to another folder."
        )
    for old in folder.iterdir():
        if old.is_dir():  # rendered videos; SPEC stays until all of them are deleted
            shutil.rmtree(old)
    atomic.write_text(spec, made_from)


def _render(task: Task) -> Task:
    atomic.sweep(task.path)
    with atomic.replacing(task.path) as part:
        _encode(task, part)
        os.utime(part, (FINISHED, FINISHED))
    return task


def _encode(task: Task, target: Path) -> None:
    rng = task.rng()
    tiles = _tiles(task.seed)
    halves = [_half(part, task.kinds, tiles, rng) for part in task.parts(rng)]
    planes = [np.concatenate(both, 2) for both in zip(*halves, strict=True)]
    pictures = zip(*planes, strict=True)
    data = b"".join(plane.tobytes() for picture in pictures for plane in picture)
    source = ffmpeg.input(
        "pipe:", format="rawvideo", pix_fmt="yuv420p", s=f"{SIDE}x{SIDE}", framerate=RATE
    )
    options: dict[str, Any] = demo.ENCODERS["mp4"](rng)
    options |= {"threads": 1, "fflags": "+bitexact", "format": "mp4"}
    command = source.output(str(target), **options).global_args("-v", "error", "-y")
    command = command.global_args("-flags:v", "+bitexact")
    command.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), input=data, quiet=True)


@functools.cache
def _tiles(seed: int) -> NDArray[np.float32]:
    return scene.noise_tiles(seed)


def _half(
    part: Part, kinds: Kinds, tiles: NDArray[np.float32], rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    """The planes Y, U, V of a half, each (frames, height, width)."""
    width, height = SIDE // 2, SIDE
    motion = scene.STILL if part.kind is None else kinds[part.kind]
    moving = list(scene.frames(motion, (width, height), RATE, part.count, tiles, rng))
    after = RATE * SECONDS - part.first - part.count
    frames = [moving[0]] * part.first + moving + [moving[-1]] * after
    whole = np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), -1)
    luma, *chroma = np.split(whole, [width * height, width * height * 5 // 4], 1)
    planes = [luma.reshape(-1, height, width)]
    return [*planes, *(one.reshape(-1, height // 2, width // 2) for one in chroma)]


def finished(path: Path) -> bool:
    return path.exists() and path.stat().st_mtime == FINISHED
