"""Expansion gives X3D's path from X2D to XXL, step by step, and its table of instances."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from support import ARCHITECTURES

from autox3d.core.values import Axis, ClipSpec, CountedUnit
from autox3d.sizing.expansion import (
    AXES,
    Factors,
    Reached,
    candidates,
    contracted,
    grown,
    jitter,
    network,
    priced,
    reached,
    start,
)
from autox3d.vision.arch.genotype import Genotype

BASE = Genotype.load(ARCHITECTURES / "x2d.yaml")
GMACS = priced("gmacs", 400)
STRIDE = 16  # of X2D's first two frames, which is not printed: backwards from XS's 12 / 0.75
# X3D, 4.1, Figure 2 and Table 3. The axis of each step; the clip; gamma_w, gamma_b, gamma_d; the
# blocks; G multiply-adds. Steps 6 and 7 are not printed one by one: both orders end at 16 x 5.
PATH: list[tuple[Axis | None, tuple[int, ...], tuple[float, ...], list[int], float]] = [
    (None, (1, 1, 112, 128), (1.0, 1.0, 1.0), [1, 2, 5, 3], 0.02066),
    ("bottleneck", (1, 1, 112, 128), (1.0, 2.25, 1.0), [1, 2, 5, 3], 0.0410),
    ("temporal", (2, 16, 112, 128), (1.0, 2.25, 1.0), [1, 2, 5, 3], 0.0802),
    ("spatial", (2, 16, 160, 182), (1.0, 2.25, 1.0), [1, 2, 5, 3], 0.1534),
    ("depth", (2, 16, 160, 182), (1.0, 2.25, 2.2), [3, 5, 11, 7], 0.3036),
    ("temporal", (4, 12, 160, 182), (1.0, 2.25, 2.2), [3, 5, 11, 7], 0.6053),
    ("fast", (8, 6, 160, 182), (1.0, 2.25, 2.2), [3, 5, 11, 7], 1.2087),
    ("temporal", (16, 5, 160, 182), (1.0, 2.25, 2.2), [3, 5, 11, 7], 2.4154),
    ("spatial", (16, 5, 224, 256), (1.0, 2.25, 2.2), [3, 5, 11, 7], 4.7325),
    ("spatial", (16, 5, 312, 356), (1.0, 2.25, 2.2), [3, 5, 11, 7], 9.4516),
    ("depth", (16, 5, 312, 356), (1.0, 2.25, 5.0), [5, 10, 25, 15], 18.368),
    ("width", (16, 5, 312, 356), (1.45, 2.25, 5.0), [5, 10, 25, 15], 35.838),
    ("fast", (32, 3, 312, 356), (1.45, 2.25, 5.0), [5, 10, 25, 15], 71.67),
    ("depth", (32, 3, 312, 356), (1.45, 2.25, 10.2), [11, 21, 51, 31], 143.54),
]
PRINTED = {1: 0.04, 2: 0.08, 3: 0.15, 4: 0.30, 5: 0.60, 8: 4.73, 10: 18.37, 11: 35.84, 13: 143.5}
INSTANCES = {"x3d_xs": 5, "x3d_m": 8, "x3d_l": 10, "x3d_xl": 11, "x3d_xxl": 13}


@pytest.fixture(scope="module")
def path() -> list[Factors]:
    """The factors of each step, each axis grown by the rule from the step before."""
    steps = [start(BASE, STRIDE)]
    for axis, *_ in PATH[1:]:
        assert axis
        steps.append(grown(BASE, steps[-1], axis, GMACS))
    return steps


@pytest.fixture(scope="module")
def costs(path) -> list[float]:
    return [GMACS(network(BASE, factors, "step")) for factors in path]


@pytest.mark.parametrize("step", range(len(PATH)))
def test_each_step_is_the_printed_one(path, costs, step):
    """The clip and the blocks exactly, the factors as printed, the cost to 1e-3."""
    _, (frames, stride, crop, short), gammas, blocks, gmacs = PATH[step]
    made = network(BASE, path[step], "step")

    assert made.input == ClipSpec(frames=frames, stride=stride, crop=crop, short=short)
    assert (path[step].width, path[step].bottleneck, path[step].depth) == gammas
    assert [group.blocks for group in made.groups] == blocks
    assert costs[step] == pytest.approx(gmacs, rel=1e-3)
    if step in PRINTED:
        assert costs[step] == pytest.approx(PRINTED[step], abs=0.011 if step < 13 else 0.05)


def test_each_step_doubles_the_cost(costs):
    """Nearest to twice: from 1.91 to 2.004 times, where X3D says "roughly"."""
    ratios = [after / before for before, after in itertools.pairwise(costs)]

    assert 1.91 < min(ratios) < max(ratios) < 2.004


@pytest.mark.parametrize("name", INSTANCES)
def test_the_shipped_family_is_made_by_the_path(path, name):
    """Rows, widths, head, clip and sides: the whole files, from X2D and the rule."""
    shipped = Genotype.load(ARCHITECTURES / f"{name}.yaml")

    assert network(BASE, path[INSTANCES[name]], name) == shipped


def test_s_is_step_7_contracted_in_time(path):
    """X3D, 4.1: the largest number of frames for 2 G is 13, and the duration stays: stride 6."""
    found = contracted(BASE, path[7], "temporal", GMACS, 2.0)
    small = network(BASE, found["temporal"], "x3d_s")
    fourteen = replace(found["temporal"], frames=14)

    assert list(found) == ["temporal"]
    assert small == Genotype.load(ARCHITECTURES / "x3d_s.yaml")
    assert GMACS(small) == pytest.approx(1.963, rel=1e-3)
    assert GMACS(network(BASE, fourteen, "fourteen")) == pytest.approx(2.11, abs=0.005)


def test_each_axis_can_be_contracted_for_s(path):
    """X3D tried them all: each meets the target, one step more does not, and nothing else moves."""
    found = contracted(BASE, path[7], "temporal", GMACS, 2.0, axes="all")
    assert list(found) == ["temporal", "spatial", "depth", "bottleneck"]  # the width is the base's
    larger: dict[Axis, dict[str, float]] = {
        "spatial": {"crop": 8}, "depth": {"depth": 0.05}, "bottleneck": {"bottleneck": 0.05},
    }  # fmt: skip
    for axis, more in larger.items():
        factors = found[axis]
        ((field, step),) = more.items()
        one_more = replace(factors, **{field: round(getattr(factors, field) + step, 6)})
        assert GMACS(network(BASE, factors, axis)) <= 2.0 < GMACS(network(BASE, one_more, axis))
        assert replace(factors, **{field: getattr(path[7], field)}) == path[7]


@pytest.mark.parametrize(
    ("target", "step", "contract"),
    [(0.6, 5, False), (2, 7, True), (5, 8, False), (20, 10, False), (40, 11, False),
     (150, 13, False)],
)  # fmt: skip
def test_targets_are_met_as_in_table_2(costs, target, step, contract):
    """Of X3D's six regimes only S needs a contraction."""
    assert reached(costs, target) == Reached(step, contract)


