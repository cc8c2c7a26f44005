"""What a search has gathered for and against each candidate: the basis of its decisions.

    g  the clips' part of alpha's gradient in one step: for candidate a of a choice, the mean over
       chunks of sum_k (W_k - 1/K) (1[A_k = a] - P(a))

If the clips do not prefer any candidate, the mean of each g is zero whatever alpha is, since
networks are sampled independently of the clips. So the sum of g over the steps, over the root of
the sum of its squares, is close to a standard normal, which alpha's probability is not: Adam scales
up noise until alpha is certain of something. The t-value of one candidate against another is that
of the difference of their g.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Evidence:
    """Sums over the steps of a search."""

    def __init__(self, shape: tuple[int, int]) -> None:
        """`shape` is that of alpha: (choices, most candidates)."""
        choices, most = shape
        self.clips = torch.zeros(shape, dtype=torch.float64)  # sum of g
        self.budget = torch.zeros(shape, dtype=torch.float64)  # sum of the cost term's gradient
        self.products = torch.zeros((choices, most, most), dtype=torch.float64)  # sum of g g'

    def add(self, clips: Tensor, budget: Tensor) -> None:
        """Adds the two parts of the gradient of one step, each of the shape of alpha."""
        self.clips += clips
        self.budget += budget
        self.products += clips[:, :, None] * clips[:, None, :]

    def state_dict(self) -> dict[str, Tensor]:
        """The sums, for a checkpoint."""
        return {"clips": self.clips, "budget": self.budget, "products": self.products}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores the sums of `state_dict`; an empty one, of an earlier version, leaves zeros."""
        for name, tensor in saved.items():
            getattr(self, name).copy_(tensor)
