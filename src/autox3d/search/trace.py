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
    budget: float  # expected cost over the target, in the budget's unit, after the step
    multiplier: float  # lambda of the cost form `dual`, after the step; 0 in the other forms
    noise: float  # root mean square of the clips' part of alpha's gradient; nan in warm-up
    spread: float  # nats, standard deviation of l_k in a chunk, mean over chunks; nan for one draw
    entropy: tuple[float, ...]  # of each choice, 1 if uniform, after the step


class Half(NamedTuple):
    """One half of a step, over all processes."""

    nats: float  # loss of all clips, mean over the sampled networks
    effective: float  # effective number of networks, mean over chunks
    spread: float  # as in `Step`
    gmacs: float  # mean cost of the sampled networks, G multiply-adds
    over: float  # share of the sampled networks above the target
    noise: float = math.nan  # as in `Step`; of alpha's half


def half_of(likelihoods: Tensor, weights: Tensor, drawn: tuple[float, float]) -> Half:
    """Makes the metrics from l_k and W_k, both (chunks, K) float64.

    Args:
        drawn: the networks' mean G multiply-adds, and their share above the target
    """
    draws = likelihoods.shape[1]
    return Half(
        nats=-likelihoods.sum().item() / draws,
        effective=sum(map(effective_draws, weights)) / len(weights),
        spread=likelihoods.std(1).mean().item() if draws > 1 else math.nan,
        gmacs=drawn[0],
        over=drawn[1],
    )


def pack(rows: Sequence[Step]) -> Tensor:
    """Packs the rows into (steps, columns) float64."""
    return torch.tensor([[*row[:-1], *row.entropy] for row in rows], dtype=torch.float64)


def unpack(table: Tensor, choices: int) -> list[Step]:
    """The inverse of `pack`; the last columns, which rows of earlier versions lack, become nan."""
    values = table[:, : table.shape[1] - choices]
    missing = len(Step._fields) - 1 - values.shape[1]
    filled = torch.cat((values, values.new_full((len(values), missing), math.nan)), 1)
    return [
        Step(int(row[0]), int(row[1]), *row[2:], entropy=tuple(entropy))
        for row, entropy in zip(filled.tolist(), table[:, values.shape[1] :].tolist(), strict=True)
    ]
