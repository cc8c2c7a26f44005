"""AutoAugment's policy for ImageNet on clips (arXiv:1805.09501, Table 9), numpy on uint8.

Every frame of a clip gets the same operations at the same strength. Operations that look at the
picture (equalise, autocontrast, contrast) look at each frame by itself, as they do on images.
Pixel values are Pillow's to the bit; what a shift or turn uncovers is grey, 128.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Clip = np.ndarray  # uint8 (T, H, W, 3)

# (operation, probability, magnitude of 0..9) twice a row; a row is drawn uniformly.
POLICY = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)
LEVELS = np.arange(256)
FILL = 128


def autoaugment(clip: Clip, rng: np.random.Generator) -> Clip:
    """uint8 (T, H, W, 3) -> the same, by one row of the policy; `rng` draws six numbers a clip."""
    row = POLICY[rng.integers(len(POLICY))]
    for (name, probability, magnitude), chance, side in zip(
        row, rng.random(2), rng.random(2) < 0.5, strict=True
    ):
        if chance < probability:
            clip = OPERATIONS[name](clip, magnitude / 9, -1 if side else 1)
    return clip


def rotate(clip: Clip, strength: float, sign: int) -> Clip:
    """Up to 30 degrees either way, about the middle; nearest pixel."""
    turn = -np.deg2rad(sign * strength * 30)
    return _affine(clip, np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn))


def shear_x(clip: Clip, strength: float, sign: int) -> Clip:
    """Up to 0.3 px a row either way, about the middle; nearest pixel."""
    return _affine(clip, 1, sign * strength * 0.3, 0, 1)


def invert(clip: Clip, strength: float, sign: int) -> Clip:
    """255 - x."""
    return 255 - clip


def solarize(clip: Clip, strength: float, sign: int) -> Clip:
    """Inverts what is at least 256 ... 0."""
    return np.where(clip < 256 - 256 * strength, clip, ~clip)


def posterize(clip: Clip, strength: float, sign: int) -> Clip:
    """Keeps the upper 8 ... 4 bits."""
    return clip & np.uint8(256 - 2 ** round(4 * strength))


def equalize(clip: Clip, strength: float, sign: int) -> Clip:
    """Flattens the histogram of each colour of each frame."""
    return _by_histogram(clip, _equalizing)


def autocontrast(clip: Clip, strength: float, sign: int) -> Clip:
    """Stretches each colour of each frame to 0 ... 255."""
    return _by_histogram(clip, _stretching)


def color(clip: Clip, strength: float, sign: int) -> Clip:
    """Saturation times 0.1 ... 1.9."""
    return _blend(_grey(clip)[..., None], clip, 1 + sign * 0.9 * strength)


def contrast(clip: Clip, strength: float, sign: int) -> Clip:
    """Distance to the frame's mean grey times 0.1 ... 1.9."""
    mean = np.floor(_grey(clip).mean((1, 2)) + 0.5).astype(np.uint8)
    return _blend(mean[:, None, None, None], clip, 1 + sign * 0.9 * strength)


def sharpness(clip: Clip, strength: float, sign: int) -> Clip:
    """Distance to a 3x3 smoothing times 0.1 ... 1.9; the outermost pixels stay."""
    wide = clip.astype(np.int32)
    rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * wide[:, 1:-1, 1:-1]
    smooth = clip.copy()
    smooth[:, 1:-1, 1:-1] = (2 * total + 13) // 26
    return _blend(smooth, clip, 1 + sign * 0.9 * strength)


OPERATIONS: dict[str, Callable[[Clip, float, int], Clip]] = {
    operation.__name__: operation
    for operation in (
        rotate, shear_x, invert, solarize, posterize,
        equalize, autocontrast, color, contrast, sharpness,
    )
}  # fmt: skip


def _affine(clip: Clip, a: float, b: float, d: float, e: float) -> Clip:
    """Pixel (x, y) from (a x + b y, d x + e y), all counted from the middle of the picture."""
    _, height, width, _ = clip.shape
    y, x = np.mgrid[:height, :width] + 0.5 - np.array([height, width])[:, None, None] / 2
    column = np.floor(a * x + b * y + width / 2).astype(np.int64)
    row = np.floor(d * x + e * y + height / 2).astype(np.int64)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    moved = clip[:, row.clip(0, height - 1), column.clip(0, width - 1)]
    moved[:, ~inside] = FILL
    return moved


def _by_histogram(clip: Clip, table: Callable[[np.ndarray], np.ndarray]) -> Clip:
    """Each colour of each frame through a table of its own: (256,) counts -> (256,) values."""
    done = np.empty_like(clip)
    for frame in range(len(clip)):
        for colour in range(3):
            plane = clip[frame, :, :, colour]
            counts = np.bincount(plane.ravel(), minlength=256)
            done[frame, :, :, colour] = table(counts)[plane]
    return done


def _equalizing(counts: np.ndarray) -> np.ndarray:
    used = counts[counts > 0]
    step = (counts.sum() - used[-1]) // 255
    if len(used) < 2 or step == 0:
        return LEVELS.astype(np.uint8)
    below = np.cumsum(counts) - counts
    return np.minimum((step // 2 + below) // step, 255).astype(np.uint8)


def _stretching(counts: np.ndarray) -> np.ndarray:
    low, high = np.flatnonzero(counts)[[0, -1]]
    if high <= low:
        return LEVELS.astype(np.uint8)
    scale = 255 / (high - low)
    return np.clip(np.trunc(LEVELS * scale - low * scale), 0, 255).astype(np.uint8)


def _grey(clip: Clip) -> np.ndarray:
    """uint8 (T, H, W): ITU-R 601 luma in 16-bit fixed point."""
    red, green, blue = np.moveaxis(clip.astype(np.int32), -1, 0)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)


def _blend(flat: np.ndarray, clip: Clip, factor: float) -> Clip:
    """flat + factor (clip - flat), clipped and rounded towards zero."""
    base = flat.astype(np.float32)
    return np.clip(base + np.float32(factor) * (clip - base), 0, 255).astype(np.uint8)