def test_targets_outside_the_path_are_refused(costs):
    """Below the base, or above the last step: the message has the numbers."""
    with pytest.raises(ValueError, match=re.escape("below the base, which costs 0.02066")):
        reached(costs, 0.01)
    with pytest.raises(ValueError, match=re.escape("above the last step, which costs 143.5")):
        reached(costs, 400)


def test_a_contraction_that_cannot_meet_its_target_is_refused(path):
    """Along the last axis the frames end at two."""
    with pytest.raises(ValueError, match=re.escape("reduced along 'temporal' costs 0.1 at most")):
        contracted(BASE, path[7], "temporal", GMACS, 0.1)


def test_the_base_comes_back_with_every_factor_one():
    """Nothing is rounded or rewritten on the way."""
    assert network(BASE, start(BASE, STRIDE), "x2d") == BASE


def test_a_step_has_a_candidate_for_each_axis(path):
    """Six, of about twice the cost; five of a single frame, as it has no duration to keep."""
    first = candidates(BASE, path[0], GMACS)
    assert list(first) == ["fast", "spatial", "depth", "width", "bottleneck"]
    assert network(BASE, first["fast"], "x").input.stride == STRIDE
    later = candidates(BASE, path[4], GMACS)
    assert tuple(later) == AXES
    for before, found in ((path[0], first), (path[4], later)):
        old = GMACS(network(BASE, before, "before"))
        ratios = {axis: GMACS(network(BASE, one, axis)) / old for axis, one in found.items()}
        assert all(1.83 < ratio < 2.16 for ratio in ratios.values()), ratios


