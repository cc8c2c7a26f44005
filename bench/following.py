"""What follows a convolution, by Triton: right against float64, and how fast.

    python -m bench.following --device cuda                     # at the sizes of X3D-S, 90 views
    TRITON_INTERPRET=1 PYTHONPATH=.triton python -m bench.following --all    # without a GPU
    PYTHONPATH=.triton python -m bench.following --compile 90        # registers, for a H100

Without a GPU, `make .triton/.ready` installs Triton beside .venv. Checked are a depthwise
convolution with bias and activation, a sum with bias and activation behind any other, the gate of
squeeze-excite with its gradients, and, with `--all`, more sizes and a small network with all of
them and batch norm, trained and folded. It ends with an error if a result is further from float64
than its type allows, or differs from one run to the next. Times are of Triton and of PyTorch's
operators, in turns.

    B clips, C channels, T frames, S x S pixels
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from bench.assembly import assembled
from torch import Tensor

from autox3d.core.device_table import Choice, Kernels
from autox3d.core.errors import Refused
from autox3d.runtime.program import run
from autox3d.runtime.timing import interleaved
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import Backend, choice, gpu, reference, using
from autox3d.vision.kernels.depthwise import KERNELS, TRITON, load_triton
from autox3d.vision.models.fold import folded
from autox3d.vision.models.network import VideoNet, open_branches, set_training

NETWORK = "a network"
X3D_S = Path(__file__).parents[1] / "architectures/x3d_s.yaml"
WIDTHS = ((54, 46), (108, 23), (216, 12), (432, 6))  # X3D-S at 182 px: inner channels, px
TOY = ((2, 7, 2, 5), (2, 6, 3, 5), (1, 54, 2, 4), (2, 108, 2, 3))  # B, C, T, S
ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 1e-2}  # of the norm
DEEP = 5e-5  # the same for the gradients of a network in float32; by PyTorch's operators 1e-5
OTHERS = Kernels("others", [Choice(operation="forward", kernel="t5_s5", stride=2, numbers=1,
                                   use=TRITON, ms={})])  # fmt: skip  # all but depthwise ones
Results = Callable[[bool, torch.dtype], list[Tensor]]  # by Triton or not, in a type


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser(description="What follows a convolution, by Triton.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--clips", type=int, default=90)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--all", action="store_true", help="more sizes, and a network")
    parser.add_argument("--compile", nargs="+", type=int, default=[], help="80, 90: for sm_80 ...")
    args = parser.parse_args()
    load_triton()
    if args.compile:
        compiled(args.compile)
        return
    device = torch.device(args.device)
    print("| of | B x C x T x S | type | worst |\n|---|---|---|---|")
    sizes, kinds = (TOY, tuple(ALLOWED)) if args.all else (TOY[:1], (torch.float32,))
    wrong = [row for size in sizes for row in checked(cases(size, device), size, kinds)]
    if args.all:
        whole: dict[str, Results] = {NETWORK: lambda by, kind: network(by, kind, device)}
        wrong += checked(whole, (4, 3, 2, 32), (torch.float32,))
    if device.type == "cuda":
        print(
            f"\n| of | C x px, {args.clips} views | Triton, ms | PyTorch, ms |\n|---|---|---|---|"
        )
        for channels, side in WIDTHS:
            clocked((args.clips, channels, 13, side), device, args.repeats)
    if wrong:
        raise Refused(f"wrong, or not the same twice: {', '.join(wrong)}.")


def checked(
    some: dict[str, Results], size: tuple[int, ...], kinds: tuple[torch.dtype, ...]
) -> Iterator[str]:
    """Prints the worst error of each case in each type; yields those that are too large."""
    for name, results in some.items():
        for kind in kinds:
            allowed = DEEP if name == NETWORK else ALLOWED[kind]
            exact, *twice = results(False, kind), results(True, kind), results(True, kind)
            errors = [
                float((one.double() - want).norm() / want.norm().clamp(min=1e-12))
                for one, want in zip(twice[0], exact, strict=True)
            ]
            row = f"{name} | {' x '.join(map(str, size))} | {str(kind).removeprefix('torch.')}"
            print(f"| {row} | {max(errors):.1e} |", flush=True)
            if not (max(errors) <= allowed and all(map(torch.equal, *twice))):
                yield row


def cases(size: tuple[int, ...], device: torch.device) -> dict[str, Results]:
    """What is checked at a size, by name."""

    def depthwise(stride: int, then: str) -> Results:
        def results(by_triton: bool, kind: torch.dtype) -> list[Tensor]:
            x, _, _, shift = given(size, kind, device)
            weight = torch.linspace(-1, 1, size[1] * 27, device=device).view(-1, 1, 3, 3, 3)
            kernel = KERNELS[TRITON if by_triton else "reference"].forward
            return [kernel(x if by_triton else x.double(), weight, stride, shift, then)]

        return results

    def sums(then: str, biased: bool, added: bool) -> Results:
        def results(by_triton: bool, kind: torch.dtype) -> list[Tensor]:
            x, plus, _, shift = given(size, kind, device)
            bias, more = shift if biased else None, plus if added else None
            return [finished(x, bias, more, then, by_triton)]

        return results

    def gate(then: str) -> Results:
        def results(by_triton: bool, kind: torch.dtype) -> list[Tensor]:
            x, grad, scale, _ = given(size, kind, device)
            kind = kind if by_triton else torch.float64
            x, scale = (one.to(kind).detach().requires_grad_() for one in (x, scale))
            y = (gpu.Gated.apply if by_triton else reference.gated)(x, scale, then)
            return [y.detach(), *torch.autograd.grad(y, (x, scale), grad.to(kind))]

        return results

    return {
        "depthwise, bias": depthwise(1, "none"),
        "depthwise, bias, ReLU": depthwise(2, "relu"),
        "depthwise, bias, swish": depthwise(2, "swish"),
        "bias, sum, ReLU": sums("relu", True, True),
        "bias, swish": sums("swish", True, False),
        "sum, ReLU": sums("relu", False, True),
        "gate": gate("none"),
        "gate, ReLU": gate("relu"),
        "gate, swish": gate("swish"),
    }


def given(
    size: tuple[int, ...], kind: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two random tensors in channels last; a random gate (B, C) in their type; a bias (C,)."""
    clips, channels, frames, side = size
    generator = torch.Generator(device).manual_seed(1)
    shape = clips, frames, side, side, channels
    x, other = (
        torch.randn(shape, generator=generator, device=device).permute(0, 4, 1, 2, 3).to(kind)
        for _ in range(2)
    )
    gate = torch.rand(clips, channels, generator=generator, device=device).to(kind)
    return x, other, gate, torch.linspace(-1, 1, channels, device=device)


