"""How pixels are normalised, as in the reference code of X3D: every colour alike."""

from __future__ import annotations

MEAN, STD = 0.45, 0.225  # of pixels in [0, 1]
NORMALISATION = {"mean": MEAN, "std": STD}  # in files: (x / 255 - mean) / std
