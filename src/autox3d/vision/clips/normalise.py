"""Pixels as networks take them."""

from __future__ import annotations

from torch import Tensor

MEAN, SPREAD = 0.45, 0.225  # of pixels in [0, 1], every colour alike (the reference code of X3D)


def normalise(clips: Tensor) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float32 (B, 3, T, H, W), a channels_last_3d view."""
    return clips.permute(0, 4, 1, 2, 3).float().mul_(1 / (255 * SPREAD)).sub_(MEAN / SPREAD)
