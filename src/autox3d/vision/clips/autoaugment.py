"""AutoAugment's operations on clips, on the device of the clip (arXiv:1805.09501, Table 6).

    T frames, H x W pixels; counts (T, 3, 256): how many pixels of a frame have each level

Every frame of a clip gets the same operations at the same strength. Operations that depend on the
image (equalise, autocontrast, contrast) use the statistics of each frame separately. The results
equal Pillow's to the bit, with grey (128) where a shear or rotation uncovers pixels. Nothing here
synchronises with a GPU. Operations on levels are merged into one lookup table for each frame and
colour before they are applied to pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from autox3d.vision.clips.augment_policy import Operation

FILL = 128


def autoaugment(clip: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Applies the operations in order: (T, H, W, 3) -> the same shape.

    Clips are uint8, or floats in [0, 1], which are rounded to multiples of 1/255.
    """
    if not operations:
        return clip
    if clip.is_floating_point():
        levels = autoaugment((clip * 255).round().to(torch.uint8), operations)
        return levels.to(clip.dtype) / 255
    for maps_levels, run in groupby(operations, lambda one: one.name not in PIXELS):
        some = list(run)
        if maps_levels and any(one.name in TABLES for one in some):
            clip = _by_tables(clip, some)
        else:
            for name, strength, sign in some:
                clip = (LEVELS | PIXELS)[name](clip, strength, sign)
    return clip


def invert(levels: Tensor, strength: float, sign: int) -> Tensor:
    """Inverts all levels: 255 - x."""
    return ~levels


def solarize(levels: Tensor, strength: float, sign: int) -> Tensor:
    """Inverts the levels above a threshold, 256 ... 0 for strengths 0 ... 1."""
    bright = levels.short() >= math.ceil(256 - 256 * strength)
    return levels ^ -bright.to(torch.uint8)  # -1 has all bits set


def posterize(levels: Tensor, strength: float, sign: int) -> Tensor:
    """Keeps the upper 8 ... 4 bits of each level, for strengths 0 ... 1."""
    return levels & (256 - 2 ** round(4 * strength))


def equalize(counts: Tensor) -> Tensor:
    """The lookup table that flattens each histogram: (T, 3, 256) -> the same shape, int64."""
    levels = torch.arange(256, device=counts.device)
    brightest = (levels * (counts > 0)).amax(-1, keepdim=True)
    step = (counts.sum(-1, keepdim=True) - counts.gather(-1, brightest)) // 255
    below = counts.cumsum(-1) - counts
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, table, levels)


def autocontrast(counts: Tensor) -> Tensor:
    """The lookup table that stretches each histogram to 0 ... 255, (T, 3, 256) int64."""
    levels = torch.arange(256, device=counts.device)
    low = torch.where(counts > 0, levels, 255).amin(-1, keepdim=True)
    high = torch.where(counts > 0, levels, 0).amax(-1, keepdim=True)
    scale = 255 / (high - low).clamp(min=1).double()
    table = (levels * scale - low * scale).trunc().clamp(0, 255).long()
    return torch.where(high > low, table, levels)


def rotate(clip: Tensor, strength: float, sign: int) -> Tensor:
    """Rotates about the centre by up to 30 degrees in either direction; nearest pixel."""
    turn = -math.radians(sign * strength * 30)
    return _affine(clip, math.cos(turn), math.sin(turn), -math.sin(turn), math.cos(turn))


def shear_x(clip: Tensor, strength: float, sign: int) -> Tensor:
    """Shears about the centre by up to 0.3 px per row in either direction; nearest pixel."""
    return _affine(clip, 1, sign * strength * 0.3, 0, 1)


def color(clip: Tensor, strength: float, sign: int) -> Tensor:
    """Multiplies the saturation by 0.1 ... 1.9."""
    return _blend(_grey(clip), clip, 1 + sign * 0.9 * strength)


def contrast(clip: Tensor, strength: float, sign: int) -> Tensor:
    """Multiplies the difference from the frame's mean grey by 0.1 ... 1.9."""
    mean = _grey(clip).double().mean((1, 2, 3), keepdim=True)
    return _blend((mean + 0.5).floor(), clip, 1 + sign * 0.9 * strength)


def sharpness(clip: Tensor, strength: float, sign: int) -> Tensor:
    """Multiplies the difference from a 3x3 smoothing by 0.1 ... 1.9, except at the border."""
    wide = clip.short()
    rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * wide[:, 1:-1, 1:-1]
    smooth = clip.float()
    smooth[:, 1:-1, 1:-1] = ((2 * total + 13) / 26).floor()
    return _blend(smooth, clip, 1 + sign * 0.9 * strength)


LEVELS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    operation.__name__: operation for operation in (invert, solarize, posterize)
}  # maps of single levels, the same for all frames
TABLES: dict[str, Callable[[Tensor], Tensor]] = {
    operation.__name__: operation for operation in (equalize, autocontrast)
}  # maps of levels that depend on each frame's histograms
PIXELS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    operation.__name__: operation for operation in (rotate, shear_x, color, contrast, sharpness)
}


def _by_tables(clip: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Applies operations of LEVELS and TABLES by one lookup table per frame and colour."""
    shape = (len(clip), 3, 256)
    first = torch.arange(0, len(clip) * 3 * 256, 256, device=clip.device)
    place = clip.long().add_(first.view(-1, 1, 1, 3)).flatten()  # into `shape`
    one = torch.ones((), dtype=torch.int32, device=clip.device)
    counts = one.new_zeros(shape).flatten().scatter_add_(0, place, one.expand(len(place)))
    counts = counts.view(shape).long()
    every = torch.arange(256, dtype=torch.uint8, device=clip.device)
    table = every.long().expand(shape)
    for name, strength, sign in operations:
        if name in TABLES:
            then = TABLES[name](counts)
        else:
            then = LEVELS[name](every, strength, sign).long().expand(shape)
        table = then.gather(-1, table)
        counts = torch.zeros_like(counts).scatter_add_(-1, then, counts)
    return table.to(torch.uint8).flatten().gather(0, place).view(clip.shape)


def _affine(clip: Tensor, a: float, b: float, d: float, e: float) -> Tensor:
    """Takes pixel (x, y) from (a x + b y, d x + e y), in coordinates from the centre."""
    frames, height, width, _ = clip.shape
    y, x = (
        torch.arange(size, dtype=torch.float64, device=clip.device) + 0.5 - size / 2
        for size in (height, width)
    )
    column = (a * x + (b * y + width / 2)[:, None]).floor().long()
    row = (d * x + (e * y + height / 2)[:, None]).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = torch.where(inside, row * width + column, height * width)  # the grey one after them
    pixels = F.pad(clip.reshape(frames, -1, 3), (0, 0, 0, 1), value=FILL)
    return pixels.index_select(1, place.flatten()).view(clip.shape)


def _grey(clip: Tensor) -> Tensor:
    """ITU-R 601 luma rounded to whole numbers, float32 (T, H, W, 1).

    It is computed in 16-bit fixed point: below 2^24, and so exact in float32.
    """
    red, green, blue = clip.float().split(1, -1)
    return (
        red.mul(19595)
        .add_(green, alpha=38470)
        .add_(blue, alpha=7471)
        .add_(0x8000)
        .div_(0x10000)
        .floor_()
    )


def _blend(flat: Tensor, clip: Tensor, factor: float) -> Tensor:
    """Computes flat + factor (clip - flat), clipped to 0 ... 255 and rounded towards zero."""
    base = flat.float()
    return clip.float().sub_(base).mul_(factor).add_(base).clamp_(0, 255).to(torch.uint8)
