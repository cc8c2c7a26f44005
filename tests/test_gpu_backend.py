"""What a GPU computes apart from depthwise kernels: batch norm and means, in channels last.

No GPU is needed: PyTorch's operators run on a CPU as well, and Triton's in its interpreter.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from bench import traffic
from support import ROOT
from support.triton import alone
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import Backend, gpu, reference, using
from autox3d.vision.models.network import VideoNet, open_branches, set_training
from autox3d.vision.models.norm import BatchNorm

GPU = cast("Backend", gpu)


def outcome(backend: Any, clips: int) -> list[Tensor]:
    """Logits, gradients and statistics of two blocks with squeeze-excite, in float64."""
    torch.manual_seed(1)
    net = small().double()
    set_training(net, bn_clips=2)
    open_branches(net, 0.5)
    x = torch.randn(clips, 3, 4, 32, 32, dtype=torch.float64, requires_grad=True)
    with using(backend):
        y = net.train()(x)
        y.square().sum().backward()
    running = [one for one in net.buffers() if one.is_floating_point()]
    grads = [one.grad for one in (x, *net.parameters()) if one.grad is not None]
    return [y.detach(), *grads, *running]


def small() -> VideoNet:
    """X3D-S with a block of each stage, 4 x 32 x 32."""
    found = Genotype.load(ROOT / "architectures/x3d_s.yaml")
    spec = replace(found.input, frames=4, crop=32, short=32)
    groups = tuple(replace(group, blocks=1) for group in found.groups)
    return VideoNet(replace(found, input=spec, groups=groups), 5)


@pytest.mark.parametrize("clips", [2, 6])
def test_a_gpu_computes_what_every_device_does(clips):
    """One chunk and three: results, gradients and running statistics, to float64's rounding."""
    wanted, found = outcome(reference, clips), outcome(GPU, clips)

    for want, got in zip(wanted, found, strict=True):
        assert (got - want).norm() <= 1e-9 * want.norm() + 1e-12


class Copies(TorchDispatchMode):
    """Counts the operations that only move numbers of large tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.split("::")[1]
        if name in ("clone", "copy_", "new_zeros") and args[0].dim() > 3:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


def test_a_last_chunk_may_be_smaller():
    """Two chunks of 2 clips and one of 1, without Triton: the sums of the reference."""
    torch.manual_seed(1)
    x, plus = (torch.randn(5, 6, 3, 4, 4, dtype=torch.float64) for _ in range(2))
    outcomes = []
    for backend in (reference, gpu):
        norm = BatchNorm(6).double().train()
        norm.clips = 2
        given = [one.clone().requires_grad_() for one in (x, plus)]
        with using(cast("Backend", backend)):
            y = norm(given[0], "relu", given[1])
        grads = torch.autograd.grad(y.square().sum(), [*given, *norm.parameters()])
        outcomes.append([y.detach(), *grads, norm.running_mean, norm.running_var])
    for want, got in zip(*outcomes, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def convolved(
    kernel: tuple[int, int, int], depthwise: bool, stride: int
) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """An input, a weight, a bias, the stride and the groups of a convolution, in float64."""
    torch.manual_seed(1)
    x = torch.randn(2, 6, 3, 6, 7, dtype=torch.float64)
    weight = torch.randn(6, 1 if depthwise else 6, *kernel, dtype=torch.float64)
    bias = torch.randn(6, dtype=torch.float64)
    return x.to(memory_format=torch.channels_last_3d), weight, bias, stride, 6 if depthwise else 1


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "depthwise"), [((1, 1, 1), False), ((1, 3, 3), False), ((3, 3, 3), True)]
)
def test_what_follows_a_convolution_is_what_every_device_computes(kernel, depthwise, stride):
    """Bias, sum and activation, where Triton is not taken; in inference, and with gradients."""
    given = convolved(kernel, depthwise, stride)
    for then, added in itertools.product(reference.ACTIVATIONS, (False, True)):
        shape = reference.fused(*given, "none", None).shape
        plus = torch.randn(shape, dtype=torch.float64) if added else None
        kept = None if plus is None else plus.clone()
        wanted = reference.fused(*given, then, plus)
        with torch.inference_mode():
            found = gpu.fused(*given, then, plus)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gpu.fused(*given, then, plus), wanted, rtol=1e-12, atol=1e-12)
        assert plus is None or torch.equal(plus, cast("Tensor", kept))


def test_views_and_a_step_move_as_few_bytes_as_counted():
    """X3D-S: no bias, no mask and no normalised tensor has a pass of its own."""
    step, views = traffic.training(), traffic.test_views()

    assert step.bytes.total() < 76e9  # 99 GB when each activation was a pass
    assert views.bytes.total() / traffic.VIDEOS < 10.8e9  # 25 GB likewise
    assert not {"relu_", "threshold_backward", "silu", "silu_backward", "mul"} & step.bytes.keys()
    assert not {"silu", "mul", "add", "add_"} & views.bytes.keys()
    assert views.bytes["relu"] < 2e7  # the head's, behind its pool


def copies(normalise: Any) -> Counter[str]:
    """Of the backward pass of a convolution's output, normalised and activated in place."""
    norm = BatchNorm(6).train()
    x = torch.randn(2, 6, 3, 4, 4).contiguous(memory_format=torch.channels_last_3d)
    y = nn.functional.relu_(normalise(norm, x.requires_grad_()))
    grad = torch.randn_like(y)
    with Copies() as counted:
        y.backward(grad)
    return counted.seen


