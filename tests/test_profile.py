"""A latency table predicts networks that were never timed, and says how well."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autox3d import cli
from autox3d.core.errors import Refused
from autox3d.core.latency_table import LatencyTable, TimedPart
from autox3d.inference import parts as timing
from autox3d.inference.parts import Asked, setup
from autox3d.planning.timings import planned
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.timing import CLOCKS, interleaved, timed
from autox3d.search import latency
from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Space
from autox3d.sizing.expansion import candidates, network, start
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models.fold import folded
from autox3d.vision.models.network import VideoNet

CPU = torch.device("cpu")
SPACE = """\
name: timed
input: {frames: 2, stride: 4, crop: 16, short: 20}
stem: {channels: 8, temporal_kernel: 3}
expansion_of: in
block: {first: relu, second: swish, depthwise: true}
attention: {placement: after_group, nodes: 0.25}
head: {channels: 24, hidden: 32}
groups:
  - {kernel: [t1_s3, t3_s3], expansion: [1.5, 2.25, 3.0], channels: [8, 16], blocks: 2, stride: 2,
     squeeze_excite: even, attention: [none, glore]}
  - {kernel: [t1_s3, t3_s5], expansion: [1.5, 3.0], channels: [16, 32], blocks: 3, stride: 2,
     squeeze_excite: all, attention: [none]}
