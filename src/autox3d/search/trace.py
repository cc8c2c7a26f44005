"""Metrics of each step of warm-up and search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from autox3d.search.likelihood import effective_draws


class Step(NamedTuple):
    """The metrics of one step; the networks are those sampled for alpha, or for a warm-up step."""

    epoch: int  # counted over warm-up and search
    step: int  # within the epoch
    lr: float  # learning rate of the weights
    loss: float  # nats per clip on the weights' half, mean over the sampled networks
    alpha_loss: float  # the same on alpha's half; nan in warm-up
    effective_draws: float  # 1 / sum W^2, mean over the chunks
    over_target: float  # share of the sampled networks above the target; nan in warm-up
    drawn_gmacs: float  # mean cost of the sampled networks, G multiply-adds
    expected_gmacs: float  # expected cost under the prior, after the step
    mode_gmacs: float  # cost of the most probable network, after the step
    entropy: tuple[float, ...]  # of each choice, 1 if uniform, after the step


class Sums(NamedTuple):
    """Sums over the sampled networks, chunks and processes in one half of a step."""

    loss: float  # nats, summed over networks and clips
    effective: float  # effective number of networks, summed over chunks
    over: float  # number of networks above the target
    cost: float  # G multiply-adds, summed over networks
    draws: float  # number of sampled networks
    chunks: float  # number of chunks


def chunk_sums(
    likelihoods: Tensor, weights: Tensor, costs: Sequence[float], target: float
) -> Tensor:
    """The contribution of one chunk to `Sums`, (6,) float64 on the CPU.

    Args:
        likelihoods: l_k, (K,)
        weights: W_k, (K,)
        costs: F_k, G multiply-adds
    """
    sums = Sums(
        loss=-likelihoods.double().sum().item(),
        effective=effective_draws(weights),
        over=sum(cost > target for cost in costs),
        cost=math.fsum(costs),
        draws=len(costs),
        chunks=1,
    )
    return torch.tensor(sums, dtype=torch.float64)


def pack(rows: Sequence[Step]) -> Tensor:
    """Packs the rows into (steps, columns) float64, for a checkpoint."""
    return torch.tensor([[*row[:-1], *row.entropy] for row in rows], dtype=torch.float64)


def unpack(table: Tensor) -> list[Step]:
    """The inverse of `pack`."""
    count = len(Step._fields) - 1
    return [
        Step(int(row[0]), int(row[1]), *row[2:count], entropy=tuple(row[count:]))
        for row in table.tolist()
    ]
