"""The learning rate's schedule, and the optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


def cosine(step: int, total: int, warmup: int, peak: float) -> float:
    """The learning rate of `step` out of `total`: linear warm-up, then a half-period cosine.

    The cosine starts from `peak` at step 0. The warm-up ends at the cosine's value after `warmup`
    steps, so that the schedule is continuous (A3D 5.1: half-period cosine, linear warm-up for the
    first 34 of 300 epochs).
    """
    rate = 0.5 * peak * (1 + math.cos(math.pi * step / total))
    if step >= warmup:
        return rate
    reached = 0.5 * peak * (1 + math.cos(math.pi * warmup / total))
    return reached * (step + 1) / (warmup + 1)


def stepped(step: int, total: int, warmup: int, peak: float, drops: Sequence[float]) -> float:
    """The learning rate of `step` out of `total`: linear warm-up, then a tenth at each drop.

    Args:
        drops: where in the run, in shares of `total`
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.1 ** sum(step >= drop * total for drop in drops)


def scaled_rate(lr: float, batch: int) -> float:
    """Scales `lr`, given for 256 clips per step, linearly with the batch (arXiv:1706.02677)."""
    return lr * batch / 256


def sgd(net: nn.Module, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Builds SGD without weight decay for batch norms, as in X3D's code; `lr` starts at 0.

    On a GPU, one kernel updates many parameters; on a CPU it is torch's own choice.
    """
    norms = [p for m in net.modules() if is_norm(m) for p in m.parameters(recurse=False)]
    spared = {id(p) for p in norms}
    decayed = [p for p in net.parameters() if id(p) not in spared]
    groups = [{"params": decayed}, {"params": norms, "weight_decay": 0.0}]
    fused = all(p.is_cuda for p in net.parameters()) or None
    return torch.optim.SGD(
        groups, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=fused
    )


def is_norm(module: nn.Module) -> bool:
    """Whether the module is a batch norm, that is, has running statistics."""
    return hasattr(module, "running_mean")
