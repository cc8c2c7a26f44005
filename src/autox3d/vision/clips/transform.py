"""Pixels of a clip, from the decoder's frames to what the network's device gets."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autox3d.vision.clips.views import Box


def cut(frames: np.ndarray, box: Box, size: int, flip: bool = False) -> Tensor:
    """uint8 (T, H, W, 3) -> uint8 (T, size, size, 3), contiguous: the box, then resized."""
    top, left, side = box
    pixels = resized(torch.from_numpy(frames)[:, top : top + side, left : left + side], size, size)
    return (pixels.flip(2) if flip else pixels).contiguous()


def resized(frames: Tensor, height: int, width: int) -> Tensor:
    """uint8 (T, H, W, 3) -> uint8 (T, height, width, 3), with antialiasing.

    In eight bits and with the colours innermost: a twelfth of the time that floats take.
    """
    if frames.shape[1:3] == (height, width):
        return frames
    channels_last = frames.permute(0, 3, 1, 2)
    pixels = F.interpolate(
        channels_last, size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return pixels.permute(0, 2, 3, 1)
