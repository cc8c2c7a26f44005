"""Which kernels the depthwise convolutions of a GPU take: tried there before a run uses them.

A kernel must agree with PyTorch's operator in float64 and give the same bits twice. Of those that
do, one is taken in place of the one before it, in the order of `depthwise.KERNELS`, if it takes
less than nine tenths of its time (`choice.best`). Whatever fails, on any process, costs one line,
and all processes take PyTorch's operators.

    B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import copy
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from autox3d.core.device_table import REFERENCE, Choice, Kernels
from autox3d.vision.kernels import Backend, choice, gpu, on_gpu, reference, using
from autox3d.vision.kernels.depthwise import KERNELS, PARTS, TRITON, Kernel, fits, load_triton

Runs = Mapping[str, Callable[[], object]]
CHECKED = 2  # clips of a check: float64 takes memory
SLACK = 1e-4  # of the root mean square; what an element may be off besides a rounding of its own
MADE = "tried at the start"
ROUNDS, CALLS = 7, 20  # of a timing; the median counts of rounds, of calls in a row the mean
NAMES = ("the result", "the input's gradient", "the weight's gradient")  # of `PARTS`


class Layer(NamedTuple):
    """A depthwise convolution of a network."""

    size: tuple[int, ...]  # B, C, T, H, W of its input
    taps: tuple[int, ...]  # t, s, s
    stride: int

    @property
    def kernel(self) -> str:
        """The name of its kernel, as genotypes have it."""
        return f"t{self.taps[0]}_s{self.taps[1]}"

    def __str__(self) -> str:
        return f"{self.kernel}, stride {self.stride}, {self.size[1]} channels of {self.size[3]} px"


class Clock(Protocol):
    """Times several runs, which take turns: `autox3d.runtime.timing.interleaved`."""

    def __call__(
        self, runs: Runs, rounds: int, device: torch.device, *, calls: int
    ) -> Mapping[str, Sequence[float]]:
        """Seconds of a call, of each run in each round."""
        ...


class Ranks(Protocol):
    """The processes of a run: `autox3d.runtime.distributed.World`."""

    @property
    def rank(self) -> int:
        """The number of this process."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, on every rank."""
        ...

    def share(self, value: Any) -> Any:
        """The value of rank 0, on every rank."""
        ...


def layers(net: nn.Module, *inputs: Any) -> list[Layer]:
    """The depthwise convolutions of `net(*inputs)` for which there are several kernels.

    Of those with the same taps, stride and pixels, the widest. Nothing is computed: a copy of the
    network without numbers runs, and tensors among the inputs are of the device `meta`.
    """
    seen: list[Layer] = []

    def convolve(x: Tensor, weight: Tensor, bias: Any, stride: int, groups: int) -> Tensor:
        if groups > 1 and fits(weight.shape[2:]):
            seen.append(Layer(tuple(x.shape), tuple(weight.shape[2:]), stride))
        return reference.convolve(x, weight, bias, stride, groups)

    recorder = SimpleNamespace(convolve=convolve, chunk_norm=reference.chunk_norm)
    there = copy.deepcopy(net).to("meta")
    with using(cast("Backend", recorder)), torch.no_grad():
        there(*inputs)
    return widest(seen)


def widest(some: Sequence[Layer]) -> list[Layer]:
    """Of the layers with the same taps, stride and pixels that with the most channels."""
    found: dict[tuple[object, ...], Layer] = {}
    for layer in sorted(some, key=lambda one: one.size[1]):
        found[layer.taps, layer.stride, layer.size[3:]] = layer
    return list(found.values())


@contextmanager
def tried(
    name: str,
    some: Callable[[], Sequence[Layer]],
    ranks: Ranks,
    clock: Clock | None,
    dtype: torch.dtype = torch.bfloat16,
) -> Iterator[Kernels]:
    """Has the convolutions of a GPU take other kernels in the block where they are worth it.

    On a CPU it does nothing. What was decided before it (`choice.decided`) is checked, not timed.

    Args:
        name: of the run, for the line that says why no other kernel is used
        some: returns the convolutions of the run
        clock: times several runs; None where a checkpoint or the settings decide
        dtype: of the input of the convolutions
    """
    found = choice.in_use(ranks.device)
    clock = None if found.rows else clock
    if ranks.device.type == "cuda" and (clock or _others(found)):
        found, reason = settled(found, some, dtype, ranks, clock)
        if reason and ranks.rank == 0:
            line = f"{name}: no kernels of Triton: {reason}."
            print(line, file=sys.stderr, flush=True)
    backend = gpu if _others(found) else reference
    with choice.using_kernels(found), on_gpu(cast("Backend", backend)):
        yield found


