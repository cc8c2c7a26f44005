"""What the loop of warm-up and search works with: its settings, and the state that it changes.

C  chunks of clips in a step
K  networks sampled for a chunk
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from autox3d.search.constraint import Constraint, CostTable
from autox3d.search.evidence import Evidence
from autox3d.search.likelihood import Likelihood
from autox3d.search.paths import Drawing
from autox3d.search.prior import Prior
from autox3d.search.strategy import Strategy
from autox3d.search.trace import Step, pack, unpack


class Costs(NamedTuple):
    """The cost of the networks of the space."""

    gmacs: CostTable  # G multiply-adds
    budget: CostTable  # in the unit of the budget


class SearchSchedule(NamedTuple):
    """The settings of a run that the loop needs."""

    seed: int
    until: int  # last epoch (exclusive), counted over warm-up and search
    steps: int  # per epoch
    batch: int  # clips per step of each half, over all processes
    chunk: int  # clips per chunk
    draws: int  # K, networks sampled per chunk for the weights
    alpha_draws: int  # K for alpha; unused in warm-up
    shared: bool  # whether all chunks of a step use the same networks
    strategy: Strategy
    likelihood: Likelihood
    constraint: Constraint
    costs: Costs
    rate: Callable[[int], float]  # learning rate by step, counted over warm-up and search
    place: tuple[int, int] = (0, 1)  # rank and number of processes
    paths: Drawing | None = None  # how the weights' networks are drawn; None: by the strategy
    per_pass: int = 1  # chunks of a pass; more than one only where they share their networks

    @property
    def chunks(self) -> int:
        """C, the number of chunks in a step; the last one may be smaller."""
        return -(-self.batch // self.chunk)

    @property
    def groups(self) -> int:
        """G, the groups of chunks that are passed together; the last one may be smaller."""
        return -(-self.chunks // self.per_pass)

    def members(self, group: int) -> range:
        """The numbers of the chunks of a group."""
        first = group * self.per_pass
        return range(first, min(first + self.per_pass, self.chunks))

    def scale(self, chunk: int) -> float:
        """The divisor of a chunk's log-likelihoods before they are compared."""
        return self.likelihood.scale(min(self.chunk, self.batch - chunk * self.chunk))

    def weigh(self, likelihoods: Tensor) -> Tensor:
        """The weights of the networks of each chunk, from l_k (C, K): (C, K)."""
        rows = enumerate(likelihoods)
        return torch.stack([self.strategy.weigh(row, self.scale(chunk)) for chunk, row in rows])


@dataclass
class SearchState:
    """Everything that a resumed process needs to reach the same bits."""

    supernet: nn.Module  # (clips, draw) -> logits
    prior: Prior
    sgd: torch.optim.Optimizer
    adam: torch.optim.Optimizer
    epoch: int = 0  # of the next step, counted over warm-up and search
    step: int = 0  # next step of the epoch
    multiplier: float = 0.0  # lambda, of the cost form `dual`
    past: list[Tensor] = field(default_factory=list)  # rows of each finished epoch, packed
    rows: list[Step] = field(default_factory=list)  # of the epoch so far
    alphas: list[Tensor] = field(default_factory=list)  # alpha at the end of each epoch
    evidence: Evidence = field(init=False)

    def __post_init__(self) -> None:
        choices, most = self.prior.alpha.shape
        self.evidence = Evidence((choices, most))

    def trace(self) -> Iterator[Step]:
        """The rows of all steps so far."""
        for epoch in self.past:
            yield from unpack(epoch, len(self.prior.candidates))
        yield from self.rows

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data, for a checkpoint; without `past`."""
        parts = {name: getattr(self, name).state_dict() for name in self._parts}
        place = {"epoch": self.epoch, "step": self.step, "multiplier": self.multiplier}
        return parts | place | {"rows": pack(self.rows), "alphas": list(self.alphas)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores a state of `state_dict`; one of an earlier version has no evidence."""
        for name in self._parts:
            getattr(self, name).load_state_dict(saved.get(name, {}))
        self.epoch, self.step = saved["epoch"], saved["step"]
        self.multiplier = saved.get("multiplier", 0.0)
        rows = unpack(saved["rows"], len(self.prior.candidates))
        self.rows = [row for row in rows if row.epoch == self.epoch]
        self.alphas = list(saved["alphas"])

    @property
    def _parts(self) -> tuple[str, ...]:
        return ("supernet", "prior", "sgd", "adam", "evidence")
