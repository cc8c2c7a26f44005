"""Generated films of three discs at once, each with a motion of its own, and where they are.

A disc drifts one of four ways, spins, or stays as it is, over a ground that does not move; its
picture and the ground are textures of the demo (`scene`). A single frame shows where the discs are
and not what they do, and each box of a frame has another answer. Boxes are known at three moments
of a film. A detector is imitated: its boxes are those of the discs, a little off, and one besides
that is on no disc. A film is a function of (seed, split, number).
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ffmpeg
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from autox3d.core import atomic
from autox3d.core.tables import DETECT
from autox3d.datasets import demo_labels, moments, scene
from autox3d.datasets.annotations import Annotations, KeyBox, Video
from autox3d.datasets.demo import FINISHED

if TYPE_CHECKING:
    from autox3d.core.settings import Demo

SIDE, RATE, FRAMES = 96, 15, 45  # px, frames a second, of a film
MOMENTS = (1.0, 1.5, 2.0)  # s at which the boxes are known
DISCS = 3
RADII = (12.0, 15.0)  # px
GRAINS = (4.0, 9.0)  # px of a tile in a px of the film: a coarse and a fine layer of a texture
CONTRAST = 28.0  # levels
DRIFT, SPIN = (10.0, 16.0), (2.5, 4.0)  # px, radians a second
WAYS = {"down": (0, 1), "left": (-1, 0), "right": (1, 0), "still": (0, 0), "up": (0, -1)}
KINDS = tuple(sorted([*WAYS, "spin"]))
APART = 0.1  # most overlap of two discs at a moment
OFF = 0.03  # of its side, by which the detector misses a box at most
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


class Disc(NamedTuple):
    """One disc and what it does."""

    kind: str
    radius: float  # px
    start: NDArray[np.float64]  # (2,) px, its centre in the first frame
    speed: float  # px a second; of a spin radians

    def centre(self, seconds: float) -> NDArray[np.float64]:
        """(2,) px, x and y."""
        return self.start + np.array(WAYS.get(self.kind, (0, 0))) * self.speed * seconds

    def corners(self, seconds: float) -> tuple[float, float, float, float]:
        """Its box, as shares of the frame."""
        x, y = self.centre(seconds)
        ends = x - self.radius, y - self.radius, x + self.radius, y + self.radius
        return tuple(float(end / SIDE) for end in ends)  # type: ignore[return-value]


class Texture(NamedTuple):
    """A picture without an end: two layers of noise, each a tile looked up from a place on."""

    tiles: tuple[NDArray[np.float32], ...]
    places: NDArray[np.float64]  # (2, 2), px of a tile

    @classmethod
    def drawn(cls, tiles: NDArray[np.float32], rng: np.random.Generator) -> Texture:
        """A random one of the demo's noise."""
        chosen = tuple(tiles[rng.integers(scene.TILES)] for _ in GRAINS)
        return cls(chosen, rng.uniform(0, scene.TILE, (len(GRAINS), 2)))

    def shaded(self, side: int, turn: float, light: NDArray[np.float64]) -> NDArray[np.float64]:
        """A square of it turned about its middle, (3, side, side), of Y, U and V."""
        y, x = np.mgrid[:side, :side] + 0.5 - side / 2
        across, down = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
        values = np.zeros((side, side))
        for tile, grain, (left, top) in zip(self.tiles, GRAINS, self.places, strict=True):
            column = np.floor(across * grain + left).astype(int) % scene.TILE
            row = np.floor(down * grain + top).astype(int) % scene.TILE
            values += tile[row, column]
        return light[:, None, None] + CONTRAST * values * np.array([1.0, 0.3, -0.3])[:, None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One film to render."""

    split: str
    number: int
    path: Path
    seed: int

    def rng(self) -> np.random.Generator:
        """The generator of the film's random choices."""
        return demo_labels.generator(self.seed, self.split, self.number)

    def discs(self, rng: np.random.Generator) -> list[Disc]:
        """Three discs of three classes, which are nowhere over each other at a moment."""
        kinds = rng.permutation(KINDS)[:DISCS].tolist()
        while True:
            discs = [_disc(kind, rng) for kind in kinds]
            if all(_apart(discs, seconds) for seconds in MOMENTS):
                return discs


def _disc(kind: str, rng: np.random.Generator) -> Disc:
    """A disc that stays within the frame all along."""
    radius, speed = rng.uniform(*RADII), rng.uniform(*(SPIN if kind == "spin" else DRIFT))
    way = np.array(WAYS.get(kind, (0, 0))) * speed * FRAMES / RATE
    low, high = radius - way.clip(max=0), SIDE - radius - way.clip(min=0)
    return Disc(kind, radius, rng.uniform(low, high), speed)


def _apart(discs: list[Disc], seconds: float) -> bool:
    boxes = [disc.corners(seconds) for disc in discs]
    pairs = [(one, other) for n, one in enumerate(boxes) for other in boxes[:n]]
    return all(overlap(one, other) < APART for one, other in pairs)


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    wide, high = (min(one[n + 2], other[n + 2]) - max(one[n], other[n]) for n in (0, 1))
    common = max(wide, 0) * max(high, 0)
    both = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other)) - common
    return common / both


def tasks(folder: Path, counts: dict[str, int], seed: int) -> list[Task]:
    """All films: as many that `counts[split]` of them have each class, half of the films."""
    return [
        Task(split=split, number=number, path=folder / split / f"{number:04d}.mp4", seed=seed)
        for split, count in counts.items()
        for number in range(2 * count)
    ]


