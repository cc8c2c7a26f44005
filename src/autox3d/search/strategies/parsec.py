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

from autox3d.search.gradient_sum import GradientSum
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
    m stays on the device, so that the host waits for no network.
    """
    sums = GradientSum(parameters)
    largest, total, values = None, None, []
    for forward in draws:
        value = forward()
        level = value.detach().double() / scale
        if largest is None or total is None:
            largest, total = level, torch.zeros_like(level)
        before, largest = largest, torch.maximum(largest, level)
        shrink, weight = _exp(before - largest), _exp(level - largest)
        if level.is_cuda or shrink != 1:  # a GPU would have to be waited for
            sums.flat.mul_(shrink)
        sums.add(value * weight)
        total = total * shrink + weight
        values.append(value.detach())
    assert total is not None
    sums.flat.div_(total)
    return sums.parts(), torch.stack(values)


def _exp(number: Tensor) -> Tensor:
    """The exponential of one number; on a CPU that of the C library, which has no other last bit.

    torch's vectorised one differs from it in one of 200 numbers.
    """
    if number.is_cuda:
        return number.exp()
    return number.new_tensor(math.exp(number.item()))


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
