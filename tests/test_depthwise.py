"""Kernels by Triton: right where an interpreter runs them, and used where they are better.

No GPU is needed. The kernels themselves run in the interpreter and are compiled for GPUs that are
not here; on a CPU the operation has PyTorch's, and the choice has kernels that are right, wrong,
slow or broken.
"""

from __future__ import annotations

import copy
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from support import ARCHITECTURES, ROOT, spaces
from torch import Tensor

from autox3d.core.device_table import REFERENCE, Choice, Kernels, Operation
from autox3d.core.values import ClipSpec
from autox3d.planning import tuning
from autox3d.search.run import layers_of
from autox3d.search.space import Space
from autox3d.search.supernet import Supernet
from autox3d.sizing.scaling import thinned
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import (
    Backend,
    backend,
    choice,
    depthwise,
    gpu,
    gpu_norm,
    reference,
    trial,
    using,
)
from autox3d.vision.kernels.depthwise import KERNELS, PARTS, TRITON, Kernel
from autox3d.vision.kernels.trial import Layer
from autox3d.vision.models.fold import folded
from autox3d.vision.models.layers import Depthwise
from autox3d.vision.models.network import VideoNet, open_branches

TRITON_FOLDER = ROOT / ".triton"
GPU, CPU = cast("Backend", gpu), torch.device("cpu")
SIX = [(time, space) for time in (1, 3, 5) for space in (3, 5)]


def rows(output: str) -> Iterator[list[str]]:
    """The cells of the rows of Markdown tables, without their heads."""
    lines = [line for line in output.splitlines() if line.startswith("| t")]
    return ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)