@pytest.mark.parametrize(
    ("field", "printed", "times", "ours"),
    [("width", 2.0, 3.43, 1.5), ("depth", 2.2, 1.85, 2.5), ("crop", 160, 1.88, 160)],
)
def test_the_printed_factors_do_not_double_the_cost(path, field, printed, times, ours):
    """X3D, A.3, says "roughly": from X2D they multiply it by 1.85 to 3.4, nearest to 2 are ours."""
    axis: Axis = "spatial" if field == "crop" else field
    literal = replace(path[0], **{field: printed})

    assert GMACS(network(BASE, literal, "literal")) / GMACS(BASE) == pytest.approx(times, abs=0.005)
    assert getattr(grown(BASE, path[0], axis, GMACS), field) == ours


def test_fast_keeps_the_duration_and_temporal_makes_it_longer(path):
    """A.3: half the stride; or three quarters of it, for 1.5 times the duration."""
    now = path[5]
    fast, temporal = (grown(BASE, now, axis, GMACS) for axis in ("fast", "temporal"))

    assert fast.frames == temporal.frames == 2 * now.frames
    assert fast.frames * fast.stride == now.frames * now.stride
    assert temporal.frames * temporal.stride == 1.5 * now.frames * now.stride


@pytest.mark.parametrize(
    ("crop", "sides"),
    [(112, (128, 160)), (160, (182, 228)), (224, (256, 320)), (312, (356, 446))],
)
def test_sides_are_the_printed_ones(crop, sides):
    """Nearest even numbers to 8/7 and 10/7 of the crop; rounding down would give 445."""
    assert jitter(BASE, crop) == sides


def test_other_units_have_other_candidates(path):
    """Parameters do not follow time and space, the memory of the largest block not the depth."""
    units: tuple[CountedUnit, ...] = ("params", "memory")
    prices = [priced(unit, 400) for unit in units]
    params, memory = (candidates(BASE, path[4], price) for price in prices)

    assert list(params) == ["depth", "width", "bottleneck"]
    assert list(memory) == ["fast", "temporal", "spatial", "width", "bottleneck"]
    for price, found in zip(prices, (params, memory), strict=True):
        old = price(network(BASE, path[4], "old"))
        assert all(1.7 < price(network(BASE, f, "new")) / old < 2.3 for f in found.values())
    with pytest.raises(ValueError, match="no axis of fast, spatial can multiply the cost by 2"):
        candidates(BASE, path[4], priced("params", 400), axes=("fast", "spatial"))


def test_a_base_of_other_sizes_keeps_its_proportions():
    """A thin base of 48 px: its own ratio of sides, its head after the blocks' inner channels."""
    base = Genotype.load(ARCHITECTURES / "autox3d_s.yaml")  # expansion of the channels in
    small = replace(base, input=ClipSpec(frames=4, stride=4, crop=48, short=56))
    begin = start(small, STRIDE)
    assert network(small, begin, small.name) == small
    found = candidates(small, begin, GMACS)
    wide, long = (network(small, found[axis], axis) for axis in ("bottleneck", "spatial"))

    assert begin.stride == 4
    assert long.input.short == 2 * round(long.input.crop * 56 / 48 / 2)
    before, after = small.blocks()[-1].inner, wide.blocks()[-1].inner
    assert wide.head.channels == round(small.head.channels * after / before)