def test_a_norm_on_a_gpu_copies_no_gradient():
    """An activation in place on a view would: that is what a plain view to four dimensions does."""

    def ours(norm: BatchNorm, x: Tensor) -> Tensor:
        with using(GPU):
            return norm(x)

    def plain(norm: BatchNorm, x: Tensor) -> Tensor:
        how = norm.running_mean, norm.running_var, norm.weight, norm.bias, True
        return nn.functional.batch_norm(x.flatten(2, 3), *how).view(x.shape)

    assert copies(ours).total() == 0
    assert copies(plain).total() > 0


def test_the_gradient_of_a_mean_is_never_written():
    """A number for each channel, seen at every position: what is added to it keeps its order."""
    strides = []
    for pooled in (reference.pooled, gpu.pooled):
        x = torch.randn(2, 6, 3, 4, 4).contiguous(memory_format=torch.channels_last_3d)
        (grad,) = torch.autograd.grad(pooled(x.requires_grad_()), x, torch.full((2, 6), 48.0))
        assert (grad == 1).all()
        strides.append(grad.stride()[2:])
    assert strides == [(16, 4, 1), (0, 0, 0)]


def bench(name: str, *arguments: str, interpreted: bool = True) -> list[list[str]]:
    """The tables of a bench, without their heads."""
    lines = alone("-m", f"bench.{name}", *arguments, interpreted=interpreted)
    lines = [line for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        pytest.param([], 8, marks=pytest.mark.slow),
        pytest.param(["--all"], 32, marks=pytest.mark.long),
    ],
)
def test_the_norm_of_several_chunks_is_right_in_the_interpreter(how, rows):
    """Alone, with ReLU, swish, a sum; tiles that are not full, means far from 0, both types."""
    table = bench("chunk_norm", *how)

    assert len(table) == rows
    for row in table:
        errors = [float(cell) for cell in row[4:]]
        assert len(errors) == (5 if "sum" in row[2] else 4)
        assert max(errors) < (1e-5 if row[3] == "float32" else 1e-2), row


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        pytest.param([], 9, marks=pytest.mark.slow),
        pytest.param(["--all"], 9 * 4 * 2 + 1, marks=pytest.mark.long),
    ],
)
def test_what_follows_a_convolution_is_right_in_the_interpreter(how, rows):
    """Biases, sums, activations and gates; and a network of them all, trained and folded."""
    table = bench("following", *how)

    assert len(table) == rows
    for name, _, kind, error in table:
        allowed = 5e-5 if name == "a network" else 1e-5 if kind == "float32" else 1e-2
        assert float(error) < allowed, (name, kind, error)


@pytest.mark.slow
def test_a_compiler_takes_what_follows_for_a_gpu_that_is_not_here():
    """No register spills in any kernel behind a convolution, nor in a norm."""
    table = bench("following", "--compile", "90", interpreted=False)

    assert len(table) == 14
    assert all(int(row[2]) < 255 and int(row[3]) == 0 for row in table), table


TRIAL = """
from unittest import mock
import torch
from autox3d.vision.kernels import depthwise, trial, triton_elementwise, triton_norm

depthwise.load_triton()
layer = trial.Layer((2, 7, 2, 5, 4), (3, 3, 3), 1)
right, calls = {"norm": triton_norm.backward, "gate": triton_elementwise.gated}, iter(range(99))

def off(*given):
    found = right["norm"](*given)
    found[0][-1, -1, -1] += 0.02
    return found

def unsteady(*given):
    return right["gate"](*given) * (1 + 2e-7 * (next(calls) % 2))

def tried(backward):
    given = [layer], torch.float32, torch.device("cpu")
    print(trial.others_disagreement(*given, backward=backward) or "right")

tried(True)
tried(False)
with mock.patch.object(triton_norm, "backward", off):
    tried(True)
with mock.patch.object(triton_elementwise, "gated", unsteady):
    tried(False)
"""


@pytest.mark.slow
def test_a_trial_finds_what_is_wrong_and_what_is_not_the_same_twice():
    """Of the kernels beside the depthwise ones: nothing, until one is broken."""
    both, forward, norm, gate = alone("-c", TRIAL)

    assert (both, forward) == ("right", "right")
    assert norm.startswith("batch norm of 7 channels is off by ")
    assert gate == "a gate and swish of 7 channels differs from one run to the next"
