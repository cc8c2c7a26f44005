"""AutoAugment's operations on clips, on the device of the clips (arXiv:1805.09501, Table 6).

    N clips, T frames, H x W pixels; counts (N, T, 3, 256): how many pixels of a frame have each
    level

Every frame of a clip gets the same operations at the same strength. Operations that depend on the
image (equalise, autocontrast, contrast) use the statistics of each frame separately. The results
equal Pillow's to the bit, with grey (128) where a shear or rotation uncovers pixels. Clips that get
the same kind of operation get it together, with the strengths in a tensor, so that a GPU is asked
for as many kernels for a batch as for a clip; what a clip becomes does not depend on the others.
Nothing here synchronises with a GPU. Operations on levels are merged into one lookup table for each
frame and colour before they are applied to pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor

from autox3d.vision.clips.augment_policy import Operation

FILL = 128
Run = tuple[Operation, ...]  # operations of a clip that are applied by one function


def autoaugment(clip: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Applies the operations in order: (T, H, W, 3) -> the same shape.

    Clips are uint8, or floats in [0, 1], which are rounded to multiples of 1/255.
    """
    if not operations:
        return clip
    if clip.is_floating_point():
        levels = autoaugment((clip * 255).round().to(torch.uint8), operations)
        return levels.to(clip.dtype) / 255
    return autoaugmented([clip], [operations])[0]


def autoaugmented(
    clips: Sequence[Tensor], operations: Sequence[Sequence[Operation]]
) -> list[Tensor]:
    """Applies to each clip its own operations in order: uint8 (T, H, W, 3), all of one shape."""
    done = list(clips)
    for turn in zip_longest(*map(_runs, operations)):
        kinds: dict[str, list[int]] = {}
        for index, step in enumerate(turn):
            if step is not None:
                kinds.setdefault(step[0], []).append(index)
        for kind, which in kinds.items():
            some = [done[index] for index in which]
            together = some[0][None] if len(some) == 1 else torch.stack(some)
            runs = [turn[index][1] for index in which]
            for index, clip in zip(which, _applied(together, kind, runs).unbind(), strict=True):
                done[index] = clip
    return done


def _runs(operations: Sequence[Operation]) -> Iterator[tuple[str, Run]]:
    """The steps of a clip: each with its kind, and with one operation, or several on levels."""
    for maps_levels, same in groupby(operations, lambda one: one.name not in PIXELS):
        run = tuple(same)
        if maps_levels and any(one.name in TABLES for one in run):
            yield "tables", run
        else:
            for one in run:
                yield one.name, (one,)


def _applied(clips: Tensor, kind: str, runs: Sequence[Run]) -> Tensor:
    """Applies a step of one kind to (N, T, H, W, 3)."""
    if kind == "tables":
        return _by_tables(clips, runs)
    return (LEVELS | PIXELS)[kind](clips, [run[0] for run in runs])


def _each(values: Sequence[float], dtype: torch.dtype, like: Tensor) -> Tensor:
    """A number for each clip, (N, 1, 1, 1, 1), on the device of the clips."""
    made = torch.tensor(values, dtype=dtype)
    pinned = made.pin_memory() if like.is_cuda else made  # else the copy would wait
    return pinned.to(like.device, non_blocking=True).view(-1, 1, 1, 1, 1)


