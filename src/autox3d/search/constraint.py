"""The cost term of the search (A3D equation 2; TS-S equations 2 and 3; and a multiplier, ours).

    F_k     cost of network k, in the unit of the budget
    c_k     relative excess of F_k over the target range; 0 within it
    beta    weight of the papers' penalties
    E       expected cost of a network under the prior; T the target
    lambda  multiplier

The papers penalise sampled networks, by beta C (A3D) or beta log C (TS-S). Neither bounds the cost:
the log form pulls with at most beta, however far the networks are over the target, and the plain
one with a weight that nobody knows beforehand. The third form, `dual`, uses that E is known
exactly: lambda grows while E > T and falls while E < T, until E = T or lambda = 0. That is gradient
ascent on the Lagrangian's dual; the term rho (E/T - 1) of the augmented Lagrangian damps it.

TS-S prints the first term of the range as F/(Tmax - 1), a misprint for F/Tmax - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from autox3d.search.prior import Prior
from autox3d.search.space import Draw

RHO = 3.0  # damping; from 1 to 10 the expected cost ends within 5 % of the target
ETA = 0.05  # rise of lambda a step for an excess of 1; from 0.02 to 0.2 likewise


class CostTable(Protocol):
    """The cost of the networks of a space in one unit, such as `space.SpaceCosts`."""

    def of(self, draw: Draw) -> float:
        """The cost of one network."""
        ...

    def expected(self, probabilities: Sequence[Sequence[float]]) -> float:
        """The mean cost under independent choices with these probabilities."""
        ...

    def expectation(self, probabilities: Tensor) -> Tensor:
        """The same as a differentiable scalar; rows are padded with zeros."""
        ...


class Constraint(NamedTuple):
    """The cost term and its target range."""

    form: Literal["dual", "log", "plain"]
    beta: float | None  # weight of `log` and `plain`
    least: float | None  # lower bound; None: only the upper bound, as in A3D
    most: float  # upper bound, the target T

    def excess(self, cost: float) -> float:
        """Returns c_k >= 0: 0.1 for a cost that is 10 % above `most` or below `least`."""
        under = 0.0 if self.least is None else max(0.0, 1 - cost / self.least)
        return max(0.0, cost / self.most - 1) + under

    def pull(self, excess: Sequence[float]) -> Tensor:
        """Returns what a penalty subtracts from the importance of each network, (K,).

        The plain form is an unbiased covariance and sums to zero. The log form has no baseline: it
        is c_k / sum c, and whether any network misses the range depends on the networks, so that
        to subtract a mean would move the expectation. If none misses it, there is nothing to pull.
        """
        assert self.beta is not None
        missed = torch.tensor(excess, dtype=torch.float64)
        if self.form == "plain":
            return self.beta * (missed - missed.mean()) / (len(missed) - 1)
        return self.beta * missed / missed.sum().clamp(min=torch.finfo(missed.dtype).tiny)

    def penalty(self, prior: Prior, draws: Sequence[Sequence[Draw]], costs: CostTable) -> Tensor:
        """The penalty's part of the gradient for alpha, summed over chunks, an ascent direction.

        Args:
            draws: the networks of each chunk
        """
        pulls = [self.pull([self.excess(costs.of(one)) for one in chunk]) for chunk in draws]
        return prior.score([one for chunk in draws for one in chunk], -torch.cat(pulls))

    def push(self, prior: Prior, costs: CostTable, multiplier: float) -> Push:
        """The cost term of `dual`, and the multiplier after this step."""
        chances = prior.log_probabilities().exp()
        expected = costs.expectation(chances) / self.most
        (slope,) = torch.autograd.grad(expected, prior.alpha)
        over = expected.item() - 1
        gradient = -max(0.0, multiplier + RHO * over) * slope
        return Push(gradient, max(0.0, multiplier + ETA * over))


class Push(NamedTuple):
    """One step of `dual`."""

    gradient: Tensor  # ascent direction of the shape of alpha
    multiplier: float  # lambda for the next step
