"""The normalisation of pixels, the same for every colour, as in the reference code of X3D."""

from __future__ import annotations

MEAN, STD = 0.45, 0.225  # of pixels in [0, 1]
NORMALISATION = {"mean": MEAN, "std": STD}  # in files: (x / 255 - mean) / std
