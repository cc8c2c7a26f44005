"""The distribution over networks that the search learns: P(A | alpha) with independent choices.

alpha  logits, one for each candidate of each choice; uniform at the start
A      a draw: the index of one candidate for each choice
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from autox3d.search.space import Draw


class Prior(nn.Module):
    """Independent categorical distributions, one per choice; small, so on the CPU in float64."""

    def __init__(self, candidates: Sequence[int], excluded: Iterable[tuple[int, int]] = ()) -> None:
        """Makes the uniform prior.

        Args:
            candidates: the number of candidates of each choice
            excluded: (choice, candidate) pairs that are never drawn, as they are over a cap
        """
        super().__init__()
        self.candidates = tuple(candidates)
        shape = len(self.candidates), max(self.candidates)
        self.alpha = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("absent", torch.zeros(shape, dtype=torch.bool), persistent=False)
        self.absent: Tensor
        for choice, count in enumerate(self.candidates):
            self.absent[choice, count:] = True
        for pair in excluded:
            self.absent[pair] = True
        several = (~self.absent).sum(1, keepdim=True) > 1
        self.open = ~self.absent & several  # the entries that the search decides

    def log_probabilities(self) -> Tensor:
        """Returns (choices, most candidates), with -inf for candidates that do not exist."""
        return self.alpha.masked_fill(self.absent, -torch.inf).log_softmax(1)

    def probabilities(self) -> list[list[float]]:
        """Returns the probability of each candidate, for each choice."""
        rows = self.log_probabilities().exp().tolist()
        return [row[:count] for row, count in zip(rows, self.candidates, strict=True)]

    def log_prob(self, draws: Sequence[Draw]) -> Tensor:
        """Returns log P(A_k | alpha) of the draws, (K,)."""
        picked = torch.from_numpy(np.array(draws, np.int64)).T  # (choices, K)
        return self.log_probabilities().gather(1, picked).sum(0)

    def score(self, draws: Sequence[Draw], shares: Tensor) -> Tensor:
        """Returns sum_n shares_n grad log P(A_n | alpha), of the shape of alpha.

        The gradient of one network's log P for a choice is 1[A = a] - P(a).

        Args:
            draws: N networks
            shares: (N,) float64
        """
        picked = torch.from_numpy(np.array(draws, np.int64)).T  # (choices, N)
        with torch.no_grad():
            chances = self.log_probabilities().exp()
        taken = torch.zeros_like(chances).scatter_add_(1, picked, shares.expand(picked.shape))
        return taken - shares.sum() * chances

    def sample(self, count: int, generator: torch.Generator) -> list[Draw]:
        """Samples `count` architectures independently; some may be equal."""
        with torch.no_grad():
            picked = torch.multinomial(
                self.log_probabilities().exp(), count, replacement=True, generator=generator
            )
        return [tuple(draw) for draw in picked.T.tolist()]

    def mode(self) -> Draw:
        """The most probable architecture; the first of equally probable candidates."""
        return tuple(self.log_probabilities().argmax(1).tolist())

    def entropy(self) -> list[float]:
        """Returns the normalised entropy of each choice: 1 if uniform, 0 for one candidate."""
        logs = self.log_probabilities().detach()
        nats = -(logs.exp() * logs.masked_fill(self.absent, 0)).sum(1)
        counts = (~self.absent).sum(1).tolist()
        return [
            value / math.log(count) if count > 1 else 0.0
            for value, count in zip(nats.tolist(), counts, strict=True)
        ]

    def descending(self) -> Iterator[tuple[float, Draw]]:
        """Yields all draws with their log-probabilities lazily, the most probable first.

        Each choice's candidates are sorted in descending order. The next best draw is always one
        rank lower in one choice than a draw that has been yielded, so a heap is enough.
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