def settled(
    found: Kernels,
    some: Callable[[], Sequence[Layer]],
    dtype: torch.dtype,
    ranks: Ranks,
    clock: Clock | None,
) -> tuple[Kernels, str]:
    """The kernels to take, and why none of the others; the same on all processes.

    Args:
        found: what is decided; it counts where there is no clock
    """
    reason = ""
    try:
        load_triton()
        every, device = some(), ranks.device
        reason = next(filter(None, (disagreement(one, dtype, device) for one in every)), "")
        if clock and not reason:
            found = timed(every, dtype, device, clock)
    except torch.OutOfMemoryError:
        reason = "there is not enough memory to try them"
    except Exception as error:  # noqa: BLE001  # of a compiler and a device that nobody here knows
        line = next(iter(str(error).strip().splitlines()), "")
        reason = f"they failed ({type(error).__name__}: {line})"
    if ranks.device.type == "cuda":
        torch.cuda.empty_cache()
    reason = next(filter(None, ranks.gather(reason)), "")
    if reason:
        return Kernels(REFERENCE, ()), reason
    return Kernels.of(ranks.share(found.plain())), ""


def disagreement(layer: Layer, dtype: torch.dtype, device: torch.device) -> str:
    """What Triton's kernel gets wrong, "" if nothing.

    An element may be off by one rounding of its type, and by `SLACK` of all of them.
    """
    given = random(layer, CHECKED, dtype, device)
    exact = results(KERNELS[REFERENCE], *(one.double() for one in given), stride=layer.stride)
    found = results(KERNELS[TRITON], *given, stride=layer.stride)
    again = results(KERNELS[TRITON], *given, stride=layer.stride)
    for name, want, got, other in zip(NAMES, exact, found, again, strict=True):
        size = want.square().mean().sqrt()
        off = (got.double() - want).abs()
        if not (off <= torch.finfo(got.dtype).eps * want.abs() + SLACK * size).all():
            return f"{name} of {layer} is off by {off.max() / size:.1e} of its size"
        if not torch.equal(got, other):
            return f"{name} of {layer} differs from one run to the next"
    return ""


def timed(some: Sequence[Layer], dtype: torch.dtype, device: torch.device, clock: Clock) -> Kernels:
    """The faster kernel of each part of each layer, with the milliseconds of each."""
    rows = []
    for layer in some:
        given = random(layer, layer.size[0], dtype, device)
        each = {name: runs(kernel, *given, layer.stride) for name, kernel in KERNELS.items()}
        for place, part in enumerate(PARTS):
            contenders = {name: of[place] for name, of in each.items()}
            taken = clock(contenders, ROUNDS, device, calls=CALLS)
            ms = {name: 1e3 * statistics.median(taken[name]) for name in KERNELS}
            rows.append(
                Choice(
                    operation=part,
                    kernel=layer.kernel,
                    stride=layer.stride,
                    numbers=prod(layer.size),
                    use=choice.best(ms),
                    ms=ms,
                )
            )
    return Kernels(MADE, rows)


def _others(found: Kernels) -> bool:
    """Whether any of the rows takes another kernel than the reference."""
    return any(row.use != REFERENCE for row in found.rows)


def random(
    layer: Layer, clips: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """An input of so many clips, a weight in float32, and a gradient of the result."""
    generator = torch.Generator(device).manual_seed(1)
    _, channels, frames, *sides = layer.size
    sizes = sides, [-(-side // layer.stride) for side in sides]
    x, grad = (
        torch.randn(clips, frames, *size, channels, generator=generator, device=device)
        .to(dtype)
        .permute(0, 4, 1, 2, 3)
        for size in sizes
    )
    weight = torch.randn(channels, 1, *layer.taps, generator=generator, device=device)
    return x, weight, grad


def runs(
    kernel: Kernel, x: Tensor, weight: Tensor, grad: Tensor, stride: int
) -> list[Callable[[], Tensor]]:
    """The parts of a kernel, in the order of `PARTS`."""
    return [
        lambda: kernel.forward(x, weight, stride),
        lambda: kernel.input_gradient(grad, x, weight, stride),
        lambda: kernel.weight_gradient(grad, x, weight, stride),
    ]


def results(kernel: Kernel, x: Tensor, weight: Tensor, grad: Tensor, stride: int) -> list[Tensor]:
    """What the parts of a kernel give."""
    return [run() for run in runs(kernel, x, weight, grad, stride)]
