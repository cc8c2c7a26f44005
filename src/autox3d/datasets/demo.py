"""The demo's videos: camera motions (`scene`) in real files of many formats, some bad on purpose.

Each video is a function of (seed, split, class, number). A finished file is given a fixed
modification time, the first second of the year 2000. So a second call recognises it and renders
nothing, and the list of files is the same on every machine.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ffmpeg
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.datasets import scene
from autox3d.datasets.annotations import Annotations, Video
from autox3d.datasets.scene import MOTIONS, Motion

if TYPE_CHECKING:
    from autox3d.core.settings import Demo

FINISHED = 946_684_800  # s since 1970: 2000-01-01
SPEC = ".demo"  # file that says what the videos were rendered from
SIZES = ((96, 72), (72, 96), (112, 84), (128, 96), (160, 90), (120, 120), (160, 120), (120, 160))
LARGE = ((176, 144), (240, 136), (320, 240))
RATES = (10, 12, 15, 24, 25, 30)
BAD = {  # (split, motion) -> an extra video of its first class: the stem says what is wrong
    ("train", "pan_left"): "cut.mp4",
    ("train", "roll_clockwise"): "cut.webm",
    ("train", "zoom_in"): "empty.mp4",
    ("train", "pan_up"): "text.mp4",
    ("train", "zoom_out"): "missing.mp4",
    ("test", "pan_right"): "cut.mp4",
    ("test", "roll_counterclockwise"): "missing.mp4",
}

Kinds = Mapping[str, Motion]  # class -> what the camera does
Progress = Callable[[Iterable["Task"], int], Iterable["Task"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One video to render."""

    split: str
    kind: str  # its class
    motion: Motion
    number: int
    path: Path
    seed: int

    def rng(self) -> np.random.Generator:
        """Returns the generator of the video's random choices, seeded by the task alone."""
        name = f"{self.split}/{self.kind}/{self.number}".encode()
        return np.random.default_rng([self.seed, *hashlib.sha256(name).digest()])


def tasks(folder: Path, counts: dict[str, int], seed: int, kinds: Kinds = MOTIONS) -> list[Task]:
    """Returns the tasks of all good videos: `counts[split]` of each class."""
    return [
        Task(split=split, kind=kind, motion=video, number=number, path=path, seed=seed)
        for split, count in counts.items()
        for kind, motion in kinds.items()
        for number in range(count)
        for video in [scene.panned(motion, number)]
        for path in [folder / split / kind / f"{number:04d}.{_suffix(number)}"]
    ]


def bad(folder: Path, counts: dict[str, int], seed: int, kinds: Kinds = MOTIONS) -> list[Task]:
    """Returns the tasks of the videos that are bad on purpose, in addition to the good ones.

    Classes of textures have none.
    """
    extra = []
    for (split, motion), name in BAD.items():
        kind = next((kind for kind in kinds if kind.startswith(motion)), None)
        if kind and counts.get(split):
            path = folder / split / kind / name
            task = Task(split=split, kind=kind, motion=kinds[kind], number=-1, path=path, seed=seed)
            extra.append(task)
    return extra


def prepare(root: Path, videos: str, settings: Demo, progress: Progress) -> Annotations:
    """Renders the videos that do not exist yet, on all cores, and returns the annotations.

    `root` is the data root, `videos` the folder under it.

    Raises:
        Refused: the folder holds files that the demo has not made.
    """
    counts = {"train": settings.train, "val": settings.val, "test": settings.test}
    kinds = kinds_of(settings)
    processes = len(os.sched_getaffinity(0))
    render(root / videos, counts, settings.seed, processes, kinds, progress)
    return describe(videos, counts, kinds)


def kinds_of(settings: Demo) -> Kinds:
    """Returns the classes that the settings ask for."""
    if settings.classes == "textures":
        return scene.textures(settings.speed)
    return scene.motions(settings.paces, settings.speed)


def describe(videos: str, counts: dict[str, int], kinds: Kinds = MOTIONS) -> Annotations:
    """Returns the annotations of the demo's videos, in the folder `videos` of the data root."""
    folder = Path(videos)
    rows = []
    for task in [*tasks(folder, counts, 0, kinds), *bad(folder, counts, 0, kinds)]:
        name = f"{task.split}-{task.kind}-{task.path.stem}"
        path = task.path.as_posix()
        rows.append(Video(name, name, path, task.kind, task.split, str(task.path)))
    return Annotations(rows, tuple(sorted(kinds)))


