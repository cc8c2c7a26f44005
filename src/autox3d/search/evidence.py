"""What a search has gathered for and against each candidate: the basis of its decisions.

    g  the clips' part of alpha's gradient in one step: for candidate a of a choice, the mean over
       chunks of sum_k (W_k - 1/K) (1[A_k = a] - P(a))

If the clips do not prefer any candidate, the mean of each g is zero whatever alpha is, since
networks are sampled independently of the clips. So the sum of g over the steps, over the root of
the sum of its squares, is close to a standard normal, which alpha's probability is not: Adam scales
up noise until alpha is certain of something. The t-value of one candidate against another is that
of the difference of their g.

Beside it runs a null: the same sums with the weights W_k of the chunk before, which were given to
other networks. They have the size and the shape of the search's own weights, and say nothing of the
networks at hand. (The stage `control` is no such null: on shuffled labels a network that sees less
is less wrong, and the clips say so.)
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
        self.null = torch.zeros_like(self.clips)  # as `clips`, of the null
        self.null_products = torch.zeros_like(self.products)
        self.before = torch.zeros(0, dtype=torch.float64)  # W_k of the last chunk, (K,)

    def add(self, clips: Tensor, budget: Tensor, null: Tensor) -> None:
        """Adds the parts of the gradient of one step, each of the shape of alpha."""
        self.clips += clips
        self.budget += budget
        self.null += null
        self.products += clips[:, :, None] * clips[:, None, :]
        self.null_products += null[:, :, None] * null[:, None, :]

    def others(self, weights: Tensor) -> Tensor:
        """The weights of the chunk before each chunk, (C, K); uniform before the first one."""
        draws = weights.shape[1]
        first = self.before if len(self.before) == draws else weights.new_full((draws,), 1 / draws)
        self.before = weights[-1].clone()
        return torch.cat((first[None], weights[:-1]))

    def state_dict(self) -> dict[str, Tensor]:
        """The sums, for a checkpoint."""
        names = ("clips", "budget", "products", "null", "null_products", "before")
        return {name: getattr(self, name).clone() for name in names}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores the sums of `state_dict`; an empty one, of an earlier version, leaves zeros."""
        for name, tensor in saved.items():
            setattr(self, name, tensor.clone())
