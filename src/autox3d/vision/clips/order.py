"""The order of an epoch, and the assignment of each step's chunks to processes, without torch.

    N clips or videos of a table, B clips per step over all processes

The order of an epoch is a function of (seed, epoch). So it does not depend on the numbers of
workers and processes, and a run can resume in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autox3d.core.errors import Refused


def epoch_shape(count: int, batch: int) -> tuple[int, int]:
    """Returns the number of steps in an epoch, and the number of clips in a step.

    Clips that do not fill a last batch are left out of the epoch. If there are fewer clips than a
    batch, they make one step.
    """
    return max(1, count // batch), min(batch, count)


def epoch_order(count: int, batch: int, seed: int, epoch: int, repeats: int = 1) -> np.ndarray:
    """Shuffles the videos into steps, (steps, B) int64; each occurs `repeats` times in a row.

    Repeats do not change the length of an epoch: it has fewer videos.
    """
    steps, size = epoch_shape(count, batch)
    order = np.random.default_rng((seed, epoch)).permutation(count).repeat(repeats)
    return order[: steps * size].reshape(steps, size)


def epoch_jobs(
    count: int,
    batch: int,
    chunk: int,
    seed: int,
    epoch: int,
    *,
    world: tuple[int, int] = (0, 1),
    numbers: Sequence[int] | None = None,
    start: int = 0,
    repeats: int = 1,
) -> tuple[Sequence[int], list[list[np.ndarray]]]:
    """Lists the chunks of an epoch of `count` clips that process `world[0]` of `world[1]` makes.

    Args:
        numbers: the numbers of its chunks, in the order of work; None: every `world[1]`-th

    Returns:
        the numbers of its chunks, the same in every step; and for each step from `start` on, its
        chunks, each (clips, 2) int64: the clip's row in the table, and its index in the video.

    Raises:
        Refused: there are more processes than chunks.
    """
    order = epoch_order(count, batch, seed, epoch, repeats)
    repeat = np.arange(order.size).reshape(order.shape) % repeats
    pairs = np.stack((order, repeat), 2)[start:]
    if numbers is None:
        numbers = _dealt(order.shape[1], chunk, *world)
    parts = [slice(number * chunk, (number + 1) * chunk) for number in numbers]
    return numbers, [[step[part] for part in parts] for step in pairs]


def _dealt(clips: int, chunk: int, rank: int, size: int) -> range:
    """The numbers of the chunks in a step that process `rank` of `size` works on."""
    count = -(-clips // chunk)
    if count < size:
        raise Refused(
            f"params.yaml: a step of {clips} clips is {count} chunks of {chunk}, "
            f"too few for {size} processes. Raise the batch, or use fewer."
        )
    return range(rank, count, size)