def render(
    folder: Path,
    counts: dict[str, int],
    seed: int,
    processes: int,
    kinds: Kinds = MOTIONS,
    progress: Progress = lambda done, _: done,
) -> None:
    """Renders the videos that do not exist yet.

    Videos of another seed, of other classes or by other code are deleted first.

    Raises:
        Refused: the folder holds files that the demo has not made.
    """
    _open_folder(folder, seed, kinds)
    todo = [task for task in tasks(folder, counts, seed, kinds) if not _finished(task.path)]
    for directory in {task.path.parent for task in todo}:
        directory.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes) as pool:
        if todo:
            deque(progress(pool.map(_render, todo, chunksize=4), len(todo)), maxlen=0)
    for task in bad(folder, counts, seed, kinds):
        _spoil(task)


def _open_folder(folder: Path, seed: int, kinds: Kinds) -> None:
    code = [Path(module).read_bytes() for module in (__file__, scene.__file__)]
    code.append(repr(kinds).encode())
    made_from = f"seed {seed}, code {hashlib.sha256(b''.join(code)).hexdigest()}\n"
    spec = folder / SPEC
    if folder.exists() and (not spec.exists() or spec.read_text() != made_from):
        if not spec.exists() and any(folder.iterdir()):
            raise Refused(
                f"{folder}: holds files that the demo has not made. "
                "Set annotate.videos in params.yaml to another folder."
            )
        for old in folder.iterdir():
            if old.is_dir():  # rendered videos; SPEC stays until all of them are deleted
                shutil.rmtree(old)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(spec, made_from)


def _render(task: Task) -> Task:
    atomic.sweep(task.path)
    with atomic.replacing(task.path) as part:
        _encode(task, part)
        os.utime(part, (FINISHED, FINISHED))
    return task


def _encode(task: Task, target: Path) -> None:
    rng = task.rng()
    sizes = LARGE if rng.random() < 0.15 else SIZES
    size = sizes[rng.integers(len(sizes))]
    rate = int(rng.choice(RATES))
    count = round(rate * (1 + 3 * rng.random() ** 2))  # 1 to 4 s, the short ones more often
    pictures = scene.frames(task.motion, size, rate, count, _tiles(task.seed), rng)
    source = ffmpeg.input(
        "pipe:", format="rawvideo", pix_fmt="yuv420p", s="{}x{}".format(*size), framerate=rate
    )
    kind = task.path.suffix[1:]
    options = ENCODERS[kind](rng) | {"threads": 1, "fflags": "+bitexact", "format": kind}
    command = source.output(str(target), g=int(rng.integers(8, 120)), **options)
    command = command.global_args("-v", "error", "-y", "-flags:v", "+bitexact")
    command.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), input=b"".join(pictures), quiet=True)


@functools.cache
def _tiles(seed: int) -> NDArray[np.float32]:
    return scene.noise_tiles(seed)


def _h264(rng: np.random.Generator) -> dict[str, str | int]:
    extra = "threads=1:asm=avx2"  # other instruction sets give other bytes
    quality = int(rng.integers(12, 17))
    return {"vcodec": "libx264", "preset": "veryfast", "crf": quality, "x264-params": extra}


def _mpeg4(rng: np.random.Generator) -> dict[str, str | int]:
    return {"vcodec": "mpeg4", "q:v": int(rng.integers(2, 5))}


def _vp9(rng: np.random.Generator) -> dict[str, str | int]:
    quality = int(rng.integers(10, 21))
    return {"vcodec": "libvpx-vp9", "deadline": "realtime", "cpu-used": 8, "crf": quality, "b:v": 0}


ENCODERS = {"mp4": _h264, "avi": _mpeg4, "webm": _vp9}


def _suffix(number: int) -> str:
    return ("mp4", "mp4", "avi", "mp4", "webm")[number % 5]


def _spoil(task: Task) -> None:
    """Makes a bad file: the stem of its name says what is wrong with it."""
    kind, path = task.path.stem, task.path
    if kind == "missing" or _finished(path):
        return
    atomic.sweep(path)
    with atomic.replacing(path) as part:
        if kind == "cut":
            _encode(task, part)
            os.truncate(part, part.stat().st_size // 2)
        else:
            part.write_text({"empty": "", "text": "<html>404: this video is gone</html>\n"}[kind])
        os.utime(part, (FINISHED, FINISHED))


def _finished(path: Path) -> bool:
    return path.exists() and path.stat().st_mtime == FINISHED
