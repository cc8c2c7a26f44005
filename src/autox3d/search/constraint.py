"""How the cost of the draws enters the search (A3D equation 2; TS-S equations 2 and 3).

    F_k   cost of draw k, G multiply-adds
    c_k   by how much it misses the target, as a share of it
    beta  weight of the cost term

TS-S prints the range's first term as F/(Tmax - 1): a misprint for F/Tmax - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Constraint(NamedTuple):
    """The target of the search."""

    form: Literal["log", "plain"]  # beta log C as in TS-S, or beta C
    beta: float
    least: float | None  # G multiply-adds; None: only the upper bound of A3D
    most: float  # G multiply-adds

    def excess(self, cost: float) -> float:
        """c_k >= 0: 0.1 is a tenth over `most`, or under `least`."""
        under = 0.0 if self.least is None else max(0.0, 1 - cost / self.least)
        return max(0.0, cost / self.most - 1) + under

    def pull(self, excess: Sequence[float]) -> Tensor:
        """(K,): what the cost term takes from each draw's share m_k in the gradient for alpha.

        Each sums to zero over the draws. Where no draw misses the target the log form is 0/0;
        all draws then miss it equally, and nothing pulls.
        """
        missed = torch.tensor(excess, dtype=torch.float64)
        if self.form == "plain":
            return self.beta * (missed - missed.mean()) / (len(missed) - 1)
        if missed.sum() == 0:
            return torch.zeros_like(missed)
        return self.beta * (missed / missed.sum() - 1 / len(missed))
