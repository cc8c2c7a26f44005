"""The distribution over networks that the search learns: P(A | alpha), independent choices.

alpha  logits: for each choice, one for each candidate; uniform at first
A      a draw: for each choice, the number of a candidate
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from autox3d.search.space import Draw


class Prior(nn.Module):
    """Independent categorical choices. It stays on the CPU, in float64: it is a few numbers."""

    def __init__(self, candidates: Sequence[int]) -> None:
        """`candidates`: how many each choice has."""
        super().__init__()
        self.candidates = tuple(candidates)
        shape = len(self.candidates), max(self.candidates)
        self.alpha = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("absent", torch.zeros(shape, dtype=torch.bool), persistent=False)
        self.absent: Tensor
        for choice, count in enumerate(self.candidates):
            self.absent[choice, count:] = True

    def log_probabilities(self) -> Tensor:
        """(choices, most candidates); -inf where a choice has fewer."""
        return self.alpha.masked_fill(self.absent, -torch.inf).log_softmax(1)

    def probabilities(self) -> list[list[float]]:
        """For each choice, the probability of each of its candidates."""
        rows = self.log_probabilities().exp().tolist()
        return [row[:count] for row, count in zip(rows, self.candidates, strict=True)]

    def log_prob(self, draws: Sequence[Draw]) -> Tensor:
        """log P(A_k | alpha): (K,)."""
        picked = torch.tensor(draws).T  # (choices, K)
        return self.log_probabilities().gather(1, picked).sum(0)

    def sample(self, count: int, generator: torch.Generator) -> list[Draw]:
        """So many draws."""
        with torch.no_grad():
            picked = torch.multinomial(
                self.log_probabilities().exp(), count, replacement=True, generator=generator
            )
        return [tuple(draw) for draw in picked.T.tolist()]

    def mode(self) -> Draw:
        """The most probable draw; of equal candidates the first."""
        return tuple(self.log_probabilities().argmax(1).tolist())

    def entropy(self) -> list[float]:
        """Of each choice, 1 where uniform; 0 for a choice that has a single candidate."""
        logs = self.log_probabilities().detach()
        nats = -(logs.exp() * logs.masked_fill(self.absent, 0)).sum(1)
        return [
            found / math.log(count) if count > 1 else 0.0
            for found, count in zip(nats.tolist(), self.candidates, strict=True)
        ]

    def descending(self) -> Iterator[tuple[float, Draw]]:
        """All draws with their log-probabilities, the most probable first, made as asked for.

        Each choice's candidates are put in descending order; the next best draw is always one
        step further down in one choice than a draw that has been handed out.
        """
        logs = self.log_probabilities().detach()
        orders = logs.neg().argsort(dim=1, stable=True).tolist()
        ranked = [
            [(row[candidate], candidate) for candidate in order[:count]]
            for row, order, count in zip(logs.tolist(), orders, self.candidates, strict=True)
        ]
        first = (0,) * len(ranked)
        heap: list[tuple[float, Draw, int]] = [(-sum(row[0][0] for row in ranked), first, 0)]
        while heap:
            cost, ranks, last = heapq.heappop(heap)
            yield -cost, tuple(row[rank][1] for row, rank in zip(ranked, ranks, strict=True))
            for choice in range(last, len(ranked)):  # from `last` on: each draw is reached once
                rank = ranks[choice] + 1
                if rank < len(ranked[choice]):
                    step = ranked[choice][rank - 1][0] - ranked[choice][rank][0]
                    further = (*ranks[:choice], rank, *ranks[choice + 1 :])
                    heapq.heappush(heap, (cost + step, further, choice))
