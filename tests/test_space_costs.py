"""The tables of a space cost what its genotypes cost, one by one, on average and at the ends."""

from __future__ import annotations

import itertools
import math
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import ARCHITECTURES, ROOT
from support.spaces import SPACE
from support.streams import of_found_widths, of_open_widths

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.core.settings import Budget
from autox3d.search.costs import SpaceCosts, of_budget
from autox3d.search.counts import Tables
from autox3d.search.space import Draw, Space
from autox3d.search.window import most_probable
from autox3d.vision.arch.cost import Cost, cost

SHIPPED = sorted(path.stem for path in ARCHITECTURES.glob("space_*.yaml"))
CLASSES = 10


@pytest.fixture
def tiny(tmp_path: Path) -> Space:
    """64 networks of two groups."""
    (tmp_path / "space.yaml").write_text(SPACE)
    return Space.load(tmp_path / "space.yaml")


def shipped(name: str) -> Space:
    """A shipped space; one for a search in parts with the widths of its sparse stream found."""
    return of_found_widths(Space.load(ARCHITECTURES / f"{name}.yaml"))


def every(space: Space) -> list[Draw]:
    """All draws."""
    return list(itertools.product(*(range(len(choice.candidates)) for choice in space.choices)))


def counted(space: Space, draw: Draw) -> Cost:
    """The cost of the draw's genotype."""
    return cost(space.genotype(draw, "drawn"), CLASSES)


def chances(space: Space, seed: int) -> list[list[float]]:
    """Random probabilities of all candidates."""
    rng = random.Random(seed)
    rows = [[rng.random() for _ in choice.candidates] for choice in space.choices]
    return [[chance / sum(row) for chance in row] for row in rows]


def padded(rows: list[list[float]], filler: float) -> torch.Tensor:
    """The rows as one matrix."""
    most = max(map(len, rows))
    return torch.tensor([row + [filler] * (most - len(row)) for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_cost_of_a_draw_is_that_of_its_genotype(name):
    """Multiply-adds and parameters of 100 random networks, to the last one."""
    space, rng = shipped(name), random.Random(0)
    macs, params = SpaceCosts(space, CLASSES), SpaceCosts(space, CLASSES, "params")
    for _ in range(100):
        draw = tuple(rng.randrange(len(choice.candidates)) for choice in space.choices)
        wanted = counted(space, draw)
        assert macs.of(draw) == wanted.gmacs
        assert params.of(draw) == wanted.params / 1e6


def test_units_after_each_block_are_counted(tiny):
    """With `placement: after_block` each of a group's blocks has one."""
    units = [replace(group, attention=("none", "nonlocal")) for group in tiny.groups]
    attention = replace(tiny.attention, placement="after_block")
    space = replace(tiny, attention=attention, groups=tuple(units))
    macs, params = SpaceCosts(space, CLASSES), SpaceCosts(space, CLASSES, "params")
    found = [(macs.of(draw), params.of(draw)) for draw in every(space)]

    costs = [counted(space, draw) for draw in every(space)]
    assert found == [(one.gmacs, one.params / 1e6) for one in costs]


def test_the_tables_of_the_papers_space_take_less_than_a_second():
    """Each rank of each stage of the search makes them."""
    space = Space.load(ARCHITECTURES / "space_autox3d.yaml")
    began = time.process_time()
    SpaceCosts(space, 200)

    assert time.process_time() - began < 1


def test_the_costs_of_thirteen_draws_take_milliseconds():
    """Thirteen draws, one hundred times, in far less than a second."""
    space, rng = Space.load(ARCHITECTURES / "space_autox3d.yaml"), random.Random(0)
    costs = SpaceCosts(space, CLASSES)
    draws = [[rng.randrange(len(one.candidates)) for one in space.choices] for _ in range(13)]
    began = time.perf_counter()
    for draw in draws * 100:
        costs.of(tuple(draw))

    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("budget", ["gmacs", "params"])
def test_the_expected_cost_is_the_mean_over_the_space(tiny, budget):
    """Every network, weighted by its probability."""
    costs, rows = SpaceCosts(tiny, CLASSES, budget), chances(tiny, 2)
    wanted = math.fsum(
        costs.of(draw) * math.prod(row[i] for row, i in zip(rows, draw, strict=True))
        for draw in every(tiny)
    )

    assert costs.expected(rows) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_expectation_is_the_expected_cost(name):
    """What fills up a row is not used."""
    space = shipped(name)
    costs, rows = SpaceCosts(space, CLASSES), chances(space, 3)

    for filler in (0.0, 9.0):
        found = costs.expectation(padded(rows, filler))
        assert found.shape == ()
        assert found.item() == pytest.approx(costs.expected(rows), rel=1e-12)


def test_the_gradient_of_the_expectation_is_what_a_candidate_adds(tiny):
    """The mean cost is linear in each probability, so differences of the tables are exact."""
    costs, rows = SpaceCosts(tiny, CLASSES), chances(tiny, 4)
    probabilities = padded(rows, 0.0).requires_grad_()
    (gradient,) = torch.autograd.grad(costs.expectation(probabilities), probabilities)
    before = costs.expected(rows)

    for choice, row in enumerate(rows):
        for candidate in range(len(row)):
            more = [list(one) for one in rows]
            more[choice][candidate] += 1
            wanted = costs.expected(more) - before
            assert gradient[choice, candidate].item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("budget", ["gmacs", "params", "ms"])
def test_the_bounds_are_those_of_all_networks(tiny, budget):
    """The cheapest and the dearest, of all and of those that fit into memory."""
    rng = np.random.default_rng(0)
    tables = SpaceCosts(tiny, CLASSES).tables
    groups = tuple(rng.normal(3, 1, table.shape) for table in tables.groups)
    latency = Tables(0.7, groups, rng.normal(3, 1, tables.head.shape))
    peaks = {draw: counted(tiny, draw).peak_bytes / 1e6 for draw in every(tiny)}

    for cap in (None, float(np.median(list(peaks.values())))):
        costs = SpaceCosts(tiny, CLASSES, budget, latency, cap)
        found = [costs.of(draw) for draw, peak in peaks.items() if cap is None or peak <= cap]
        assert (costs.cheapest, costs.dearest) == (min(found), max(found))


def test_what_fits_is_what_some_small_network_has(tiny):
    """At every possible cap, entry by entry and candidate by candidate."""
    peaks = {draw: counted(tiny, draw).peak_bytes for draw in every(tiny)}
    for cap in set(peaks.values()):
        costs = SpaceCosts(tiny, CLASSES, memory_mb=cap / 1e6)
        small = [draw for draw, peak in peaks.items() if peak <= cap]
        entries = [
            {(0, *draw[:4]) for draw in small},
            {(draw[2], *draw[4:]) for draw in small},
        ]
        assert [set(zip(*np.nonzero(fits), strict=True)) for fits in costs.fits] == entries
        pairs = {pair for draw in every(tiny) for pair in enumerate(draw)}
        assert set(costs.excluded) == pairs - {pair for draw in small for pair in enumerate(draw)}


def asked(**changes: object) -> settings.Search:
    """The search's settings in params.yaml, with some changed."""
    return replace(settings.load(ROOT / "params.yaml").search, floor=None, **changes)


def test_the_costs_of_a_budget_have_its_unit(tiny):
    """Multiply-adds, or parameters."""
    first = every(tiny)[0]
    kinds: list[tuple[Budget, str, float]] = [
        ("gmacs", "G multiply-adds", counted(tiny, first).gmacs),
        ("params", "M parameters", counted(tiny, first).params / 1e6),
    ]
    for budget, unit, wanted in kinds:
        bounds = SpaceCosts(tiny, CLASSES, budget)
        search = asked(budget=budget, target=(bounds.cheapest + bounds.dearest) / 2)
        costs = of_budget(tiny, CLASSES, search)
        assert (costs.unit, costs.of(first)) == (unit, wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"target": 1e-5},
            "params.yaml: 'search.target' is 1e-05 G multiply-adds, but the cheapest network of"
            " tiny costs CHEAPEST. Raise it.",
        ),
        (
            {"memory_mb": 0.01},
            "params.yaml: 'search.memory_mb' is 0.01, but the smallest network needs PEAK MB."
            " Raise it, or write null.",
        ),
    ],
)
def test_a_budget_that_no_network_keeps_is_refused(tiny, change, message):
    """Before any work, with the bound."""
    costs = [counted(tiny, draw) for draw in every(tiny)]
    for word, value in (
        ("CHEAPEST", min(one.gmacs for one in costs)),
        ("PEAK", min(one.peak_bytes for one in costs) / 1e6),
    ):
        message = message.replace(word, f"{value:.4g}")
    with pytest.raises(Refused) as refused:
        of_budget(tiny, CLASSES, asked(**change))

    assert str(refused.value) == message


