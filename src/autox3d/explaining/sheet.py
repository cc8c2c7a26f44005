"""A contact sheet: frames of a clip in a row, and below them the same frames lit by heat maps.

T frames, S x S pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FRAMES = 8  # frames of a clip on a sheet, at most
TILE, GAP = 112, 2  # px of a frame, and between two frames
DARK = 0.2  # share of its brightness that a pixel keeps where a map is 0
QUALITY = 4  # the quantiser of MJPEG, 2 (best) to 31


def shown(count: int) -> np.ndarray:
    """The frames that a sheet shows of a clip with `count` frames, the first and last included."""
    return np.linspace(0, count - 1, min(count, FRAMES)).round().astype(int)


def sheet(clip: Tensor, maps: Sequence[Tensor]) -> np.ndarray:
    """The sheet, uint8 (height, width, 3) on white: a row of frames, and a row for each map.

    Args:
        clip: uint8 (T, S, S, 3)
        maps: (T, H, W) each, of any size; each is scaled by its own maximum
    """
    at = shown(len(clip))
    frames = _resized(clip[at].permute(0, 3, 1, 2).float())
    rows = [frames]
    for heat in maps:
        share = heat[at] / heat.max().clamp_min(torch.finfo(heat.dtype).tiny)
        rows.append(frames * (DARK + (1 - DARK) * _resized(share[:, None])))
    padded = [F.pad(row, (0, GAP, 0, GAP), value=255.0) for row in rows]
    grid = torch.cat([torch.cat(list(row), 2) for row in padded], 1)[:, :-GAP, :-GAP]
    return grid.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def framed(clip: Tensor, box: Tensor) -> Tensor:
    """The clip, uint8 (T, S, S, 3), with a white line around a box, (4,) shares of its sides."""
    side = clip.shape[1]
    left, top, right, bottom = (box * (side - 1)).round().int().tolist()
    drawn = clip.clone()
    drawn[:, [top, bottom], left : right + 1] = 255
    drawn[:, top : bottom + 1, [left, right]] = 255
    return drawn


def _resized(x: Tensor) -> Tensor:
    """(T, C, H, W) -> (T, C, TILE, TILE)."""
    return F.interpolate(x, (TILE, TILE), mode="bilinear", antialias=True, align_corners=False)


def jpeg(pixels: np.ndarray) -> bytes:
    """Encodes uint8 (height, width, 3) as a JPEG file, with the same bytes each time."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuvj444p", Fraction(1)
    quality = str(QUALITY * 118)  # FF_QP2LAMBDA
    encoder.options = {"flags": "+bitexact+qscale", "global_quality": quality}
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj444p")
    frame.pts = 0
    return b"".join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)]))
