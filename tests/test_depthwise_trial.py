"""What a run tries at its start: kernels by Triton are used where they are right and better.

No GPU is needed: the choice has kernels that are right, wrong, slow or broken.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import ARCHITECTURES, spaces
from support.depthwise import CPU, SLOW, by_taps, one_pixel, raises, use_all
from torch import Tensor

from autox3d.core.device_table import REFERENCE, Kernels
from autox3d.planning import tuning
from autox3d.search.run import layers_of
from autox3d.search.space import Space
from autox3d.search.supernet import Supernet
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import choice, depthwise, trial
from autox3d.vision.kernels.depthwise import KERNELS, PARTS, TRITON, Kernel
from autox3d.vision.kernels.trial import Layer
from autox3d.vision.models.network import VideoNet

LAYERS = [Layer((3, 6, 4, 8, 8), (3, 3, 3), 2), Layer((3, 10, 4, 5, 5), (1, 5, 5), 1)]


@pytest.fixture(autouse=True)
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of Triton yet on any device."""
    monkeypatch.setattr(depthwise, "WORKS", {})


def ranks(
    rank: int = 0, gather: Any = lambda value: [value], share: Any = lambda value: value
) -> Any:
    return SimpleNamespace(rank=rank, device=CPU, gather=gather, share=share)


def clock(**milliseconds: float) -> trial.Clock:
    """It gives the other kernel so many milliseconds in each part, where PyTorch's takes 10."""
    order = itertools.cycle(PARTS)

    def timed(
        runs: trial.Runs, rounds: int, device: torch.device, *, calls: int
    ) -> dict[str, list[float]]:
        for run in runs.values():
            run()
        if rounds == 1:
            return {name: [0.010] for name in runs}  # alike at first sight
        taken = milliseconds.get(next(order), 10.0)
        return {REFERENCE: [9.0, 0.010, 0.0], TRITON: [9.0, taken / 1e3, 0.0]}

    return timed


def settle(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel, others: str = "", **given: Any
) -> tuple[Kernels, str]:
    """Tries a kernel on a CPU, as if it were Triton's on a GPU; `others` are wrong so."""
    monkeypatch.setitem(KERNELS, TRITON, kernel)
    monkeypatch.setattr(trial, "load_triton", lambda: None)
    monkeypatch.setattr(trial, "others_disagreement", lambda *_, **__: others)  # needs Triton
    known = {"found": Kernels(REFERENCE, ()), "some": lambda: LAYERS, "dtype": torch.float32}
    known |= {"ranks": ranks(), "clock": clock()}
    return trial.settled(**(known | given))


def test_each_part_takes_the_faster_kernel_if_it_is_clearly_faster(monkeypatch):
    """9 % is not enough, 11 % is; the row says what both took."""
    taken = {"forward": 9.1, "input_gradient": 8.9, "weight_gradient": 30.0}
    found, reason = settle(monkeypatch, SLOW, clock=clock(**taken))

    assert reason == ""
    assert found.name == "tried at the start"
    uses = [REFERENCE, TRITON, REFERENCE]
    assert [row.use for row in found.rows] == uses * 2
    assert found.rows[0].ms == {REFERENCE: 10.0, TRITON: 9.1}
    first, second = ((row.kernel, row.stride, row.numbers) for row in found.rows[::3])
    assert first == ("t3_s3", 2, 3 * 6 * 4 * 8 * 8)
    assert second == ("t1_s5", 1, 3 * 10 * 4 * 5 * 5)
    x = torch.empty(2, 6, 4, 8, 8)
    with choice.using_kernels(found):
        assert choice.chosen("input_gradient", x, torch.empty(6, 1, 3, 3, 3), 2) == TRITON


def test_a_hopeless_kernel_is_timed_once(monkeypatch):
    """cuDNN's weight gradient took 150 times as long: a trial of it must not take minutes."""
    asked: list[tuple[int, int, list[str]]] = []

    def timed(
        runs: trial.Runs, rounds: int, device: torch.device, *, calls: int
    ) -> dict[str, list[float]]:
        asked.append((rounds, calls, list(runs)))
        seconds = {REFERENCE: 0.029, TRITON: 0.002 if len(asked) == 1 else 0.014}
        return {name: [seconds[name]] * rounds for name in runs}

    found, _ = settle(monkeypatch, SLOW, clock=timed)
    assert asked[:3] == [
        (1, 1, [REFERENCE, TRITON]),  # 14 times as slow
        (1, 1, [REFERENCE, TRITON]),  # twice as slow
        (7, 1, [REFERENCE, TRITON]),  # so in turns, of which one call is long enough
    ]
    assert found.rows[0].ms == {REFERENCE: 29.0, TRITON: 2.0}
    assert found.rows[0].use == TRITON