"""


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path / "space.yaml"


@pytest.fixture
def space(path) -> Space:
    return Space.load(path)


LONGER = 1.2  # a network's time over the sum of its parts


def draw_of(network: TimedPart) -> tuple[int, ...]:
    return tuple(map(int, network.kind.split()))


def seconds(part: TimedPart) -> float:
    """An invented time that no smooth rule of widths hides: a power law, by the kind of part."""
    time, pixels = [*part.kind.split("_"), "", ""][:2]
    kernel = 1.0 + 0.3 * (time == "t3") + 0.5 * (pixels == "s5") + 0.1 * part.gate
    widths = part.channels_in**0.5 * (part.inner or 1) ** 0.8 * part.channels**0.3
    return 1e-3 * kernel * widths * part.side**2 / part.stride


def table_of(space: Space, count: int = 10_000, noise: float = 0.0) -> LatencyTable:
    """A finished table with the times of `seconds`; a network takes longer than its parts."""
    rng, first = np.random.default_rng(0), space.genotype((0,) * len(space.choices), space.name)
    made = setup(first, fingerprint(space=space), CPU, Asked("float32", 2, None, 3))
    rows = [
        replace(part, ms=tuple(ms * np.exp(noise * rng.standard_normal(made.rounds))))
        for part in planned(space, count)
        for ms in [LONGER * slow(space, draw_of(part)) if part.part == "network" else seconds(part)]
    ]
    return LatencyTable(setup=made, held_out=None, parts=tuple(rows))


def slow(space: Space, draw: tuple[int, ...]) -> float:
    """The sum over the parts of a network of the space."""
    return walked(space.genotype(draw, "one"))


def walked(genotype: Genotype) -> float:
    """The sum over the parts of one network, walked through from its stem to its head."""
    side = genotype.input.short
    same = {"stride": 1, "gate": False, "ms": ()}
    part = TimedPart(part="stem", kind="", channels_in=3, inner=0, channels=8, side=side, **same)
    total, side = seconds(part), math.ceil(side / 2)
    for block in genotype.blocks():
        part = TimedPart(
            part="block", kind=genotype.groups[block.group].kernel, channels_in=block.channels_in,
            inner=block.inner, channels=block.channels, side=side, stride=block.stride,
            gate=block.gate > 0, ms=())  # fmt: skip
        total, side = total + seconds(part), math.ceil(side / block.stride)
        if block.attention != "none":
            shape = {"channels_in": block.channels, "channels": block.channels, "side": side}
            part = TimedPart(part="unit", kind=block.attention, inner=0, **shape, **same)
            total += seconds(part)
    shape = {"channels_in": genotype.groups[-1].channels, "channels": 24, "side": side}
    return total + seconds(TimedPart(part="head", kind="", inner=0, **shape, **same))


def profile(monkeypatch, *words: object, status: int = 0) -> None:
    """The command, on this CPU with one thread, in this process."""
    how = ["--device", "cpu", "--threads", "1", "--type", "float32", "--batch", "1"]
    monkeypatch.setattr(sys, "argv", ["autox3d", "profile", *map(str, words), *how])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status


@pytest.fixture
def quick(monkeypatch):
    """One round, so that the command takes a second; and the number of threads is put back."""
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(timing, "CALLS", 1)
    monkeypatch.setattr(timing, "SPAN", 0.0)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


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


def test_the_parts_together_are_the_network_that_predicts(space):
    """The folded parts one after another give what the folded network gives, bit by bit."""
    torch.manual_seed(0)
    draw = tuple(len(choice.candidates) - 1 for choice in space.choices)
    net = VideoNet(space.genotype(draw, "one"), 3).eval()
    timing.opened(net)
    clips = torch.randn(2, 3, 2, 20, 20)
    with torch.inference_mode():
        x = folded(net.stem)(clips.contiguous(memory_format=torch.channels_last_3d))
        for block, attend in zip(net.blocks, net.attention, strict=True):
            x = folded(attend)(folded(block)(x))
        assert torch.equal(folded(net.head)(x), folded(net)(clips))


def test_every_part_of_a_plan_can_be_timed(space, quick):
    """Each is built in its folded form and takes its input."""
    table = replace(table_of(space, 60), parts=tuple(planned(space, 60)))
    first = space.genotype((0,) * len(space.choices), space.name)
    *_, last = timing.filled(table, planned(space, 60), first, CPU)

    assert all(len(part.ms) == table.setup.rounds for part in last.parts)


def test_a_finished_table_is_read_by_the_search(path, space, quick, monkeypatch, capsys):
    """The command says beforehand how long it takes, and at the end how far off blocks are."""
    out = path.with_name("table.yaml")
    profile(monkeypatch, path, "--out", out, "--blocks", 45)
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].startswith("timed: 45 parts, 1 times, on ")
    assert "threads: 1, float32, batch 1" in lines[0]
    assert lines[1].startswith("45 timings to do, about ")
    assert lines[2].startswith("held-out error of 30 blocks: median ")
    table = LatencyTable.load(out)
    assert table.held_out == latency.held_out(space, table)
    assert (latency.timed(out, space).groups[0] > 0).all()


def test_a_stopped_profile_goes_on(path, quick, monkeypatch, capsys):
    """What was timed before the interruption is kept; a finished table is not timed again."""
    out, begun = path.with_name("table.yaml"), timing.filled

    def stopped(*args):
        for number, table in enumerate(begun(*args)):
            if number == 7:
                raise KeyboardInterrupt
            yield table

    with monkeypatch.context() as patch:
        patch.setattr(timing, "filled", stopped)
        profile(patch, path, "--out", out, "--blocks", 45, status=130)
    before = LatencyTable.load(out)
    assert before.missing == 45 - 7
    profile(monkeypatch, path, "--out", out, "--blocks", 45)
    after = LatencyTable.load(out)

    assert "38 timings to do" in capsys.readouterr().out
    pairs = zip(before.parts, after.parts, strict=True)
    assert all(old.ms in ((), new.ms) for old, new in pairs)
    written = out.read_bytes()
    profile(monkeypatch, path, "--out", out, "--blocks", 45)
    assert out.read_bytes() == written
    assert "timings to do" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("fingerprint", "0" * 16, "'fingerprint' is 0000000000000000, but here it is "),
        ("device", "Cray-1", "'device' is Cray-1, but here it is "),
        ("instructions", "sm_90", "'instructions' is sm_90, but here it is "),
        ("threads", 3, "'threads' is 3, but here it is 1. To go on, give --threads 3, or write "),
        ("type", "bfloat16", "'type' is bfloat16, but here it is float32. To go on, give --type "),
        ("batch", 9, "'batch' is 9, but here it is 1. To go on, give --batch 9, or write another"),
    ],
)
def test_a_table_of_something_else_is_not_gone_on_with(
    path, space, quick, monkeypatch, capsys, name, value, line
):
    """Of another space, device, number of threads, type or batch: one line that says which."""
    out = path.with_name("table.yaml")
    made = setup(
        space.genotype((0,) * len(space.choices), "timed"),
        fingerprint(space=space), CPU, Asked("float32", 1, 1, 400),
    )  # fmt: skip
    table = LatencyTable(setup=made, held_out=None, parts=tuple(planned(space, 45)))
    replace(table, setup=replace(made, **{name: value})).save(out)
    profile(monkeypatch, path, "--out", out, "--blocks", 45, status=1)

    said = capsys.readouterr().err
    assert said.startswith(f"{out}: {line}")
    assert said.count("\n") == 1


def test_another_number_of_blocks_is_refused(path, space, quick, monkeypatch, capsys):
    """A table that was begun with another --blocks has other parts; too few cannot be a table."""
    out = path.with_name("table.yaml")
    profile(monkeypatch, path, "--out", out, "--blocks", 45)
    profile(monkeypatch, path, "--out", out, "--blocks", 50, status=1)
    profile(monkeypatch, path, "--out", path.with_name("new.yaml"), "--blocks", 5, status=1)

    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"{out}: has 45 parts, not those of --blocks 50. Give the number that it was begun with,"
        " or write another file.",
        "--blocks: timed needs at least 23 timings, not 5. Give more.",
    ]


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


def test_no_gpu_is_one_line(path, monkeypatch, capsys):
    """Where PyTorch finds none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = path.with_name("table.yaml")
    monkeypatch.setattr(
        sys, "argv", ["autox3d", "profile", str(path), "--device", "cuda", "--out", str(out)]
    )
    with pytest.raises(SystemExit):
        cli.main()

    assert capsys.readouterr().err == (
        "--device cuda: there is no GPU that PyTorch can use. Give --device cpu.\n"
    )


def test_the_processors_clock_stands_still_while_others_run():
    """A run that only waits takes no time by it, and all of it by the wall's."""
    waits = [timed(lambda: time.sleep(0.05), CPU, CLOCKS[name]) for name in ("processor", "wall")]

    assert waits[0] < 0.02 < 0.05 <= waits[1]


def test_a_short_part_is_called_until_it_is_in_its_stride(space, monkeypatch):
    """Calls of 1 ms fill 20 ms after one that does not count; the fastest is taken."""
    made = setup(space.genotype((0,) * len(space.choices), ""), "", CPU, Asked(None, 1, None, 3))
    now, calls = [0.0], iter([0.03, 0.0045, *[0.001] * 50])
    monkeypatch.setitem(timing.CLOCKS, "wall", lambda: now[0])

    def call() -> None:
        now[0] += next(calls)

    assert timing.fastest(call, replace(made, clock="wall"), CPU) == pytest.approx(0.001)
    assert len(list(calls)) == 50 - 16


def test_interleaved_runs_take_turns():
    """So that other load slows all of them; the first rounds do not count."""
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    found = interleaved(runs, 3, CPU, warmup=1)

    assert order == ["a", "b"] * 4
    assert [len(taken) for taken in found.values()] == [3, 3]
