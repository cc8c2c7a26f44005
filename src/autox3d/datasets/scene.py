r"""Camera motions over random textures, made so that a single frame does not reveal the motion.

A frame is a sum of layers. Each layer is a tile of noise about one octave wide, and the layers are
one octave apart. The motion moves the coordinates at which the tiles are looked up. Played
backwards, a motion is its opposite with another random origin, and every frame of every motion is
a sample of the same distribution:

    Offsets are uniform on tiles that repeat, so a pan has no preferred position.
    A zoom shifts all layers along the octaves under a fixed envelope (a layer that leaves at the
    coarse end returns at the fine end with weight zero), so a zoom has no beginning: Shepard's
    endless scale (J. Acoust. Soc. Am. 36, 2346, 1964).
    The moving picture fades into a still one before the border, over a random width at each side:
    encoders lag at an edge where new content comes in, and that would reveal the direction.

Coordinates are integers that wrap around (2**32 is one tile), so a seed gives the same pixels on
every machine.

The classes of `textures` are the control: the texture of each runs another way, which any frame
shows, and the videos of every class pan the same four ways.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

OCTAVES = 3  # layers, and octaves that the envelope spans
FINEST = 0.10  # wavelength at the fine end of the envelope, in short sides of the frame
TILE = 512  # px
CYCLES = 12  # mean wavelengths in a tile
TILES = 12  # tiles to sample from
HIGH = 2**32  # one tile in fixed point
SHIFT = 32 - TILE.bit_length() + 1  # fixed point -> px
WAYS = 8  # in which a texture may run
RUN = 1.0  # octaves by which it is drawn out along its way, and pressed together across


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """What the camera does in a second: a direction (+1, -1 or 0) on each axis, times a speed."""

    right: int = 0  # short sides
    down: int = 0
    clockwise: int = 0  # radians
    closer: int = 0  # octaves
    speed: tuple[float, float]  # slowest and fastest
    grain: float | None = None  # radians, which way the texture runs; None: each layer another way


PAN, ROLL, ZOOM = (0.2, 0.6), (0.7, 1.8), (0.8, 2.0)
STILL = Motion(speed=(0.0, 0.0))
MOTIONS = {
    "pan_down": Motion(down=1, speed=PAN),
    "pan_left": Motion(right=-1, speed=PAN),
    "pan_right": Motion(right=1, speed=PAN),
    "pan_up": Motion(down=-1, speed=PAN),
    "roll_clockwise": Motion(clockwise=1, speed=ROLL),
    "roll_counterclockwise": Motion(clockwise=-1, speed=ROLL),
    "zoom_in": Motion(closer=1, speed=ZOOM),
    "zoom_out": Motion(closer=-1, speed=ZOOM),
}


def motions(paces: int, speed: float) -> dict[str, Motion]:
    """Returns the classes: each motion at each of `paces` paces (`pan_up_1` is the slowest).

    All ranges of speeds are multiplied by `speed`; paces divide a range in equal ratios.
    """
    kinds = {}
    for name, motion in MOTIONS.items():
        bounds = np.geomspace(*motion.speed, paces + 1).tolist()
        for pace, (slowest, fastest) in enumerate(itertools.pairwise(bounds), 1):
            kind = f"{name}_{pace}" if paces > 1 else name
            kinds[kind] = replace(motion, speed=(slowest * speed, fastest * speed))
    return kinds


def textures(speed: float) -> dict[str, Motion]:
    """Returns classes whose texture runs eight ways; their videos pan each way, see `panned`."""
    slowest, fastest = PAN
    return {
        f"grain_{number}": Motion(
            speed=(slowest * speed, fastest * speed), grain=math.pi * number / WAYS
        )
        for number in range(1, WAYS + 1)
    }


def panned(motion: Motion, number: int) -> Motion:
    """Returns the motion of one video of a class: those of `textures` pan the four ways in turn."""
    if motion.grain is None:
        return motion
    right, down = ((1, 0), (0, 1), (-1, 0), (0, -1))[number % 4]
    return replace(motion, right=right, down=down)


def noise_tiles(seed: int) -> NDArray[np.float32]:
    """Returns (TILES, TILE, TILE) noise of wavelength about TILE / CYCLES, mean 0, variance 1."""
    rng = np.random.default_rng([seed, 0])
    white = np.fft.rfft2(rng.standard_normal((TILES, TILE, TILE)))
    cycles = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE), np.fft.rfftfreq(TILE), indexing="ij"))
    octaves = np.log2(np.maximum(cycles * TILE, 1e-9) / CYCLES)
    tiles = np.fft.irfft2(white * np.exp(-((octaves / 0.35) ** 2)), s=(TILE, TILE))
    tiles /= tiles.std(axis=(1, 2), keepdims=True)
    return np.round(tiles * 64).astype(np.float32) / 64  # coarse steps: no rounding error


@dataclass(frozen=True, slots=True)
class Layer:
    """One octave of the texture: a tile, stretched and turned by `matrix`, at an offset."""

    tile: NDArray[np.float32]
    matrix: NDArray[np.float64]  # (2, 2), short sides -> wavelengths
    offset: NDArray[np.float64]  # (2,), tiles
    octave: float  # at the start
    tint: NDArray[np.float32]  # (2,), of U and V


def draw_layers(
    tiles: NDArray[np.float32], rng: np.random.Generator, grain: float | None = None
) -> list[Layer]:
    """Samples OCTAVES layers one octave apart, at uniform offsets, angles and octaves."""
    start = rng.uniform(0, OCTAVES)

    def matrix() -> NDArray[np.float64]:
        angle, stretch = rng.uniform(0, 2 * math.pi), rng.uniform(-0.4, 0.4, (1, 2))
        if grain is not None:
            angle, stretch = grain, stretch + np.array([[-RUN, RUN]])
        return _turn(angle) * np.exp2(stretch)

    return [
        Layer(
            tile=tiles[rng.integers(TILES)],
            matrix=matrix(),
            offset=rng.uniform(0, 1, 2),
            octave=start + octave,
            tint=rng.uniform(-0.4, 0.4, 2).astype(np.float32),
        )
        for octave in range(OCTAVES)
    ]


def frames(
    motion: Motion,
    size: tuple[int, int],
    rate: float,
    count: int,
    tiles: NDArray[np.float32],
    rng: np.random.Generator,
) -> Iterator[bytes]:
    """Yields `count` frames as the bytes of their planes Y, U, V (4:2:0).

    `size` is (width, height) in px, both even; `rate` is in frames a second. `tiles` are those of
    `noise_tiles`.
    """
    width, height = size
    speed = rng.uniform(*motion.speed)
    centre = rng.uniform(-0.15, 0.15, 2)  # of rolls and zooms, in short sides from the middle
    moving, still = (draw_layers(tiles, rng, motion.grain) for _ in range(2))
    window = _window(width, height, rng)
    light = rng.uniform((100, 112, 112), (150, 144, 144)).astype(np.float32)  # of Y, U, V
    contrast = rng.uniform(18, 36)
    noise = rng.standard_normal(2 * height * width).astype(np.float32) * rng.uniform(0.5, 3)
    ground = _picture(still, STILL, 0.0, centre, size)
    ground = [contrast * plane * (1 - w) for plane, w in zip(ground, _planes(window), strict=True)]
    for frame in range(count):
        picture = _picture(moving, motion, speed * frame / rate, centre, size)
        start = rng.integers(noise.size - height * width)
        grain = noise[start : start + height * width].reshape(height, width)
        planes = zip(picture, ground, _planes(window), _planes(grain), light, strict=True)
        yield b"".join(
            np.clip(base + contrast * w * plane + back + dirt, 0, 255).astype(np.uint8).tobytes()
            for plane, back, w, dirt, base in planes
        )


def _picture(
    layers: list[Layer],
    motion: Motion,
    way: float,
    centre: NDArray[np.float64],
    size: tuple[int, int],
) -> list[NDArray[np.float32]]:
    """Returns the planes Y, U, V with mean 0, after the motion has gone `way` = speed x time."""
    short = min(size)
    luma = np.zeros(size[::-1], np.float32)
    chroma = np.zeros((2, size[1] // 2, size[0] // 2), np.float32)
    world = _turn(motion.clockwise * way)
    shift = np.array([motion.right, motion.down]) * way - world @ centre
    for layer in layers:
        octave = (layer.octave + motion.closer * way) % OCTAVES
        envelope = math.sin(math.pi * octave / OCTAVES) ** 2
        wavelength = FINEST * 2**octave
        to_tile = layer.matrix.T / (wavelength * CYCLES)
        offset = layer.offset + to_tile @ shift
        values = _look_up(layer.tile, to_tile @ world / short, offset, size)
        values *= np.float32(envelope)
        luma += values
        chroma += layer.tint[:, None, None] * values[::2, ::2]
    return [luma, chroma[0], chroma[1]]


def _look_up(
    tile: NDArray[np.float32],
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """Returns (H, W): the tile at `matrix @ (x, y) + offset`, (x, y) in px from the middle."""
    index = np.zeros((size[1], size[0]), np.intp)
    for row, start in zip(matrix, offset, strict=True):
        right, down = (round(float(step) * HIGH) for step in row)
        x = np.arange(size[0], dtype=np.int64) - size[0] // 2
        y = np.arange(size[1], dtype=np.int64)[:, None] - size[1] // 2
        place = (right * x).astype(np.uint32) + (down * y + round(float(start) * HIGH)).astype(
            np.uint32
        )
        index *= TILE
        index += place >> SHIFT
    return tile.reshape(-1)[index]


def _window(width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Returns (H, W): 1 where the picture moves, 0 at the border; each side has its own width."""
    sides = []
    for length in (height, width):
        place = (np.arange(length) + 0.5) / length
        near, far = rng.uniform(0.2, 0.5, 2)
        sides.append(_smooth(place / near) * _smooth((1 - place) / far))
    return np.outer(*sides).astype(np.float32)


def _smooth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _planes(full: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    half = full[::2, ::2]
    return [full, half, half]


def _turn(angle: float) -> NDArray[np.float64]:
    """Returns the (2, 2) rotation that turns clockwise on the screen, where y points down."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
