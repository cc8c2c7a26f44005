"""A search of two choices with a toy network, and the batches that it is fed."""

import torch

from autox3d.search.constraint import Constraint
from autox3d.search.dealing import deal
from autox3d.search.likelihood import Likelihood
from autox3d.search.loop import search_steps, seed_of
from autox3d.search.prior import Prior
from autox3d.search.state import Costs, SearchSchedule, SearchState
from autox3d.search.strategies.parsec import STRATEGY
from autox3d.vision.tasks.classify import TASK

CANDIDATES = (2, 3)
STEPS, BATCH, CHUNK = 3, 16, 4


class Toy(torch.nn.Module):
    """Two searched layers; the first choice decides whether the label can be seen at all."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Parameter(torch.randn(2, 4, 8))
        self.last = torch.nn.Parameter(torch.randn(3, 8, 2))

    def forward(self, clips, draw):
        seen = clips if draw[0] else clips.abs()  # the sign is the label
        hidden = torch.nn.functional.dropout(
            torch.tanh(seen @ self.first[draw[0]]), 0.1, self.training
        )
        return (hidden @ self.last[draw[1]])[:, None]  # one position


def cost(draw):
    return 1.0 + 0.5 * draw[1]


class Table:
    """The cost of a network depends on its second choice."""

    of = staticmethod(cost)

    @staticmethod
    def expected(probabilities):
        return sum(chance * cost((0, i)) for i, chance in enumerate(probabilities[1]))

    @staticmethod
    def expectation(probabilities):
        return probabilities[1] @ torch.tensor([1.0, 1.5, 2.0], dtype=torch.float64)


expected = Table.expected


def schedule(until, **changes):
    made = SearchSchedule(
        seed=3,
        until=until,
        steps=STEPS,
        batch=BATCH,
        chunk=CHUNK,
        draws=2,
        alpha_draws=4,
        shared=False,
        strategy=STRATEGY,
        likelihood=Likelihood("sum", 1.0),
        constraint=Constraint("log", 0.2, None, 1.4),
        costs=Costs(Table(), Table()),
        rate=lambda step: 0.2,
    )
    return made._replace(**changes)


def fresh():
    torch.manual_seed(0)
    net, prior = Toy(), Prior(CANDIDATES)
    sgd = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-5)
    return SearchState(net, prior, sgd, torch.optim.Adam(prior.parameters(), lr=0.05))


def batches(half, shuffled=False, rank=0, size=1, draws=2, per_pass=1):
    """Clips of a step follow from (half, epoch, step); ranks take the chunks they are dealt."""
    how = schedule(1, per_pass=per_pass)

    def epoch(number, start):
        for step in range(start, STEPS):
            generator = torch.Generator().manual_seed(seed_of(half, number, step))
            clips = torch.randn(BATCH, 4, generator=generator)
            labels = (clips[:, 0] > 0).long()
            if shuffled:
                labels = labels[torch.randperm(BATCH, generator=generator)]
            chunks = list(enumerate(zip(clips.split(CHUNK), labels.split(CHUNK), strict=True)))
            pieces = deal(how.groups, draws, rank, size)
            numbers = [number for piece in pieces for number in how.members(piece.group)]
            yield [(number, *chunks[number][1]) for number in numbers]

    return epoch


def alone(tensors):
    """One process has nothing to sum."""


def search(state, warmup=2, epochs=6, **changes):
    shuffled = changes.pop("shuffled", False)
    yield from search_steps(state, TASK, schedule(warmup, **changes), batches(0), None, alone)
    yield from search_steps(
        state, TASK, schedule(epochs, **changes), batches(0), batches(1, shuffled), alone
    )


def same(one, two):
    """Whether two states have the same bits."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one.nan_to_num(-1), two.nan_to_num(-1))
    return one == two
