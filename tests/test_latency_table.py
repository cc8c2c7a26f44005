"""A latency table predicts networks that were never timed, and says how well."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.timed import LONGER, SPACE, slow, table_of, walked

from autox3d.core.errors import Refused
from autox3d.planning.timings import planned
from autox3d.search import latency
from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Space
from autox3d.sizing.expansion import candidates, network, start


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path / "space.yaml"


@pytest.fixture
def space(path) -> Space:
    return Space.load(path)


def test_a_networks_time_is_the_sum_of_its_parts(space, tmp_path):
    """Networks of the tables against a walk through their blocks, scaled as whole ones ask."""
    table_of(space).save(tmp_path / "t.yaml")
    tables = latency.timed(tmp_path / "t.yaml", space)
    rng = np.random.default_rng(1)
    for _ in range(50):
        draw = tuple(int(rng.integers(len(choice.candidates))) for choice in space.choices)

        assert latency.total(tables, draw) == pytest.approx(LONGER * slow(space, draw), rel=0.01)
        costs = SpaceCosts(space, 3, "ms", tables)
        assert (costs.unit, costs.of(draw)) == ("ms", pytest.approx(latency.total(tables, draw)))


def test_any_network_of_the_timed_kinds_has_a_time(space, tmp_path):
    """That of the space's own networks; and of others by frames, area, depth and width."""
    path = tmp_path / "t.yaml"
    table_of(space).save(path)
    tables, ms = latency.timed(path, space), latency.network_ms(path, space)
    rng = np.random.default_rng(2)
    for _ in range(20):
        draw = tuple(int(rng.integers(len(choice.candidates))) for choice in space.choices)
        assert ms(space.genotype(draw, "one")) == pytest.approx(latency.total(tables, draw))
    widest = tuple(len(choice.candidates) - 1 for choice in space.choices)
    one = space.genotype(widest, "one")
    clip = one.input
    long = replace(one, input=replace(clip, frames=6))
    assert ms(long) == pytest.approx(3 * ms(one))
    large = replace(one, input=replace(clip, crop=64, short=80))
    assert ms(large) == pytest.approx(LONGER * walked(large), rel=0.02)
    deep, wide = (
        replace(one, groups=tuple(replace(group, **{column: times * getattr(group, column)})
                                  for group in one.groups))
        for column, times in (("blocks", 3), ("channels", 2))
    )  # fmt: skip
    assert ms(deep) == pytest.approx(LONGER * walked(deep), rel=0.02)
    assert ms(wide) == pytest.approx(LONGER * walked(wide), rel=0.1)  # half as wide were timed


def test_a_network_with_a_kind_that_was_not_timed_is_refused(space, tmp_path):
    """An interpolation would know nothing about it."""
    path = tmp_path / "t.yaml"
    table_of(space).save(path)
    one = space.genotype((0,) * len(space.choices), "one")
    ms = latency.network_ms(path, space)
    for column, value, what in (
        ("kernel", "t5_s5", "a block 't5_s5'"),
        ("attention", "nonlocal", "a unit 'nonlocal'"),
    ):
        groups = (replace(one.groups[0], **{column: value}), *one.groups[1:])
        with pytest.raises(Refused) as refused:
            ms(replace(one, groups=groups))
        assert str(refused.value) == (
            f"{path}: {what}, which one has, was not timed. Profile a space that has it."
        )


def test_a_step_of_an_expansion_may_double_the_milliseconds(space, tmp_path):
    """The same functions as for multiply-adds, with the table's times as price."""
    path = tmp_path / "t.yaml"
    table_of(space).save(path)
    base, price = space.genotype((0,) * len(space.choices), "b"), latency.network_ms(path, space)
    found = candidates(base, start(base, 4), price)

    assert list(found) == ["fast", "temporal", "spatial", "depth", "width", "bottleneck"]
    ratios = {axis: price(network(base, one, axis)) / price(base) for axis, one in found.items()}
    assert all(1.5 < ratio < 2.7 for ratio in ratios.values()), ratios


def test_the_held_out_error_is_that_of_blocks_left_out(space):
    """Exact power laws are predicted; times that have nothing to do with the block are not."""
    exact = table_of(space)
    times = np.random.default_rng(0).permutation([part.ms for part in exact.parts])
    parts = zip(exact.parts, times.tolist(), strict=True)
    mixed = replace(exact, parts=tuple(replace(part, ms=tuple(ms)) for part, ms in parts))
    good, bad = latency.held_out(space, exact), latency.held_out(space, mixed)

    assert good.median < 0.02
    assert good.worst < 0.1
    assert bad.median > 0.3
    assert good.blocks == sum(part.part == "block" for part in exact.parts)
    assert (good.scale, good.networks) == (pytest.approx(LONGER, rel=0.01), 10)
    assert good.network_worst < 0.01 < 0.1 < bad.network_worst
    assert (good.noise, latency.held_out(space, table_of(space, noise=0.1)).noise) == (
        0.0,
        pytest.approx(0.1 / math.sqrt(5), rel=0.15),
    )


def test_the_plan_begins_with_the_extremes_of_each_kernel_size_and_stride(space):
    """At most the number asked for; no stratum is left out, and the widest and narrowest are in."""
    few, all_of_them = planned(space, 45), planned(space, 10_000)

    def strata(parts):
        return {(p.kind, p.side, p.stride) for p in parts if p.part == "block"}

    assert len(few) == 45
    assert len(all_of_them) > 45
    assert few.keys() < all_of_them.keys()
    assert strata(few) == strata(all_of_them)
    for find in (min, max):
        assert find(p.inner for p in few if p.part == "block") == find(
            p.inner for p in all_of_them if p.part == "block"
        )
    assert {p.part for p in few} == {"stem", "block", "unit", "head", "network"}


def test_the_search_takes_a_finished_table_of_its_space(space, tmp_path):
    """Another space, a table with timings missing, and no table at all are one line each."""
    file, table = tmp_path / "t.yaml", table_of(space, 45)
    table.save(file)
    wider = replace(space, stem=replace(space.stem, channels=16))
    with pytest.raises(Refused) as other:
        latency.timed(file, wider)
    part = table.parts[0]
    replace(table, parts=(replace(part, ms=part.ms[:3]), *table.parts[1:])).save(file)
    with pytest.raises(Refused) as unfinished:
        latency.timed(file, space)
    with pytest.raises(Refused) as missing:
        latency.timed(tmp_path / "none.yaml", space)

    assert [str(error.value) for error in (other, unfinished, missing)] == [
        f"{file}: is of the space timed as it was timed, and timed differs from it. Make another"
        " table with `autox3d profile`.",
        f"{file}: 2 timings are missing. Give its `autox3d profile` again.",
        f"{tmp_path / 'none.yaml'}: cannot be read (No such file or directory). Check the path.",
    ]
