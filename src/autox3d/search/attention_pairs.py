"""Whether attention helps, measured at the end of the warm-up on the same clips and networks.

Each chunk of clips of alpha's half sees a random network, and the network that differs from it in
one attention unit. The difference of their log-likelihoods has none of the noise that the clips and
the other choices make (common random numbers), so that a small effect can be told from none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from autox3d.core.search_records import AttentionPair, AttentionPairs
from autox3d.core.settings import Supernet as Shared
from autox3d.search.prior import Prior
from autox3d.search.space import Draw, Space
from autox3d.vision.clips.augment import chunks
from autox3d.vision.clips.loader import TrainLoader
from autox3d.vision.clips.store import Clips
from autox3d.vision.tasks.task import Task

CHUNKS = 256  # at most; a chunk is one pair for each unit
NONE = "none"


def attention_pairs(
    net: nn.Module, space: Space, clips: Clips, shared: Shared, device: torch.device
) -> AttentionPairs | None:
    """Compares every attention unit that can be left out with its absence; None if none can.

    One process does it, in a few minutes at most, so that the numbers do not depend on how many
    there are.

    Args:
        net: the supernet, (clips, draw) -> logits; it is left in evaluation mode
        clips: alpha's half, on which the weights were not trained
    """
    if not (units := removable(space)):
        return None
    size = shared.likelihood.clips
    loader = TrainLoader(
        clips=clips,
        spec=space.input,
        sampling=shared.sampling,
        seed=shared.seed,
        batch=size,
        chunk=size,
    )
    batches = islice(loader.epoch(0), CHUNKS)
    seen = (chunk[1:] for batch in batches for chunk in chunks(batch, device))
    rows = differences(net, space, units, seen, clips.task, shared.seed)
    tested = []
    for (choice, _, unit), gains in zip(units, zip(*rows, strict=True), strict=True):
        group, kind = space.choices[choice].group + 1, space.choices[choice].candidates[unit]
        tested.append(AttentionPair(group=group, unit=kind, **paired_t(gains)))
    return AttentionPairs(chunks=len(rows), clips_a_chunk=size, units=tuple(tested))


def removable(space: Space) -> list[tuple[int, int, int]]:
    """The attention units that can be left out: (choice, candidate without, candidate with)."""
    return [
        (number, choice.candidates.index(NONE), unit)
        for number, choice in enumerate(space.choices)
        if choice.column == "attention" and NONE in choice.candidates
        for unit, kind in enumerate(choice.candidates)
        if kind != NONE
    ]


@torch.no_grad()
def differences(
    net: nn.Module,
    space: Space,
    units: Sequence[tuple[int, int, int]],
    seen: Iterable[tuple[Tensor, Tensor]],
    task: Task,
    seed: int,
) -> list[list[float]]:
    """Log-likelihood with each unit less that without it, nats a clip: a row for each chunk.

    Args:
        seen: clips (B, 3, T, H, W) and labels (B, ...) of each chunk
    """
    net.eval()  # no dropout
    prior, generator = (
        Prior([len(choice.candidates) for choice in space.choices]),
        torch.Generator(),
    )
    generator.manual_seed(seed)
    rows = []
    for clips, labels in seen:
        (base,) = prior.sample(1, generator)
        pairs = [(_with(base, at, unit), _with(base, at, none)) for at, none, unit in units]
        of = {
            draw: _likelihood(net, task, clips, labels, draw)
            for draw in dict.fromkeys(draw for pair in pairs for draw in pair)
        }
        rows.append([of[there] - of[left_out] for there, left_out in pairs])
    return rows


def _with(draw: Draw, choice: int, candidate: int) -> Draw:
    return (*draw[:choice], candidate, *draw[choice + 1 :])


def _likelihood(net: nn.Module, task: Task, clips: Tensor, labels: Tensor, draw: Draw) -> float:
    """The mean log-likelihood of the clips, nats."""
    with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
        logits = net(clips, draw)
    return -task.loss(logits.double(), labels).item() / len(labels)


def paired_t(values: Sequence[float]) -> dict[str, float]:
    """The mean, its standard error, and their ratio t; 0 where there is nothing to tell."""
    count = len(values)
    mean = math.fsum(values) / count if count else 0.0
    spread = math.fsum((value - mean) ** 2 for value in values)
    error = math.sqrt(spread / (count * (count - 1))) if count > 1 else 0.0
    return {"gain": mean, "error": error, "t": mean / error if error > 0 else 0.0}
