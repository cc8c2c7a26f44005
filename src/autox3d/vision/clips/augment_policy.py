"""AutoAugment's policy for ImageNet (arXiv:1805.09501, Table 9), and sampling from it.

The loader samples the operations; `vision/clips/autoaugment.py` applies them on the device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Each row has two operations: (name, probability, magnitude in 0..9). Rows are equally likely.
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


class Operation(NamedTuple):
    """One augmentation, applied alike to all frames of a clip."""

    name: str
    strength: float  # 0 to 1
    sign: int  # 1 or -1, for operations that have a direction


Operations = tuple[Operation, ...]  # of one clip, in order; often none


def draw(rng: np.random.Generator) -> Operations:
    """Samples the operations of one clip from a row of the policy.

    It always takes five numbers from `rng`, whatever the result.
    """
    row = POLICY[rng.integers(len(POLICY))]
    chances, sides = rng.random(2), rng.random(2) < 0.5
    return tuple(
        Operation(name, magnitude / 9, -1 if side else 1)
        for (name, probability, magnitude), chance, side in zip(row, chances, sides, strict=True)
        if chance < probability
    )