def prepare(root: Path, videos: str, settings: Demo, progress: Progress) -> Annotations:
    """Renders the films that do not exist yet, on all cores, and returns the annotations.

    `root` is the data root, `videos` the folder under it.

    Raises:
        Refused: the folder holds files that this has not made.
    """
    counts = {"train": settings.train, "val": settings.val, "test": settings.test}
    demo_labels.open_folder(root / videos, settings.seed, __file__)
    every = tasks(root / videos, counts, settings.seed)
    todo = [task for task in every if not demo_labels.finished(task.path)]
    for folder in {task.path.parent for task in todo}:
        folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        if todo:
            deque(progress(pool.map(_render, todo, chunksize=4), len(todo)), maxlen=0)
    return describe(videos, counts, settings.seed)


def describe(videos: str, counts: dict[str, int], seed: int) -> Annotations:
    """The annotations of the films, in the folder `videos` of the data root."""
    cut: list[Video] = []
    for task in tasks(Path(videos), counts, seed):
        name, path = f"{task.split}-{task.path.stem}", task.path.as_posix()
        rng = task.rng()
        discs = task.discs(rng)
        found = tuple(box for second in MOMENTS for box in _boxes(discs, second, rng))
        cut += moments.pieces(Video(name, name, path, None, task.split, path, boxes=found))
    return Annotations(cut, KINDS, DETECT)


def _boxes(discs: list[Disc], second: float, rng: np.random.Generator) -> list[KeyBox]:
    """The boxes at a moment: annotated ones, and those of the imitated detector."""
    truth = [KeyBox(second, disc.corners(second), disc.kind) for disc in discs]
    near = []
    for one in truth:
        side = one.corners[2] - one.corners[0]
        ends = np.add(one.corners, rng.uniform(-OFF, OFF, 4) * side).clip(0, 1).round(4)
        near.append(ends.tolist())
    while True:
        centre, half = rng.uniform(0.2, 0.8, 2), rng.uniform(*RADII) / SIDE
        ends = np.concatenate([centre - half, centre + half]).round(4)
        if all(overlap(tuple(ends), one.corners) < APART for one in truth):
            break
    return [*truth, *(KeyBox(second, tuple(one), "", True) for one in [*near, ends.tolist()])]


def _render(task: Task) -> Task:
    atomic.sweep(task.path)
    with atomic.replacing(task.path) as part:
        _encode(task, part)
        os.utime(part, (FINISHED, FINISHED))
    return task


def _encode(task: Task, target: Path) -> None:
    data = b"".join(frame.tobytes() for frame in pictures(task))
    source = ffmpeg.input(
        "pipe:", format="rawvideo", pix_fmt="yuv444p", s=f"{SIDE}x{SIDE}", framerate=RATE
    )
    options: dict[str, Any] = {"vcodec": "libx264", "crf": 20, "pix_fmt": "yuv420p", "g": 15}
    options |= {"threads": 1, "fflags": "+bitexact", "format": "mp4"}
    command = source.output(str(target), **options).global_args("-v", "error", "-y")
    command = command.global_args("-flags:v", "+bitexact")
    command.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), input=data, quiet=True)


@functools.cache
def _tiles(seed: int) -> NDArray[np.float32]:
    return scene.noise_tiles(seed)


def pictures(task: Task) -> Iterable[NDArray[np.uint8]]:
    """The frames of a film, each (3, SIDE, SIDE), of Y, U and V."""
    rng, tiles = task.rng(), _tiles(task.seed)
    discs = task.discs(rng)
    layers = [Texture.drawn(tiles, rng) for _ in range(DISCS + 1)]
    light = rng.uniform((100, 112, 112), (150, 144, 144), (DISCS + 1, 3))
    spot = 2 * int(np.ceil(RADII[1])) + 2
    ground = layers[0].shaded(SIDE, 0.0, light[0])
    for frame in range(FRAMES):
        seconds = frame / RATE
        picture = ground.copy()
        for disc, own, colour in zip(discs, layers[1:], light[1:], strict=True):
            turn = disc.speed * seconds if disc.kind == "spin" else 0.0
            _paste(picture, own.shaded(spot, turn, colour), disc, seconds)
        yield picture.round().clip(0, 255).astype(np.uint8)


def _paste(
    picture: NDArray[np.float64], spot: NDArray[np.float64], disc: Disc, seconds: float
) -> None:
    """Puts a disc of a texture into a picture, at a fraction of a pixel."""
    side = spot.shape[1]
    corner = disc.centre(seconds) - side / 2
    left, top = np.floor(corner).astype(int)
    y, x = np.mgrid[:side, :side] + 0.5
    fraction = corner - (left, top)
    across, down = x - side / 2 - fraction[0], y - side / 2 - fraction[1]
    inside = (disc.radius + 0.5 - np.hypot(across, down)).clip(0, 1)
    moved = _shifted(_shifted(spot, fraction[0], 2), fraction[1], 1)
    ys, xs = np.arange(top, top + side), np.arange(left, left + side)
    rows, columns = (ys >= 0) & (ys < SIDE), (xs >= 0) & (xs < SIDE)
    there = np.ix_(range(3), ys[rows], xs[columns])
    here = np.ix_(range(3), rows.nonzero()[0], columns.nonzero()[0])
    share = inside[np.ix_(rows, columns)]
    picture[there] += share * (moved[here] - picture[there])


def _shifted(spot: NDArray[np.float64], by: float, axis: int) -> NDArray[np.float64]:
    """The texture moved by less than a pixel towards the end of an axis."""
    return (1 - by) * spot + by * np.roll(spot, 1, axis)