def test_a_network_without_depthwise_convolutions_has_nothing_to_try(monkeypatch):
    """X3D's dense variants: no rows, and no line that says that something failed."""
    monkeypatch.setattr(trial, "load_triton", lambda: None)
    found, reason = trial.settled(Kernels(REFERENCE, ()), list, torch.float32, ranks(), clock())
    assert (list(found.rows), reason) == ([], "")


def unsteady(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A last bit depends on the call."""
    count = iter(range(10**6))
    return lambda *arguments: run(*arguments) * (1 + 2e-7 * (next(count) % 2))


BROKEN = {
    "result": (SLOW._replace(forward=one_pixel(SLOW.forward)),
               "the result of t3_s3, stride 2, 6 channels of 8 px is off by 2.0e-03 of its size"),
    "input": (SLOW._replace(input_gradient=one_pixel(SLOW.input_gradient)),
              "the input's gradient of t3_s3, stride 2, 6 channels of 8 px is off by "),
    "weight": (SLOW._replace(weight_gradient=one_pixel(SLOW.weight_gradient)),
               "the weight's gradient of t3_s3, stride 2, 6 channels of 8 px is off by "),
    "unsteady": (SLOW._replace(weight_gradient=unsteady(SLOW.weight_gradient)),
                 "the weight's gradient of t3_s3, stride 2, 6 channels of 8 px differs from one "
                 "run to the next"),
    "compiler": (SLOW._replace(forward=raises(KeyError("sm_130\nno such target"))),
                 "they failed (KeyError: 'sm_130\\nno such target')"),
    "memory": (SLOW._replace(forward=raises(torch.OutOfMemoryError("CUDA out of memory."))),
               "there is not enough memory to try them"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_kernel_that_is_wrong_or_fails_costs_one_line(case, monkeypatch):
    """All convolutions then take PyTorch's, and the same is kept for a resumed run."""
    kernel, why = BROKEN[case]
    found, reason = settle(monkeypatch, kernel, clock=clock(forward=0.1, input_gradient=0.1))

    assert reason.startswith(why)
    assert "\n" not in reason
    assert (found.name, found.rows) == (REFERENCE, ())


def test_what_a_trial_refused_is_not_taken_afterwards(monkeypatch, capsys):
    """A prediction in the same process, by the package's table, has no trial of its own."""
    _, reason = settle(monkeypatch, SLOW, others="a gate and swish of 6 channels is off by 0.1")
    assert reason == "a gate and swish of 6 channels is off by 0.1"
    with choice.using_kernels(use_all(TRITON)):
        assert not depthwise.by_triton(CPU)

    assert settle(monkeypatch, SLOW)[1] == ""
    with choice.using_kernels(use_all(TRITON)):
        assert depthwise.by_triton(CPU)
    assert capsys.readouterr().err == ""


def test_without_triton_it_is_said(monkeypatch):
    """PyTorch's wheel for CPUs has none."""
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "autox3d.vision.kernels.triton_depthwise", raising=False)
    found, reason = trial.settled(use_all(TRITON), lambda: LAYERS, torch.float32, ranks(), None)

    assert reason.startswith("they failed (ModuleNotFoundError: ")
    assert found.rows == ()


def test_one_process_that_cannot_is_enough_and_the_first_decides(monkeypatch):
    """Its reason is that of all; and a process that is not the first takes its table."""
    gathered = lambda own: [own, "there is not enough memory to try them", ""]  # noqa: E731
    found, reason = settle(monkeypatch, SLOW, ranks=ranks(gather=gathered))
    assert (found.rows, reason) == ((), "there is not enough memory to try them")

    first = use_all(TRITON).plain()
    found, reason = settle(monkeypatch, SLOW, ranks=ranks(1, share=lambda own: first))
    assert (found.plain(), reason) == (first, "")


def test_what_is_decided_is_checked_and_not_timed(monkeypatch):
    """A table that the settings name, or the checkpoint's: a kernel that is wrong here goes."""
    found, reason = settle(monkeypatch, SLOW, found=use_all(TRITON), clock=None)
    assert (found.plain(), reason) == (use_all(TRITON).plain(), "")

    found, reason = settle(monkeypatch, BROKEN["input"][0], found=use_all(TRITON), clock=None)
    assert found.rows == ()
    assert reason.startswith(BROKEN["input"][1])


