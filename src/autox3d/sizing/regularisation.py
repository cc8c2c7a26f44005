"""When an expansion regularises more, and how much (X3D, A.3).

X3D regularises more "if the training error of the previous expansion step starts to deviate from
the validation error", and prints at which steps that was. Both can be asked for: fixed steps, or
the gap between the errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from autox3d.core.values import Regularisation

X3D = (  # A.3; drop-connect 0.2 in the preprint alone
    Regularisation(step=1, batch=2.0, epochs=0.5, bn_clips=16, drop_connect=0.0),
    Regularisation(step=8, batch=1.0, epochs=1.0, bn_clips=8, drop_connect=0.0),
    Regularisation(step=11, batch=1.0, epochs=1.0, bn_clips=8, drop_connect=0.1),
    Regularisation(step=13, batch=1.0, epochs=1.0, bn_clips=8, drop_connect=0.2),
)


def by_step(levels: Sequence[Regularisation], step: int) -> Regularisation:
    """The level of a step, counted from 1: the last one that has begun.

    Raises:
        ValueError: no level has begun.
    """
    begun = [level for level in levels if level.step <= step]
    if not begun:
        raise ValueError(f"no level of regularisation has begun at step {step}")
    return max(begun, key=lambda level: level.step)


def by_gap(levels: Sequence[Regularisation], gaps: Sequence[float], most: float) -> Regularisation:
    """The level of the step after those with these gaps, whatever steps the levels name.

    Each step whose gap is above `most` raises the level by one, up to the last level.

    Args:
        levels: from the weakest to the strongest
        gaps: of each earlier step, the error of its network on validation less that on training
        most: the gap that is still taken for none
    """
    return levels[min(sum(gap > most for gap in gaps), len(levels) - 1)]
