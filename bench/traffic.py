"""Counts the bytes that a GPU reads and writes, by operation: a training step, and test views.

    python -m bench.traffic    # X3D-S: 64 clips in one pass, and 30 views and the centre of a video

Nothing is computed: tensors have sizes and no numbers, and Triton's kernels are stand-ins that
count what theirs read and write. A kernel counts each of its arguments once, whatever the caches
do; so the least time is the bytes over the rate of the memory. What weights and statistics of
channels take is too little to count.

    B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import torch
import torch.nn.functional as F
from bench.counting import NOTHING
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autox3d.core.device_table import Choice, Kernels
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import Backend, choice, depthwise, gpu, using
from autox3d.vision.kernels.depthwise import KERNELS, PARTS, TRITON, Kernel
from autox3d.vision.models.fold import folded
from autox3d.vision.models.network import VideoNet, set_training

X3D_S = Path(__file__).parents[1] / "architectures/x3d_s.yaml"
SMALL = 2**20  # bytes of an operation that is not counted
RATE = 4.3e12  # bytes a second of an H200, assumed: nine tenths of the nominal rate
TWICE = {  # how often an operation reads its first argument, where it is not once
    "native_batch_norm": 2,  # for its statistics, and to normalise
    "native_batch_norm_backward": 2,
    "convolution_backward": 2,  # for the input, and for the weight
}
VIEWS = ((90, 182), (30, 160))  # of three videos: clips and px; 30 views, and the centre's 10
VIDEOS = 3


class Traffic(TorchDispatchMode):
    """Counts bytes and kernels of the operations in a block, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()

    def add(self, name: str, *moved: Tensor | None) -> None:
        """Counts one kernel, which reads or writes each of the tensors."""
        size = sum(map(_size, moved))
        if size >= SMALL:
            self.bytes[name] += size
        self.kernels[name] += 1

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result, (space, name) = func(*args, **(kwargs or {})), func._schema.name.split("::")
        if space == "aten" and not func.is_view and name not in NOTHING:
            read = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
            made = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
            if name in ("fill_", "zero_", "zeros", "zeros_like", "new_zeros"):
                read = []
            self.add(name, *read, *made, *read[:1] * (TWICE.get(name, 1) - 1))
        return result


def _size(x: Tensor | None) -> int:
    """The bytes of a tensor in memory, of which an expanded one has fewer."""
    if x is None:
        return 0
    count = 1
    for size, stride in zip(x.shape, x.stride(), strict=True):
        count *= size if stride else 1
    return count * x.element_size()


@contextmanager
def counted() -> Iterator[Traffic]:
    """Counts in the block, where every kernel of Triton is taken."""
    traffic = Traffic()
    stand_ins = {f"autox3d.vision.kernels.triton_{name}": of for name, of in _triton(traffic)}
    rows = [
        Choice(operation=part, kernel=f"t{t}_s{s}", stride=n, numbers=1, use=TRITON, ms={})
        for part in PARTS for t in (1, 3, 5) for s in (1, 3, 5) for n in (1, 2)
    ]  # fmt: skip
    with (
        mock.patch.dict(sys.modules, stand_ins),
        mock.patch.dict(KERNELS, {TRITON: _depthwise(traffic)}),
        mock.patch.object(depthwise, "triton_works", return_value=True),
        using(cast("Backend", gpu)),
        choice.using_kernels(Kernels("all", rows)),
        traffic,
    ):
        yield traffic


def _depthwise(traffic: Traffic) -> Kernel:
    """Stand-ins for the parts of a depthwise convolution."""

    def forward(x: Tensor, weight: Tensor, stride: int, *rest: Any) -> Tensor:
        sides = [-(-side // stride) for side in x.shape[3:]]
        y = _like(x, (*x.shape[:3], *sides))
        traffic.add("depthwise", x, y)
        return y

    def for_input(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        traffic.add("depthwise, gradient of the input", grad, x)
        return _like(x, x.shape)

    def for_weight(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        traffic.add("depthwise, gradient of the weight", grad, x)
        return torch.empty_like(weight)

    return Kernel(forward, for_input, for_weight)


def _triton(traffic: Traffic) -> Iterator[tuple[str, Any]]:
    """Stand-ins for the modules of norms and of what follows a convolution."""

    def norm(
        x: Tensor, weight: Tensor, bias: Tensor, eps: float, y: Tensor, plus: Any, then: str
    ) -> Tensor:
        traffic.add("norm, statistics", x)
        traffic.add("norm", x, plus, y)
        return x.new_empty((3, len(x), x.shape[2]), dtype=torch.float32)

    def norm_backward(
        grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, y: Any, then: str
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        passed = None if y is None else torch.empty_like(grad)
        traffic.add("norm, sums backward", grad, x, y, passed)
        traffic.add("norm, backward", grad, x, x)
        return torch.empty_like(x), weight.new_empty((2, len(weight))), passed

    def gated(x: Tensor, gate: Tensor, then: str) -> Tensor:
        traffic.add("gate", x, x)
        return torch.empty_like(x)

    def gated_backward(grad: Tensor, x: Tensor, gate: Tensor, then: str) -> tuple[Tensor, Tensor]:
        traffic.add("gate, backward", grad, x, x)
        return torch.empty_like(x), torch.empty_like(gate)

    def finish(y: Tensor, bias: Any, plus: Any, then: str) -> Tensor:
        traffic.add("sum and activation", y, plus, y)
        return y

    def move(*some: Any) -> None:
        traffic.add("running statistics")

    yield "norm", SimpleNamespace(forward=norm, backward=norm_backward, move=move)
    yield (
        "elementwise",
        SimpleNamespace(gated=gated, gated_backward=gated_backward, finish=finish),
    )


def _like(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last_3d)


def training(clips: int = 64, chunk: int = 8) -> Traffic:
    """Forward and backward of X3D-S, all chunks in one pass, in bfloat16."""
    net = VideoNet(Genotype.load(X3D_S), 400).train()
    set_training(net, bn_clips=chunk, dropout=0.5)
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(clips, 3, 13, 160, 160, memory_format=torch.channels_last_3d)
        labels = torch.zeros(clips, dtype=torch.long)
        with counted() as traffic:
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(x)
            loss = F.cross_entropy(logits.float().mean(1), labels)
            torch.autograd.grad(loss, list(net.parameters()))
    return traffic


def test_views() -> Traffic:
    """30 views and the centre's of `VIDEOS` videos by the folded X3D-S, in bfloat16."""
    net = folded(VideoNet(Genotype.load(X3D_S), 400)).to(torch.bfloat16)
    like = {"dtype": torch.bfloat16, "memory_format": torch.channels_last_3d}
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        views = [torch.empty(clips, 3, 13, side, side, **like) for clips, side in VIEWS]
        with counted() as traffic:
            for some in views:
                net(some)
    return traffic


def main() -> None:
    """Prints tables in Markdown."""
    argparse.ArgumentParser(description="Bytes that a GPU reads and writes.").parse_args()
    for name, found, share in (
        ("a training step of 64 clips", training(), 1),
        ("a video of 30 views and the centre", test_views(), VIDEOS),
    ):
        print(f"\n| X3D-S, {name} | kernels | GB | least ms on an H200 |\n|---|---|---|---|")
        for of, size in [*found.bytes.most_common(), ("all", found.bytes.total())]:
            count = found.kernels.total() if of == "all" else found.kernels[of]
            gigabytes, least = size / share / 1e9, 1e3 * size / share / RATE
            print(f"| {of} | {count} | {gigabytes:.2f} | {least:.2f} |")


if __name__ == "__main__":
    main()