def finished(
    x: Tensor, bias: Tensor | None, plus: Tensor | None, then: str, by_triton: bool
) -> Tensor:
    """then(x + bias + plus), by Triton in a copy, else in float64."""
    from autox3d.vision.kernels import triton_elementwise

    if by_triton:
        return triton_elementwise.finish(x.clone(), bias, plus, then)
    x = x.double() if bias is None else x.double() + bias.view(-1, 1, 1, 1)
    return reference.finished(x, then, plus)


def network(by_triton: bool, kind: torch.dtype, device: torch.device) -> list[Tensor]:
    """Logits, gradients, statistics and folded logits of a block of each stage, two chunks."""
    found = Genotype.load(X3D_S)
    spec = replace(found.input, frames=2, crop=32, short=32)
    groups = tuple(
        replace(group, blocks=1 + (place == 0)) for place, group in enumerate(found.groups)
    )
    torch.manual_seed(1)
    net = VideoNet(replace(found, input=spec, groups=groups), 5).to(device)
    set_training(net, bn_clips=2)
    open_branches(net, 0.5)
    clips = torch.randn(4, 3, 2, 32, 32).to(device)
    net, clips = (net, clips) if by_triton else (net.double(), clips.double())
    backend = gpu if by_triton else reference
    with using(cast("Backend", backend)), choice.using_kernels(OTHERS):
        logits = net.train()(clips)
        logits.square().sum().backward()
        with torch.inference_mode():
            scores = folded(net)(clips)
    grads = torch.cat([one.grad.flatten() for one in net.parameters() if one.grad is not None])
    running = torch.cat([one.flatten() for one in net.buffers() if one.is_floating_point()])
    return [logits.detach(), grads, running, scores]