def invert(levels: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Inverts all levels: 255 - x."""
    return ~levels


def solarize(levels: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Inverts the levels above a threshold, 256 ... 0 for strengths 0 ... 1."""
    thresholds = [math.ceil(256 - 256 * one.strength) for one in operations]
    bright = levels.short() >= _each(thresholds, torch.int16, levels)
    return levels ^ -bright.to(torch.uint8)  # -1 has all bits set


def posterize(levels: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Keeps the upper 8 ... 4 bits of each level, for strengths 0 ... 1."""
    kept = [256 - 2 ** round(4 * one.strength) for one in operations]
    return levels & _each(kept, torch.uint8, levels)


def equalize(counts: Tensor) -> Tensor:
    """The lookup table that flattens each histogram: (N, T, 3, 256) -> the same shape, int64."""
    levels = torch.arange(256, device=counts.device)
    brightest = (levels * (counts > 0)).amax(-1, keepdim=True)
    step = (counts.sum(-1, keepdim=True) - counts.gather(-1, brightest)) // 255
    below = counts.cumsum(-1) - counts
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, table, levels)


def autocontrast(counts: Tensor) -> Tensor:
    """The lookup table that stretches each histogram to 0 ... 255, (N, T, 3, 256) int64."""
    levels = torch.arange(256, device=counts.device)
    low = torch.where(counts > 0, levels, 255).amin(-1, keepdim=True)
    high = torch.where(counts > 0, levels, 0).amax(-1, keepdim=True)
    scale = 255 / (high - low).clamp(min=1).double()
    table = (levels * scale - low * scale).trunc().clamp(0, 255).long()
    return torch.where(high > low, table, levels)


def rotate(clips: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Rotates about the centre by up to 30 degrees in either direction; nearest pixel."""
    turns = [-math.radians(one.sign * one.strength * 30) for one in operations]
    parts = [(math.cos(t), math.sin(t), -math.sin(t), math.cos(t)) for t in turns]
    return _affine(clips, parts)


def shear_x(clips: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Shears about the centre by up to 0.3 px per row in either direction; nearest pixel."""
    return _affine(clips, [(1.0, one.sign * one.strength * 0.3, 0.0, 1.0) for one in operations])


def color(clips: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Multiplies the saturation by 0.1 ... 1.9."""
    return _blend(_grey(clips), clips, operations)


def contrast(clips: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Multiplies the difference from the frame's mean grey by 0.1 ... 1.9."""
    mean = _grey(clips).double().mean((2, 3, 4), keepdim=True)
    return _blend((mean + 0.5).floor(), clips, operations)


def sharpness(clips: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Multiplies the difference from a 3x3 smoothing by 0.1 ... 1.9, except at the border."""
    wide = clips.short()
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    total = rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]
    total += 4 * wide[:, :, 1:-1, 1:-1]
    smooth = clips.float()
    smooth[:, :, 1:-1, 1:-1] = ((2 * total + 13) / 26).floor()
    return _blend(smooth, clips, operations)


Function = Callable[[Tensor, Sequence[Operation]], Tensor]
LEVELS: dict[str, Function] = {
    operation.__name__: operation for operation in (invert, solarize, posterize)
}  # maps of single levels, the same for all frames
TABLES: dict[str, Callable[[Tensor], Tensor]] = {
    operation.__name__: operation for operation in (equalize, autocontrast)
}  # maps of levels that depend on each frame's histograms
PIXELS: dict[str, Function] = {
    operation.__name__: operation for operation in (rotate, shear_x, color, contrast, sharpness)
}


def _by_tables(clips: Tensor, runs: Sequence[Run]) -> Tensor:
    """Applies operations of LEVELS and TABLES by one lookup table per frame and colour."""
    shape = (*clips.shape[:2], 3, 256)
    first = torch.arange(0, math.prod(shape), 256, device=clips.device)
    place = clips.long().add_(first.view(*shape[:2], 1, 1, 3)).flatten()  # into `shape`
    one = torch.ones((), dtype=torch.int32, device=clips.device)
    counts = one.new_zeros(shape).flatten().scatter_add_(0, place, one.expand(len(place)))
    counts = counts.view(shape).long()
    table = torch.arange(256, device=clips.device).expand(shape)
    for operations in zip_longest(*runs):
        then = _tables(counts, operations)
        table = then.gather(-1, table)
        counts = torch.zeros_like(counts).scatter_add_(-1, then, counts)
    return table.to(torch.uint8).flatten().gather(0, place).view(clips.shape)


def _tables(counts: Tensor, operations: Sequence[Operation | None]) -> Tensor:
    """The lookup table of an operation of each clip, int64 (N, T, 3, 256); None changes nothing."""
    names = [one.name if one else "" for one in operations]
    if len(set(names)) == 1 and names[0] in TABLES:
        return TABLES[names[0]](counts)
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 1, -1)
    maps = [
        LEVELS[one.name](every, [one]) if one and one.name in LEVELS else every
        for one in operations
    ]
    levels = torch.cat(maps).view(len(maps), 1, 1, 256)
    levels = levels.pin_memory() if counts.is_cuda else levels
    then = levels.to(counts.device, non_blocking=True).long().expand(counts.shape)
    for name in sorted(TABLES.keys() & set(names)):
        chosen = _each([one == name for one in names], torch.bool, counts)[..., 0]
        then = torch.where(chosen, TABLES[name](counts), then)
    return then


def _affine(clips: Tensor, parts: Sequence[tuple[float, float, float, float]]) -> Tensor:
    """Takes pixel (x, y) from (a x + b y, d x + e y), in coordinates from the centre."""
    count, frames, height, width, _ = clips.shape
    y, x = (
        torch.arange(size, dtype=torch.float64, device=clips.device) + 0.5 - size / 2
        for size in (height, width)
    )
    a, b, d, e = (
        _each(numbers, torch.float64, clips).view(-1, 1) for numbers in zip(*parts, strict=True)
    )
    column = ((a * x)[:, None] + (b * y + width / 2)[:, :, None]).floor().long()
    row = ((d * x)[:, None] + (e * y + height / 2)[:, :, None]).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = torch.where(inside, row * width + column, height * width)  # the grey one after them
    pixels = F.pad(clips.reshape(count, frames, -1, 3), (0, 0, 0, 1), value=FILL)
    pairs = zip(pixels, place.flatten(1), strict=True)
    taken = [clip.index_select(1, of_clip) for clip, of_clip in pairs]
    return (taken[0] if count == 1 else torch.stack(taken)).view(clips.shape)


def _grey(clips: Tensor) -> Tensor:
    """ITU-R 601 luma rounded to whole numbers, float32 (N, T, H, W, 1).

    It is computed in 16-bit fixed point: below 2^24, and so exact in float32.
    """
    red, green, blue = clips.float().split(1, -1)
    return (
        red.mul(19595)
        .add_(green, alpha=38470)
        .add_(blue, alpha=7471)
        .add_(0x8000)
        .div_(0x10000)
        .floor_()
    )


def _blend(flat: Tensor, clips: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Computes flat + factor (clip - flat), clipped to 0 ... 255 and rounded towards zero."""
    factors = _each([1 + o.sign * 0.9 * o.strength for o in operations], torch.float32, clips)
    base = flat.float()
    return clips.float().sub_(base).mul_(factors).add_(base).clamp_(0, 255).to(torch.uint8)
