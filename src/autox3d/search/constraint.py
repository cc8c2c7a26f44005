"""The cost term of the search (A3D equation 2; TS-S equations 2 and 3).

    F_k   cost of network k, G multiply-adds
    c_k   relative excess of F_k over the target range; 0 within it
    beta  weight of the cost term

TS-S prints the first term of the range as F/(Tmax - 1), a misprint for F/Tmax - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Constraint(NamedTuple):
    """The cost term and its target range."""

    form: Literal["log", "plain"]  # beta log C as in TS-S, or beta C
    beta: float  # weight of the cost term
    least: float | None  # lower bound, G multiply-adds; None: only the upper bound, as in A3D
    most: float  # upper bound, G multiply-adds

    def excess(self, cost: float) -> float:
        """Returns c_k >= 0: 0.1 for a cost that is 10 % above `most` or below `least`."""
        under = 0.0 if self.least is None else max(0.0, 1 - cost / self.least)
        return max(0.0, cost / self.most - 1) + under

    def pull(self, excess: Sequence[float]) -> Tensor:
        """Returns what the cost term subtracts from each m_k in the gradient for alpha, (K,).

        The terms sum to zero over the K networks. If all networks are within the target range,
        the log form is 0/0; there is then nothing to penalise, and all terms are zero.
        """
        missed = torch.tensor(excess, dtype=torch.float64)
        if self.form == "plain":
            return self.beta * (missed - missed.mean()) / (len(missed) - 1)
        if missed.sum() == 0:
            return torch.zeros_like(missed)
        return self.beta * (missed / missed.sum() - 1 / len(missed))