def test_a_run_tries_on_a_gpu_alone(monkeypatch, capsys):
    """On a CPU nothing is tried; on a GPU a table without other kernels pins PyTorch's."""
    tries: list[object] = []
    nothing = lambda: pytest.fail("it needs no layers")  # noqa: E731
    there: Any = SimpleNamespace(rank=0, device=torch.device("cuda"))

    def settled(found: Kernels, *rest: Any) -> tuple[Kernels, str]:
        tries.append(rest)
        return (use_all(TRITON), "") if len(tries) == 1 else (Kernels(REFERENCE, ()), "why")

    monkeypatch.setattr(trial, "settled", settled)
    with trial.tried("train s", nothing, ranks(), clock()) as found:
        assert (found.rows, tries) == (choice.in_use(CPU).rows, [])
    with (
        choice.using_kernels(Kernels("a table", ())),
        trial.tried("train s", nothing, there, None) as found,
    ):
        assert (found.name, tries, choice.takes(TRITON, CPU)) == ("a table", [], False)
        with trial.tried("train s", nothing, there, clock()) as found:
            assert (len(found.rows), len(tries), choice.takes(TRITON, CPU)) == (42, 1, True)
            assert choice.in_use(CPU) is found
        assert capsys.readouterr().err == ""
        with trial.tried("train s", nothing, there, clock()) as found:
            assert (found.rows, choice.takes(TRITON, CPU)) == ((), False)
    assert capsys.readouterr().err == "train s: no kernels of Triton: why.\n"


def test_the_table_of_a_gpu_has_what_agrees(monkeypatch, capsys):
    """`autox3d tune` there: a row for each part of each size; a wrong kernel costs its rows."""
    monkeypatch.setattr(depthwise, "load_triton", lambda: None)
    monkeypatch.setitem(KERNELS, TRITON, SLOW)
    monkeypatch.setattr(tuning, "SIZES", ((3, 3, 4), (5, 3, 4)))
    monkeypatch.setattr(tuning, "KINDS", [("t3_s3", 1), ("t1_s3", 2)])
    monkeypatch.setattr(tuning, "interleaved", clock(forward=1.0))
    rows = list(itertools.islice(tuning.of_gpu(CPU), 3))
    assert [(row.operation, row.use, row.numbers) for row in rows] == [
        ("forward", TRITON, 8 * 3 * 3 * 4 * 4),
        ("input_gradient", REFERENCE, 8 * 3 * 3 * 4 * 4),
        ("weight_gradient", REFERENCE, 8 * 3 * 3 * 4 * 4),
    ]
    assert tuning.count(torch.device("cuda")) == 3 * 2 * 2

    monkeypatch.setitem(KERNELS, TRITON, SLOW._replace(forward=lambda *given: 0 * by_taps(*given)))
    assert list(tuning.of_gpu(CPU)) == []
    line = "left out: the result of t3_s3, stride 1, 3 channels of 4 px is off by "
    assert capsys.readouterr().err.startswith(line)


def test_the_layers_of_a_network_are_found_without_computing():
    """X3D-S: the stem's, and in each stage the strided one and the others, the widest each."""
    net = VideoNet(Genotype.load(ARCHITECTURES / "x3d_s.yaml"), 5)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = trial.layers(net.train(), torch.empty(8, 3, 13, 160, 160, device="meta"))

    three = [(54, 80, 2), (108, 40, 2), (216, 20, 2), (432, 10, 2)]
    three += [(54, 40, 1), (108, 20, 1), (216, 10, 1), (432, 5, 1)]
    wanted = {Layer((8, c, 13, side, side), (3, 3, 3), stride) for c, side, stride in three}
    assert set(found) == wanted | {Layer((8, 24, 13, 80, 80), (5, 1, 1), 1)}
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())


def test_the_layers_of_a_search_are_those_of_all_its_kernels(tmp_path):
    """Each kernel that a group may have, at its pixels, though no single path has them all."""
    (tmp_path / "space.yaml").write_text(spaces.SPACE)
    space = Space.load(tmp_path / "space.yaml")
    found = layers_of(Supernet(space, 3, "fair"), space, 4)

    kernels = {layer.kernel for layer in found if layer.taps[1] > 1}
    wanted = {one for c in space.choices if c.column == "kernel" for one in c.candidates}
    assert kernels == wanted
