"""PARSEC: learns a distribution over networks and keeps its mode (arXiv:1902.05116; A3D 4.1).

    omega  weights, shared by all networks
    alpha  logits of the prior
    A_k    network k of K, sampled from P(A | alpha)
    l_k    log-likelihood of a chunk of clips under A_k, nats
    W_k    importance of A_k, the softmax of l_k over k

The likelihood of a chunk is 1/K sum_k exp(l_k). The gradient of its logarithm is sum_k W_k grad l_k
for omega, and sum_k W_k grad log P(A_k) for alpha, which needs no backward pass through a network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from autox3d.search.prior import Prior
from autox3d.search.space import Draw
from autox3d.search.strategy import Forward, Strategy


def importance(likelihoods: Tensor, scale: float) -> Tensor:
    """Computes the importances W_k (K,) from the log-likelihoods l_k (K,)."""
    return (likelihoods / scale).softmax(0)


def weight_gradient(
    draws: Iterable[Forward], parameters: Sequence[nn.Parameter], scale: float
) -> tuple[list[Tensor], Tensor]:
    """Computes sum_k W_k grad l_k and l_k (K,); keeps the activations of one network at a time.

    This is a streaming softmax: each gradient is added with the weight exp(l_k - m), where m is the
    largest l so far (both divided by `scale`). When m grows, the sum is scaled down accordingly.
    The sum is accumulated in the parameters' `grad`, which is None afterwards.
    """
    largest, total, values = -math.inf, 0.0, []
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
        values.append(value.detach())
    gradient = [_taken(parameter, total) for parameter in parameters]
    return gradient, torch.stack(values)


def _taken(parameter: nn.Parameter, total: float) -> Tensor:
    """Takes the normalised gradient of a parameter; zero if no network used it."""
    grad, parameter.grad = parameter.grad, None
    return torch.zeros_like(parameter) if grad is None else grad.div_(total)


def alpha_gradient(prior: Prior, draws: Sequence[Sequence[Draw]], weights: Tensor) -> Tensor:
    """Computes sum_k (W_k - 1/K) grad log P(A_k | alpha), summed over chunks.

    The baseline 1/K does not change the expectation, as the mean of grad log P is zero, but removes
    most of the noise when the networks are about equally good.

    Args:
        draws: the networks of each chunk, C times K
        weights: W_k of each chunk, (C, K) float64 on the CPU

    Returns:
        an ascent direction of the shape of alpha
    """
    if weights.shape[1] < 2:
        raise ValueError("one network alone always has importance 1: K must be 2 or more")
    shares = weights - 1 / weights.shape[1]
    return prior.score([one for chunk in draws for one in chunk], shares.flatten())


STRATEGY = Strategy(
    propose=Prior.sample,
    weigh=importance,
    weight_gradient=weight_gradient,
    alpha_gradient=alpha_gradient,
    choose=Prior.mode,
)
