"""How the clips of a chunk make the weight of a draw, and how many draws count in the end."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor


class Likelihood(NamedTuple):
    """How the clips of a chunk make one importance; the papers leave it open."""

    reduction: Literal["sum", "mean"]  # of l_k over the clips of a chunk
    temperature: float  # W_k is the softmax of the reduced l_k over this

    def scale(self, clips: int) -> float:
        """What the sum over so many clips is divided by before the softmax."""
        return self.temperature * (clips if self.reduction == "mean" else 1)


def effective_draws(weights: Tensor) -> float:
    """1 / sum_k W_k^2: K where all draws count alike, 1 where one counts alone."""
    return 1 / weights.double().square().sum().item()
