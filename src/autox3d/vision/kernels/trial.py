"""Which kernels a GPU takes, Triton's or PyTorch's: tried there before a run uses them.

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
from math import gcd, prod
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from autox3d.core.device_table import REFERENCE, Choice, Kernels, Operation
from autox3d.vision.kernels import Backend, choice, depthwise, reference, trial_norm, using
from autox3d.vision.kernels.depthwise import KERNELS, PARTS, TRITON, Kernel, fits, load_triton

Runs = Mapping[str, Callable[[], object]]
CHECKED = 2  # clips of a check: float64 takes memory
WIDE = 8  # channels that a load may take at once
MADE = "tried at the start"
ROUNDS, CALLS = 7, 20  # of a timing; the median counts of rounds, of calls in a row the mean
ENOUGH = 0.01  # s that the calls in a row may take, as far as one call lets them
HOPELESS = 3  # times as slow as another in a first round: not timed any further
NAMES: dict[Operation, str] = {
    "forward": "the result",
    "input_gradient": "the input's gradient",
    "weight_gradient": "the weight's gradient",
}
FORWARD: tuple[Operation, ...] = ("forward",)


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

    def fused(x: Tensor, weight: Tensor, bias: Any, stride: int, groups: int, *rest: Any) -> Tensor:
        y = convolve(x, weight, bias, stride, groups)
        return y if rest[-1] is None else y + rest[-1]

    recorder = SimpleNamespace(**vars(reference) | {"convolve": convolve, "fused": fused})
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
    parts: Sequence[Operation] = PARTS,
) -> Iterator[Kernels]:
    """Has the convolutions of a GPU take other kernels in the block where they are worth it.

    On a CPU it does nothing. What was decided before it (`choice.decided`) is checked, not timed.

    Args:
        name: of the run, for the line that says why no other kernel is used
        some: returns the convolutions of the run
        clock: times several runs; None where a checkpoint or the settings decide
        dtype: of the input of the convolutions
        parts: of a convolution that the run has; without a backward pass, `FORWARD`
    """
    found = choice.in_use(ranks.device)
    clock = None if found.rows else clock
    if ranks.device.type == "cuda" and (clock or _others(found)):
        found, reason = settled(found, some, dtype, ranks, clock, parts)
        if reason and ranks.rank == 0:
            line = f"{name}: no kernels of Triton: {reason}."
            print(line, file=sys.stderr, flush=True)
    with choice.using_kernels(found):
        yield found


def settled(
    found: Kernels,
    some: Callable[[], Sequence[Layer]],
    dtype: torch.dtype,
    ranks: Ranks,
    clock: Clock | None,
    parts: Sequence[Operation] = PARTS,
) -> tuple[Kernels, str]:
    """The kernels to take, and why none of the others; the same on all processes.

    Args:
        found: what is decided; it counts where there is no clock
    """
    reason, every, device = "", (), ranks.device
    try:
        load_triton()
        every = some()
        # A training's validations have the forward pass of a test
        each = ((one, how) for how in dict.fromkeys((parts, FORWARD)) for one in every)
        wrong = (disagreement(one, dtype, device, how) for one, how in each)
        reason = next(filter(None, wrong), "")
        if not reason:
            reason = others_disagreement(every, dtype, device, backward=parts == PARTS)
        if clock and not reason:
            found = timed(every, dtype, device, clock, parts)
    except torch.OutOfMemoryError:
        reason = "there is not enough memory to try them"
    except Exception as error:  # noqa: BLE001  # of a compiler and a device that nobody here knows
        line = next(iter(str(error).strip().splitlines()), "")
        reason = f"they failed ({type(error).__name__}: {line})"
    if device.type == "cuda":
        torch.cuda.empty_cache()
    reason = next(filter(None, ranks.gather(reason)), "")
    if reason or every:
        depthwise.WORKS[device] = not reason  # for what this process computes afterwards
    if reason:
        return Kernels(REFERENCE, ()), reason
    return Kernels.of(ranks.share(found.plain())), ""


def disagreement(
    layer: Layer, dtype: torch.dtype, device: torch.device, parts: Sequence[Operation] = PARTS
) -> str:
    """What Triton's kernel gets wrong, "" if nothing.

    An element may be off by one rounding of its type, and by `trial_norm.SLACK` of all of them.
    """
    given, alone = random(layer, CHECKED, dtype, device), parts != FORWARD
    wide = [one.double() for one in given]
    exact = runs(KERNELS[REFERENCE], *wide, stride=layer.stride, alone=alone)
    found = runs(KERNELS[TRITON], *given, stride=layer.stride, alone=alone)
    for part in parts:
        name, want = NAMES[part], exact[part]()
        got, other = found[part](), found[part]()
        if by := trial_norm.apart(got, want):
            return f"{name} of {layer} is off by {by} of its size"
        if not torch.equal(got, other):
            return f"{name} of {layer} differs from one run to the next"
    return ""


def small_disagreement(device: torch.device) -> str:
    """What Triton gets wrong in a test, tried at one small size, "" if nothing."""
    layer, kind = Layer((2, 54, 3, 5, 4), (3, 3, 3), 1), torch.float32
    reason = disagreement(layer, kind, device, FORWARD)
    return reason or others_disagreement([layer], kind, device, backward=False)


def others_disagreement(
    some: Sequence[Layer], dtype: torch.dtype, device: torch.device, backward: bool
) -> str:
    """What Triton's other kernels get wrong at the layers' inputs, "" if nothing.

    They are compiled anew for each number of channels that a load takes at once.
    """
    for layer in {gcd(one.size[1], WIDE): one for one in some}.values():
        x = random(layer, CHECKED, dtype, device)[0]
        if reason := trial_norm.disagreement(x, backward):
            return reason
    return ""


def timed(
    some: Sequence[Layer],
    dtype: torch.dtype,
    device: torch.device,
    clock: Clock,
    parts: Sequence[Operation] = PARTS,
) -> Kernels:
    """The faster kernel of each part of each layer, with the milliseconds of each."""
    rows = []
    for layer in some:
        given = random(layer, layer.size[0], dtype, device)
        each = {
            name: runs(kernel, *given, layer.stride, alone=parts != FORWARD)
            for name, kernel in KERNELS.items()
        }
        for part in parts:
            ms = _milliseconds({name: of[part] for name, of in each.items()}, device, clock)
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


def _milliseconds(contenders: Runs, device: torch.device, clock: Clock) -> dict[str, float]:
    """The milliseconds of each; one that is hopeless, such as cuDNN's here and there, counts once.

    So a trial takes seconds also where one of them is a hundred times as slow as another.
    """
    once = {name: taken[0] for name, taken in clock(contenders, 1, device, calls=1).items()}
    least = min(once.values())
    left = {name: run for name, run in contenders.items() if once[name] <= HOPELESS * least}
    if len(left) > 1:
        longest = max(once[name] for name in left)
        calls = min(CALLS, 1 + int(ENOUGH / longest)) if longest else CALLS
        taken = clock(left, ROUNDS, device, calls=calls)
        once |= {name: statistics.median(taken[name]) for name in left}
    return {name: 1e3 * seconds for name, seconds in once.items()}


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
    kernel: Kernel, x: Tensor, weight: Tensor, grad: Tensor, stride: int, *, alone: bool = True
) -> dict[Operation, Callable[[], Tensor]]:
    """The parts of a kernel.

    Args:
        alone: without a bias and swish, which follow in inference
    """
    bias = torch.linspace(-1, 1, len(weight), dtype=weight.dtype, device=weight.device)
    follows = () if alone else (bias, "swish")
    return {
        "forward": lambda: kernel.forward(x, weight, stride, *follows),
        "input_gradient": lambda: kernel.input_gradient(grad, x, weight, stride),
        "weight_gradient": lambda: kernel.weight_gradient(grad, x, weight, stride),
    }


def results(kernel: Kernel, x: Tensor, weight: Tensor, grad: Tensor, stride: int) -> list[Tensor]:
    """What the parts of a kernel give, in the order of `PARTS`."""
    return [run() for run in runs(kernel, x, weight, grad, stride).values()]
