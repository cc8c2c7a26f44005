"""`autox3d profile` times the parts of a space, one by one, and goes on where it was stopped."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.timed import CPU, SPACE, table_of

from autox3d import cli
from autox3d.core.latency_table import LatencyTable
from autox3d.inference import parts as timing
from autox3d.inference.parts import Asked, setup
from autox3d.planning.timings import planned
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.timing import CLOCKS, interleaved, timed
from autox3d.search import latency
from autox3d.search.space import Space
from autox3d.vision.models.fold import folded
from autox3d.vision.models.network import VideoNet


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path / "space.yaml"


@pytest.fixture
def space(path) -> Space:
    return Space.load(path)


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
