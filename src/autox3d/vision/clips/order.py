"""The order of an epoch, and which process works on which chunk of each step. No torch.

    N clips or videos of a table, B clips a step over all processes

The order of an epoch is a function of (seed, epoch), so neither the number of workers nor of
processes changes it, and a run that resumes in the middle of an epoch begins there.
"""

from __future__ import annotations

import numpy as np

from autox3d.core.errors import Refused


def epoch_shape(count: int, batch: int) -> tuple[int, int]:
    """Steps of an epoch, and clips of a step.

    Clips that do not fill a last batch wait for the next epoch's order; nothing is repeated to
    fill it. Fewer clips than one batch are one step.
    """
    return max(1, count // batch), min(batch, count)


def epoch_order(count: int, batch: int, seed: int, epoch: int, repeats: int = 1) -> np.ndarray:
    """(steps, B) int64: the videos of each step, each `repeats` times side by side.

    An epoch is as long with repeats as without, of fewer videos.
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
    start: int = 0,
    repeats: int = 1,
) -> tuple[range, list[list[np.ndarray]]]:
    """What process `world[0]` of `world[1]` makes of an epoch of `count` clips, from `start` on.

    The numbers of its chunks in every step, and for each step those chunks: (clips, 2) int64, the
    row of each clip in the table and which of the video's clips it is.

    Raises:
        Refused: there are more processes than chunks.
    """
    order = epoch_order(count, batch, seed, epoch, repeats)
    repeat = np.arange(order.size).reshape(order.shape) % repeats
    pairs = np.stack((order, repeat), 2)[start:]
    numbers = _dealt(order.shape[1], chunk, *world)
    parts = [slice(number * chunk, (number + 1) * chunk) for number in numbers]
    return numbers, [[step[part] for part in parts] for step in pairs]


def _dealt(clips: int, chunk: int, rank: int, size: int) -> range:
    """The numbers of the chunks of a step that process `rank` of `size` works on."""
    count = -(-clips // chunk)
    if count < size:
        raise Refused(
            f"params.yaml: a step of {clips} clips is {count} chunks of {chunk}, "
            f"too few for {size} processes. Raise the batch, or use fewer."
        )
    return range(rank, count, size)
