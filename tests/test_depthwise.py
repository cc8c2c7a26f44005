"""The depthwise operation: PyTorch's on a CPU, and in a network the kernels that were chosen.

No GPU is needed: in place of Triton's there are kernels that are right, wrong or broken.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from support import ARCHITECTURES
from support.depthwise import CPU, SIX, SLOW, one_pixel, raises, use_all
from torch import Tensor

from autox3d.core.device_table import Operation
from autox3d.core.values import ClipSpec
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

GPU = cast("Backend", gpu)


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
