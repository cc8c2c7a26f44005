"""The weights of a path are gathered by one operation: the same as slicing them one by one."""

from __future__ import annotations

import weakref

import pytest
import torch
from bench.counting import draw
from torch import Tensor

from autox3d.search.channel_sets import indices
from autox3d.search.gathering import Cut, Set, gathered
from autox3d.search.strategies.parsec import weight_gradient

WIDE, NARROW = Set((2, 0), 4), Set((1,), 3)


def cuts(dtype: torch.dtype = torch.float32) -> list[Cut]:
    """Norms between kernels, a depthwise kernel with one input, a kernel of which all is used."""
    torch.manual_seed(1)
    shapes = {
        (12,): (WIDE,),
        (12, 6, 1, 1, 1): (WIDE, NARROW),
        (6, 1, 3, 3, 3): (NARROW, NARROW),
        (5,): (None,),
        (7, 12, 1, 1, 1): (None, WIDE),
        (4, 3): (None, None),
    }
    return [
        Cut(torch.randn(shape, dtype=dtype, requires_grad=True), sets)
        for shape, sets in shapes.items()
    ]


def sliced(cut: Cut) -> Tensor:
    """The weight of a path, dimension by dimension."""
    weight = cut.weight
    for dimension, chosen in enumerate(cut.sets):
        if chosen is not None and weight.shape[dimension] > 1:
            weight = weight.index_select(dimension, torch.tensor(indices(*chosen)))
    return weight


def gradients(cuts: list[Cut], found: list[Tensor]) -> tuple[Tensor, ...]:
    """Of a sum in which each number has another factor; the second weight is used twice."""
    torch.manual_seed(2)
    loss = sum((one.double() * torch.randn(one.shape)).sum() for one in [*found, found[1]])
    assert isinstance(loss, Tensor)
    return torch.autograd.grad(loss, [cut.weight for cut in cuts])


def test_gathered_weights_are_the_sliced_ones():
    """Values and gradients, to the bit."""
    of = cuts()
    found, wanted = gathered(of), [sliced(cut) for cut in of]

    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)
        assert one.is_contiguous()
        assert one.data_ptr() % 64 == found[0].data_ptr() % 64
    for one, other in zip(gradients(of, found), gradients(of, wanted), strict=True):
        assert torch.equal(one, other)


def test_autocast_casts_kernels_and_leaves_norms():
    """As it would cast each kernel where it is used."""
    of = cuts()
    with torch.autocast("cpu", torch.bfloat16):
        found = gathered(of)

    for one, cut in zip(found, of, strict=True):
        wanted = sliced(cut)
        assert torch.equal(one, wanted if wanted.ndim == 1 else wanted.bfloat16())
    for one, cut in zip(gradients(of, found), of, strict=True):
        assert one.dtype == cut.weight.dtype


@pytest.mark.parametrize("values", [(-3.0, -1.0, -2.0), (-1.0, -2.0, -300.0), (-900.0, -1.0)])
def test_the_largest_may_come_first_or_later(values):
    """sum_k W_k grad l_k by float64, whichever network has the largest likelihood."""
    weight = torch.nn.Parameter(torch.tensor([0.5, -0.25]))
    other = torch.nn.Parameter(torch.zeros(3))  # that no network uses
    slopes = torch.randn(len(values), 2, generator=torch.Generator().manual_seed(1))

    def forward(number: int) -> Tensor:
        own = (weight * slopes[number]).sum()
        return own - own.detach() + values[number]

    forwards = [lambda number=number: forward(number) for number in range(len(values))]
    (found, unused), likelihoods = weight_gradient(forwards, [weight, other], 2.0)

    shares = (torch.tensor(values, dtype=torch.float64) / 2.0).softmax(0)
    torch.testing.assert_close(found.double(), shares @ slopes.double(), rtol=1e-6, atol=1e-9)
    assert unused.tolist() == [0, 0, 0]
    assert likelihoods.tolist() == list(values)


def test_the_gradient_of_a_network_is_gone_before_the_next_one():
    """It is as large as the network's shared weights, and would lie beside its activations."""
    weight = torch.nn.Parameter(torch.ones(4))
    seen: list[weakref.ref[Tensor]] = []
    weight.register_hook(lambda gradient: seen.append(weakref.ref(gradient)))
    alive: list[int] = []

    def forward() -> Tensor:
        alive.append(sum(one() is not None for one in seen))
        return weight.square().sum()

    weight_gradient([forward] * 3, [weight], 1.0)

    assert len(seen) == 3
    assert alive == [0, 0, 0]


def test_a_draw_launches_little_and_waits_for_nothing():
    """The paper's space, both ways: at most 1,600 launches."""
    launches, waits = draw(draws=1)

    assert launches <= 1600
    assert waits == 0
