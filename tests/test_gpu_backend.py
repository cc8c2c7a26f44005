"""What a GPU computes apart from depthwise kernels: batch norm and means, in channels last.

No GPU is needed: PyTorch's operators run on a CPU as well, and Triton's in its interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from support import ROOT
from test_depthwise import TRITON_FOLDER
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


@pytest.mark.slow
def test_the_norm_of_several_chunks_is_right_in_the_interpreter():
    """Against float64, where tiles are not full and means are far from 0, in both types."""
    if not (TRITON_FOLDER / ".ready").exists():
        pytest.skip("Triton is not in .triton: make .triton/.ready")
    paths = os.pathsep.join(map(str, (ROOT / "src", TRITON_FOLDER, ROOT)))
    env = os.environ | {"PYTHONPATH": paths, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "bench.chunk_norm"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT, check=False)
    table = [line for line in done.stdout.splitlines() if "float" in line]

    assert done.returncode == 0, done.stderr
    assert len(table) == 2 * 3
    for line in table:
        errors = [float(cell) for cell in line.strip("| ").split("|")[3:]]
        assert max(errors) < (1e-5 if "float32" in line else 1e-2), line
