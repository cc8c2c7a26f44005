"""Normalisation of pixels to the input of a network."""

from __future__ import annotations

from torch import Tensor

from autox3d.vision.arch.normalisation import MEAN, STD


def normalise(clips: Tensor) -> Tensor:
    """Normalises uint8 (B, T, H, W, 3) -> float32 (B, 3, T, H, W), in channels_last_3d."""
    return clips.permute(0, 4, 1, 2, 3).float().mul_(1 / (255 * STD)).sub_(MEAN / STD)
