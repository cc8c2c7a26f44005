"""PARSEC: learn a distribution over networks, keep its mode (arXiv:1902.05116; A3D 4.1).

    omega  weights, shared by all networks
    alpha  logits of the prior
    A_k    network k of K, drawn from P(A | alpha)
    l_k    log-likelihood of a chunk of clips under A_k, nats
    W_k    importance of A_k: softmax of l_k over k
    m_k    the share of grad log P(A_k | alpha) in the gradient for alpha

The likelihood of a chunk is 1/K sum_k exp(l_k). Its logarithm has the gradient sum_k W_k grad l_k
for omega and, since no gradient need pass through a network, sum_k W_k grad log P(A_k) for alpha.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from autox3d.search.prior import Prior
from autox3d.search.strategy import Forward, Strategy


def importance(likelihoods: Tensor, scale: float) -> Tensor:
    """l_k -> W_k, (K,)."""
    return (likelihoods / scale).softmax(0)


def weight_gradient(
    draws: Iterable[Forward], parameters: Sequence[nn.Parameter], scale: float
) -> tuple[list[Tensor], Tensor]:
    """sum_k W_k grad l_k, with the activations of one draw in memory at a time; and l_k, (K,).

    A streaming softmax: each gradient enters with weight exp(l_k - m), m the largest l so far
    (both over `scale`); where m grows, what has been summed shrinks by as much. The parameters'
    `grad` is used as the place of the sum and left empty.
    """
    largest, total, found = -math.inf, 0.0, []
    for parameter in parameters:
        parameter.grad = None
    for forward in draws:
        value = forward()
        level = value.item() / scale
        if level > largest:
            shrink = math.exp(largest - level)
            total *= shrink
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(shrink)
            largest = level
        weight = math.exp(level - largest)
        (value * weight).backward()
        total += weight
        found.append(value.detach())
    gradient = [_taken(parameter, total) for parameter in parameters]
    return gradient, torch.stack(found)


def _taken(parameter: nn.Parameter, total: float) -> Tensor:
    """The normalised gradient; zero for a part that no draw touched."""
    grad, parameter.grad = parameter.grad, None
    return torch.zeros_like(parameter) if grad is None else grad.div_(total)


def alpha_gradient(
    prior: Prior, draws: Sequence[tuple[int, ...]], weights: Tensor, pull: Tensor
) -> Tensor:
    """sum_k m_k grad log P(A_k | alpha), to go up: the shape of alpha.

    m_k = (W_k - 1/K) - pull_k. The 1/K takes nothing from the expectation, since the mean of
    grad log P is zero, but most of the noise where the draws are about equally good.
    """
    if len(draws) < 2:
        raise ValueError("one draw has importance 1 whatever it is worth: K must be 2 or more")
    share = weights.to(torch.float64).cpu() - 1 / len(draws) - pull
    return torch.autograd.grad((share * prior.log_prob(draws)).sum(), prior.alpha)[0]


STRATEGY = Strategy(
    propose=Prior.sample,
    weigh=importance,
    weight_gradient=weight_gradient,
    alpha_gradient=alpha_gradient,
    choose=Prior.mode,
)
