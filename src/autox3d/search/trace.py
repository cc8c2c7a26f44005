"""What the search tells of each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from autox3d.search.likelihood import effective_draws


class Step(NamedTuple):
    """One row. Its draws are those for alpha; in warm-up, those for the weights."""

    epoch: int  # counted over warm-up and search
    step: int  # in its epoch
    lr: float
    loss: float  # nats a clip, mean over the draws, weights half
    alpha_loss: float  # the same in the alpha half; nan in warm-up
    effective_draws: float  # 1 / sum W^2, mean over the chunks
    over_target: float  # share of the draws that cost more than the target; nan in warm-up
    drawn_gmacs: float  # mean cost of the draws
    expected_gmacs: float  # of a draw from the prior, after the step
    mode_gmacs: float  # of the most probable network, after the step
    entropy: tuple[float, ...]  # of each choice, 1 where uniform, after the step


class Sums(NamedTuple):
    """What one half of a step adds up over draws, chunks and processes."""

    loss: float  # nats, over draws and clips
    effective: float  # draws, over chunks
    over: float  # draws above the target
    cost: float  # G multiply-adds, over draws
    draws: float
    chunks: float


def chunk_sums(
    likelihoods: Tensor, weights: Tensor, costs: Sequence[float], target: float
) -> Tensor:
    """One chunk's part of `Sums`, (6,) float64 on the CPU.

    Args:
        likelihoods: l_k, (K,)
        weights: W_k, (K,)
        costs: F_k, G multiply-adds
    """
    found = Sums(
        loss=-likelihoods.double().sum().item(),
        effective=effective_draws(weights),
        over=sum(cost > target for cost in costs),
        cost=math.fsum(costs),
        draws=len(costs),
        chunks=1,
    )
    return torch.tensor(found, dtype=torch.float64)


def pack(rows: Sequence[Step]) -> Tensor:
    """(steps, columns) float64: the rows as a checkpoint keeps them."""
    return torch.tensor([[*row[:-1], *row.entropy] for row in rows], dtype=torch.float64)


def unpack(table: Tensor) -> list[Step]:
    """The inverse of `pack`."""
    count = len(Step._fields) - 1
    return [
        Step(int(row[0]), int(row[1]), *row[2:count], entropy=tuple(row[count:]))
        for row in table.tolist()
    ]
