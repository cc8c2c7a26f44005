"""The weighting of sampled networks by the clips of a chunk, and the effective sample size."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor


class Likelihood(NamedTuple):
    """How the log-likelihoods of a chunk become importances; the papers do not specify it."""

    reduction: Literal["sum", "mean"]  # of the clips' log-likelihoods, to l_k
    temperature: float  # W_k is the softmax over k of l_k / temperature
    classes: int = 1  # that the loss of a clip is the mean of; their likelihoods are multiplied

    def scale(self, clips: int) -> float:
        """The divisor of a sum over `clips` clips before the softmax."""
        return self.temperature * (clips if self.reduction == "mean" else 1) / self.classes


def effective_draws(weights: Tensor) -> float:
    """Returns 1 / sum_k W_k^2: K if all weights are equal, 1 if one network has all the weight."""
    return 1 / weights.double().square().sum().item()