def clocked(size: tuple[int, ...], device: torch.device, repeats: int) -> None:
    """Prints the times of each case at one size in bfloat16."""
    x, other, gate, shift = given(size, torch.bfloat16, device)
    weight = torch.linspace(-1, 1, size[1] * 27, device=device).view(-1, 1, 3, 3, 3)
    leaves = [one.detach().requires_grad_() for one in (x, gate)]
    from autox3d.vision.kernels import triton_elementwise as by

    def both_ways(gated: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(gated(*leaves, "swish"), leaves, other)

    def behind(kernel: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: reference.finished(
            kernel(x, weight, 1) + shift.to(x.dtype).view(-1, 1, 1, 1), "swish", None
        )

    kernel, changed = KERNELS[TRITON].forward, x.clone()
    runs: dict[str, tuple[Any, Any]] = {
        "depthwise, bias, swish": (lambda: kernel(x, weight, 1, shift, "swish"), behind(kernel)),
        "sum, ReLU": (
            lambda: by.finish(changed, None, other, "relu"),
            lambda: reference.finished(changed, "relu", other),
        ),
        "gate, swish, both ways": (both_ways(gpu.Gated.apply), both_ways(reference.gated)),
    }
    for name, (mine, theirs) in runs.items():
        with torch.set_grad_enabled("ways" in name):
            taken = interleaved({"t": mine, "p": theirs}, repeats, device)
        cells = " | ".join(f"{1e3 * statistics.median(one):.3f}" for one in taken.values())
        print(f"| {name} | {size[1]} x {size[3]} | {cells} |", flush=True)


def compiled(versions: list[int]) -> None:
    """Prints registers and spilled bytes of each kernel, compiled for GPUs that are not here."""
    print("| kernel | sm | registers | spilled, bytes |\n" + "|---" * 4 + "|")
    for name, function, constants in specialised():
        for sm in versions:
            made = assembled(function, constants, sm)
            print(f"| {name} | {sm} | {made.registers} | {made.spilled} |", flush=True)


def specialised() -> Iterator[tuple[str, Any, dict[str, int]]]:
    """The kernels, with the values that they are compiled for at 54 channels."""
    from autox3d.vision.kernels import triton_depthwise as conv
    from autox3d.vision.kernels import triton_elementwise as by
    from autox3d.vision.kernels import triton_norm as norm

    (_, unit), (rows, width) = by.in_units(54), by.tile(54)
    total, tile = {"UNIT": unit, **norm.TOTAL}, {"UNIT": unit, "ROWS": rows, "WIDTH": width}
    swish, after_sum = {**tile, "THEN": 2}, {**tile, "PLUS": 1, "THEN": 1}
    taps = conv.forward_constants(torch.empty(54, 1, 3, 3, 3), 1, WIDTHS[0][1])
    yield "depthwise, bias, swish", conv.forward_kernel, {**taps, "BIAS": 1, "THEN": 2}
    yield "bias, swish", by.finish_kernel, {**swish, "BIAS": 1, "PLUS": 0}
    yield "sum, ReLU", by.finish_kernel, {**after_sum, "BIAS": 0}
    yield "gate, swish", by.gate_kernel, swish
    yield "gate, swish, backward", by.gate_backward_kernel, swish
    yield "moments", norm.moments_kernel, tile
    yield "statistics", norm.statistics_kernel, total
    yield "running statistics", norm.running_kernel, {"WIDTH": norm.TOTAL["ROWS"]}
    yield "norm, swish", norm.forward_kernel, {**swish, "PLUS": 0}
    yield "norm, sum, ReLU", norm.forward_kernel, after_sum
    yield "sums of swish", norm.sums_kernel, {**swish, "PLUS": 0}
    yield "sums after a sum", norm.sums_kernel, after_sum
    yield "totals", norm.totals_kernel, total
    yield "norm, swish, backward", norm.backward_kernel, swish


if __name__ == "__main__":
    run(main)
