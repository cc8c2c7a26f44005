"""Times the kernels that an operation may take, and keeps the best of each kind and size.

A kernel that does not agree with the reference is left out. Kernels are in an order of preference,
and a later one is taken only where it is clearly faster (`choice.best`), so that noise decides
nothing. The contenders take turns.

    B clips, C channels, T frames, S x S pixels
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from autox3d.core.device_table import Choice, Operation
from autox3d.runtime.timing import CLOCKS, clock_of, interleaved
from autox3d.vision.arch.blocks import kernel_size
from autox3d.vision.kernels import depthwise, trial
from autox3d.vision.kernels.choice import best
from autox3d.vision.kernels.cpu import WEIGHT_GRADIENTS

Kernel = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # of grad, x, weight and stride
CANDIDATES: dict[Operation, Mapping[str, Kernel]] = {"weight_gradient": WEIGHT_GRADIENTS}  # of CPUs
CLIPS = 8  # that share batch-norm statistics, as in X3D
KINDS = [
    *((f"t{time}_s1", 1) for time in (3, 5)),  # of stems
    *((f"t{time}_s{space}", by) for time in (1, 3, 5) for space in (3, 5) for by in (1, 2)),
]
SIZES = ((16, 4, 6), (32, 8, 7), (48, 8, 14), (108, 13, 14), (54, 13, 40))  # C, T, S
AGREEMENT = 1e-5  # of the norm of the difference to that of the reference
ROUNDS = 7


class Case(NamedTuple):
    """An operation on tensors of one kind and size."""

    operation: Operation
    kernel: str
    stride: int
    x: Tensor  # (B, C, T, S, S)
    weight: Tensor  # (C, 1, t, s, s)
    grad: Tensor  # of the output

    def runs(self, kernels: Mapping[str, Kernel]) -> dict[str, Callable[[], Tensor]]:
        """A function for each kernel."""

        def run(kernel: Kernel) -> Callable[[], Tensor]:
            return lambda: kernel(self.grad, self.x, self.weight, self.stride)

        return {name: run(kernel) for name, kernel in kernels.items()}


def count(device: torch.device) -> int:
    """The number of rows of a device, if all kernels agree."""
    parts = len(depthwise.PARTS if device.type == "cuda" else CANDIDATES)
    return parts * len(KINDS) * len(SIZES)


def rows(device: torch.device) -> Iterator[Choice]:
    """The rows of a device's table."""
    if device.type == "cuda":
        return of_gpu(device)
    return (measured(case, device) for case in cases(device))


def of_gpu(device: torch.device) -> Iterator[Choice]:
    """The rows of a GPU, in bfloat16; a kernel that is wrong there costs its rows and a line."""
    try:
        depthwise.load_triton()
    except ImportError as error:
        print(f"no kernels of Triton: {error}", file=sys.stderr, flush=True)
        return
    for kernel, stride in KINDS:
        time, space = kernel_size(kernel)
        for channels, frames, side in SIZES:
            size = CLIPS, channels, frames, side, side
            layer = trial.Layer(size, (time, space, space), stride)
            if why := trial.disagreement(layer, torch.bfloat16, device):
                print(f"left out: {why}", file=sys.stderr, flush=True)
                continue
            yield from trial.timed([layer], torch.bfloat16, device, interleaved).rows


def cases(device: torch.device) -> Iterator[Case]:
    """Every operation that has several kernels on a CPU, in each kind and size."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        numbers = torch.randn(shape, generator=generator).to(device)
        return numbers.contiguous(memory_format=torch.channels_last_3d)

    for operation in CANDIDATES:
        for kernel, stride in KINDS:
            time, space = kernel_size(kernel)
            for channels, frames, side in SIZES:
                out = -(-side // stride)
                x = random(CLIPS, channels, frames, side, side)
                grad = random(CLIPS, channels, frames, out, out)
                weight = torch.ones(channels, 1, time, space, space, device=device)
                yield Case(operation, kernel, stride, x, weight, grad)


def agreeing(case: Case, kernels: Mapping[str, Kernel]) -> dict[str, Callable[[], Tensor]]:
    """The functions of the kernels that compute what the first one does."""
    runs = case.runs(kernels)
    wanted = next(iter(runs.values()))().double()
    most = AGREEMENT * wanted.norm()
    return {name: run for name, run in runs.items() if (run().double() - wanted).norm() <= most}


def measured(case: Case, device: torch.device, rounds: int = ROUNDS) -> Choice:
    """The row of a case."""
    runs = agreeing(case, CANDIDATES[case.operation])
    clock = CLOCKS[clock_of(device)]
    taken = interleaved(runs, rounds, device, warmup=1, clock=clock)
    ms = {name: 1e3 * statistics.median(seconds) for name, seconds in taken.items()}
    return Choice(
        operation=case.operation,
        kernel=case.kernel,
        stride=case.stride,
        numbers=case.x.numel(),
        use=best(ms),
        ms=ms,
    )