def test_costs_of_two_streams_need_fixed_widths_and_no_memory():
    """One line: the sparse stream is searched first, alone; memory is of whole networks."""
    space = Space.load(ARCHITECTURES / "space_two_streams_demo.yaml")
    with pytest.raises(Refused) as refused:
        SpaceCosts(of_open_widths(space), CLASSES)
    assert str(refused.value) == (
        "two_streams: 'channels' are open in the sparse stream of two. Search it first, in a part"
        " of its own ('parts')."
    )
    asked = replace(settings.load(ROOT / "params.yaml").search, memory_mb=10.0)
    with pytest.raises(Refused) as refused:
        of_budget(space, CLASSES, asked)
    assert str(refused.value) == (
        "params.yaml: 'search.memory_mb' is 10, but the memory of networks of two streams is not"
        " counted part by part. Write null."
    )


def test_windows_hold_for_two_streams():
    """The most probable network of a window is the best of all that lie in it, by enumeration."""
    whole = shipped("space_two_streams_demo")
    assert whole.dense
    fixed = [
        replace(g, kernel=g.kernel[:1], expansion=g.expansion[:1], attention=g.attention[:1])
        for g in whole.groups
    ]
    few = tuple(replace(g, kernel=g.kernel[:1]) for g in whole.dense.groups)
    few = (*few[:2], *(replace(g, channels=g.channels[:1]) for g in few[2:]))
    space = replace(whole, groups=tuple(fixed), dense=replace(whole.dense, groups=few))
    costs, logs = (
        SpaceCosts(space, CLASSES),
        [list(map(math.log, row)) for row in chances(space, 5)],
    )
    draws = every(space)
    assert len(draws) == 4**4 * 2**2
    found = sorted(map(costs.of, draws))
    least, most = found[len(found) // 3], found[len(found) // 2]

    best = max(
        (draw for draw in draws if least <= costs.of(draw) <= most),
        key=lambda draw: sum(row[i] for row, i in zip(logs, draw, strict=True)),
    )
    assert most_probable(logs, costs, least, most) == best
    assert (costs.cheapest, costs.dearest) == pytest.approx((found[0], found[-1]))