def bench(*arguments: str, interpreted: bool) -> list[list[str]]:
    """The tables of bench.depthwise, from a process that alone has Triton."""
    if not (TRITON_FOLDER / ".ready").exists():
        pytest.skip("Triton is not in .triton: make .triton/.ready")
    paths = (ROOT / "src", TRITON_FOLDER, ROOT)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    env |= {"TRITON_INTERPRET": "1"} if interpreted else {}
    command = [sys.executable, "-m", "bench.depthwise", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return list(rows(done.stdout))


def errors(table: list[list[str]]) -> dict[tuple[str, ...], list[float]]:
    """Triton's errors of result, input's and weight's gradient, by kernel, stride and type."""
    return {
        (kernel, stride, kind): [float(cell) for cell in cells]
        for kernel, stride, kind, by, *cells in table
        if by == TRITON
    }


@pytest.mark.slow
def test_two_kernels_are_right_in_the_interpreter():
    """Against float64: result and both gradients, at both strides, to rounding in float32."""
    found = errors(bench("--kernels", "t3_s3", "t5_s5", "--types", "float32", interpreted=True))

    assert len(found) == 2 * 2
    assert all(error < 1e-5 for some in found.values() for error in some), found


@pytest.mark.long
@pytest.mark.parametrize("size", ["1 3 3 3 4", "2 10 6 5 9", "1 70 2 7 8", "2 4 1 3 10"])
def test_all_kernels_are_right_in_the_interpreter(size):
    """The six of the space and the stem's, where tiles are not full, in both types."""
    kernels = "t1_s3", "t1_s5", "t3_s3", "t3_s5", "t5_s3", "t5_s5", "t5_s1"
    found = errors(
        bench("--size", *size.split(), "--kernels", *kernels, interpreted=True),
    )

    assert len(found) == 7 * 2 * 2
    for (_, _, kind), some in found.items():
        assert max(some) < (1e-5 if kind == "float32" else 1e-2), found


@pytest.mark.slow
def test_a_compiler_takes_the_kernels_for_a_gpu_that_is_not_here():
    """What the interpreter allows the compiler may refuse; and all sums stay in registers."""
    table = bench("--kernels", "t3_s3", "--strides", "2", "--compile", "90", interpreted=False)

    assert [row[3] for row in table] == ["forward", "input", "weight"]
    assert all(int(row[4]) < 255 and int(row[5]) == 0 for row in table), table


@pytest.mark.long
def test_a_compiler_takes_all_kernels_for_several_gpus():
    """A100, RTX 4090 and H100: no kernel spills a register."""
    table = bench("--compile", "80", "89", "90", interpreted=False)

    assert len(table) == 6 * 3 * (2 + 3)
    assert all(int(row[5]) == 0 for row in table), table


def padded(x: Tensor, weight: Tensor) -> Tensor:
    """Zeros around x, half of the weight's size on each side; in float64."""
    middle = [size // 2 for size in weight.shape[2:]]
    return F.pad(x.double(), [side for size in reversed(middle) for side in (size, size)])


def views(x: Tensor, weight: Tensor, like: Tensor, stride: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each tap, what it sees of a padded x, of the size of the result; and the tap (C,)."""
    _, _, frames, height, width = like.shape
    for t, h, w in torch.cartesian_prod(*map(torch.arange, weight.shape[2:])).tolist():
        seen = x[:, :, t : t + frames, h : h + stride * height : stride]
        yield seen[..., w : w + stride * width : stride], weight[:, 0, t, h, w]


def every(tap: Tensor) -> Tensor:
    return tap.double()[:, None, None, None]


def by_taps(
    x: Tensor, weight: Tensor, stride: int, bias: Tensor | None = None, then: str = "none"
) -> Tensor:
    """A depthwise convolution as it is written down: a sum over taps; and what follows it."""
    y = torch.zeros(x[..., ::stride, ::stride].shape, dtype=torch.float64)
    for seen, tap in views(F.pad(padded(x, weight), (0, 1, 0, 1)), weight, y, stride):
        y += seen * every(tap)
    y = y if bias is None else y + every(bias)
    return last(reference.ACTIVATIONS[then](y), x)


def input_by_taps(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Each tap gives back what it saw, times itself."""
    whole = F.pad(padded(torch.zeros_like(x), weight), (0, 1, 0, 1))
    for seen, tap in views(whole, weight, grad, stride):
        seen += grad * every(tap)
    t, h, w = (size // 2 for size in weight.shape[2:])
    frames, height, width = x.shape[2:]
    return last(whole[:, :, t : t + frames, h : h + height, w : w + width], x)


def weight_by_taps(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Each tap gets what it saw, times the gradient of the result."""
    pairs = views(F.pad(padded(x, weight), (0, 1, 0, 1)), weight, grad, stride)
    taps = [(seen * grad.double()).sum((0, 2, 3, 4)) for seen, _ in pairs]
    return torch.stack(taps, 1).view(weight.shape).to(weight.dtype)


def last(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype).contiguous(memory_format=torch.channels_last_3d)


SLOW = Kernel(by_taps, input_by_taps, weight_by_taps)  # right, by another way than PyTorch's


def use_all(name: str) -> Kernels:
    """A table by which every depthwise convolution takes a kernel in all its parts."""
    return Kernels(
        "test",
        [
            Choice(operation=part, kernel=f"t{t}_s{s}", stride=n, numbers=1, use=name, ms={})
            for part in PARTS
            for t, s in [*SIX, (5, 1)]
            for n in (1, 2)
        ],
    )


def given(time: int, space: int, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    layer = Layer((2, 6, 4, 7, 6), (time, space, space), stride)
    return trial.random(layer, 2, torch.float32, CPU)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("time", "space"), SIX)
def test_on_a_cpu_the_operation_is_pytorchs_to_the_bit(time, space, stride):
    """Result and gradients; and they are those of the sum over taps, in float64."""
    x, weight, grad = given(time, space, stride)
    mine, theirs = ([one.clone().requires_grad_() for one in (x, weight)] for _ in range(2))
    y = gpu.convolve(mine[0], mine[1], None, stride, groups=6)
    wanted = reference.convolve(theirs[0], theirs[1], None, stride, groups=6)

    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(y, wanted)
    found = torch.autograd.grad(y, mine, grad)
    for one, other in zip(found, torch.autograd.grad(wanted, theirs, grad), strict=True):
        assert torch.equal(one, other)
    for one, exact in zip(
        (y, *found), trial.results(SLOW, x, weight, grad, stride=stride), strict=True
    ):
        torch.testing.assert_close(one, exact, rtol=1e-5, atol=1e-5)


def test_the_operation_is_whole_for_pytorch():
    """Schema, fake, and autograd, as torch's own check of an operation has them."""
    x, weight, grad = given(3, 5, 2)
    arguments = x.requires_grad_(), weight.requires_grad_(), 2
    torch.library.opcheck(depthwise.depthwise, arguments)
    for operation in (depthwise.input_gradient, depthwise.weight_gradient):
        tests = "test_schema", "test_faketensor"
        torch.library.opcheck(operation, (grad, x.detach(), weight.detach(), 2), test_utils=tests)


def small_net() -> tuple[VideoNet, Tensor]:
    clip = ClipSpec(frames=4, stride=1, crop=32, short=32)
    found = Genotype.load(ARCHITECTURES / "autox3d_s.yaml")
    torch.manual_seed(1)
    net = VideoNet(thinned(found, "s", clip, width=0.25, depth=0.3), 5)
    open_branches(net, 0.5)
    torch.nn.init.normal_(net.head.classify.weight)
    return net, torch.randn(2, 3, 4, 32, 32)


def outcome(net: VideoNet, clips: Tensor) -> tuple[Tensor, ...]:
    """Logits, all gradients, and what the folded network gives; of a copy, for its statistics."""
    net = copy.deepcopy(net).train()
    with torch.inference_mode():
        scores = folded(net)(clips)
    logits = net(clips)
    return (logits.detach(), scores, *torch.autograd.grad(logits.sum(), list(net.parameters())))


@pytest.fixture(autouse=True)
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of Triton yet on any device."""
    monkeypatch.setattr(depthwise, "WORKS", {})


@pytest.fixture
def no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no table of its own is PyTorch's, though a table names kernels of Triton."""
    for module in (gpu, gpu_norm):
        monkeypatch.setattr(module, "by_triton", lambda device: False)


@pytest.mark.usefixtures("no_others")
def test_a_network_computes_with_the_kernels_that_were_chosen(monkeypatch):
    """Trained and folded; each part of each of its depthwise convolutions takes the other one."""
    calls: dict[Operation, int] = dict.fromkeys(PARTS, 0)

    def counted(part: Operation, run: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def one(*arguments: Any) -> Tensor:
            calls[part] += 1
            return run(*arguments)

        return one

    other = Kernel(*(counted(part, run) for part, run in zip(PARTS, SLOW, strict=True)))
    monkeypatch.setitem(KERNELS, TRITON, other)
    net, clips = small_net()
    with using(reference):
        wanted = outcome(net, clips)
    with using(GPU), choice.using_kernels(use_all(TRITON)):
        found = outcome(net, clips)

    layers = sum(isinstance(layer, Depthwise) for layer in net.modules())
    assert calls == {"forward": 2 * layers, "input_gradient": layers, "weight_gradient": layers}
    whole = torch.stack([gradient.norm() for gradient in wanted[2:]]).norm()
    for one, other in zip(found[:2], wanted[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert all((a - b).norm() < 1e-4 * whole for a, b in zip(found[2:], wanted[2:], strict=True))


def test_autocast_casts_the_input_as_pytorch_does(monkeypatch):
    """The kernel gets bfloat16; the weight stays in float32, and so does its gradient."""
    seen = []

    def forward(x: Tensor, weight: Tensor, stride: int) -> Tensor:
        seen.append((x.dtype, weight.dtype))
        return SLOW.forward(x, weight, stride)

    monkeypatch.setitem(KERNELS, TRITON, SLOW._replace(forward=forward))
    x, weight, _ = given(3, 3, 1)
    weight.requires_grad_()
    with choice.using_kernels(use_all(TRITON)), torch.autocast("cpu", torch.bfloat16):
        y = gpu.convolve(x, weight, torch.ones(6), 1, groups=6)
    y.float().sum().backward()

    assert seen == [(torch.bfloat16, torch.float32)]
    assert y.dtype == torch.bfloat16
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


@pytest.mark.usefixtures("no_others")
def test_the_compiler_takes_the_operation_whole(monkeypatch):
    """No graph break in a block with kernels of Triton, forward and backward."""
    monkeypatch.setitem(KERNELS, TRITON, SLOW)
    block = small_net()[0].blocks[0].train()
    x = torch.randn(2, 8, 4, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    with using(GPU), choice.using_kernels(use_all(TRITON)):
        made = torch.compile(block, fullgraph=True, backend="aot_eager")
        found = torch.autograd.grad(made(x).sum(), list(block.parameters()))
        wanted = torch.autograd.grad(block(x).sum(), list(block.parameters()))

    whole = torch.stack([gradient.norm() for gradient in wanted]).norm()
    assert all((a - b).norm() < 1e-5 * whole for a, b in zip(found, wanted, strict=True))


def test_a_gpu_has_its_backend_and_exporters_pytorchs_operators(monkeypatch):
    """A CPU never takes it."""
    there: Any = SimpleNamespace(device=torch.device("cuda"))

    assert backend(there) is gpu
    assert backend(torch.empty(1)) is not gpu
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert backend(there) is reference


def test_without_a_compiler_a_gpu_says_so_once_and_takes_pytorchs(monkeypatch, capsys):
    """A prediction by the package's table must not end where Triton finds no C compiler."""
    x, weight = torch.randn(2, 6, 3, 5, 5), torch.randn(6, 1, 3, 3, 3)
    wanted = F.conv3d(x, weight, None, 1, 1, 1, 6)
    broken = SLOW._replace(forward=raises(RuntimeError("Failed to find C compiler.\nSee")))
    load = lambda: KERNELS.update({TRITON: broken})  # noqa: E731
    monkeypatch.setattr(depthwise, "load_triton", load)
    monkeypatch.delitem(KERNELS, TRITON, raising=False)
    monkeypatch.setattr(Tensor, "is_cuda", True)
    with using(GPU), choice.using_kernels(use_all(TRITON)):
        found = [gpu.convolve(x, weight, None, 1, 6) for _ in range(2)]

    assert all((one - wanted).norm() < 1e-6 * wanted.norm() for one in found)
    line = "cpu: no kernels of Triton, PyTorch's instead: Failed to find C compiler.\n"
    assert capsys.readouterr().err == line


def test_a_prediction_asks_once_whether_a_kernel_is_right(monkeypatch, capsys):
    """No trial precedes it: one that is a pixel off, of those with a bias, goes."""
    wrong = SLOW._replace(forward=one_pixel(SLOW.forward))
    monkeypatch.setattr(depthwise, "load_triton", lambda: KERNELS.update({TRITON: wrong}))
    monkeypatch.delitem(KERNELS, TRITON, raising=False)
    assert not depthwise.triton_works(CPU)

    line = (
        "cpu: no kernels of Triton, PyTorch's instead: the result of t3_s3, stride 1, 54 channels"
    )
    assert capsys.readouterr().err.startswith(line)


LAYERS = [Layer((3, 6, 4, 8, 8), (3, 3, 3), 2), Layer((3, 10, 4, 5, 5), (1, 5, 5), 1)]


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


def one_pixel(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The last number is a thousandth of the others' size off."""

    def off(*arguments: Any) -> Tensor:
        y = run(*arguments).clone()
        y[-1, -1, -1, -1, -1] += 2e-3 * y.square().mean().sqrt()
        return y

    return off


def unsteady(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A last bit depends on the call."""
    count = iter(range(10**6))
    return lambda *arguments: run(*arguments) * (1 + 2e-7 * (next(count) % 2))


def raises(error: Exception) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        raise error

    return run


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
