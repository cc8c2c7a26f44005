"""The kernels of depthwise convolutions, one by one: right against float64, and how fast.

    python -m bench.depthwise --device cuda                     # with times, at X3D-S's widths
    TRITON_INTERPRET=1 PYTHONPATH=.triton python -m bench.depthwise  # without a GPU, toy sizes
    PYTHONPATH=.triton python -m bench.depthwise --compile 90   # instructions, on a H100

Without a GPU, `make .triton/.ready` installs Triton beside .venv. It ends with an error if a result
is further from float64 than its type allows, or has read outside of its input.

    B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from bench.assembly import assembled
from torch import Tensor

from autox3d.core.errors import Refused
from autox3d.inference.latency import interleaved
from autox3d.runtime.program import run
from autox3d.vision.arch.blocks import kernel_size
from autox3d.vision.kernels import trial
from autox3d.vision.kernels.depthwise import KERNELS, PARTS, TRITON, load_triton
from autox3d.vision.kernels.trial import Layer

NAMES = ("t1_s3", "t1_s5", "t3_s3", "t3_s5", "t5_s3", "t5_s5")
WIDTHS = ((54, 40), (108, 20), (216, 10), (432, 5))  # X3D-S: inner channels, px out at 160 px
ALLOWED = {"float32": 1e-5, "bfloat16": 1e-2}  # of the norm
ALIGNED = 64  # numbers, so that memory begins where the widest loads can
TOY, SMALL = (1, 3, 3, 3, 4), (2, 54, 5, 9, 11)  # sizes of a check, of a CPU and of a GPU
HEAD = "| kernel | stride | type | by | result | input's gradient | weight's |\n" + "|---" * 7 + "|"


def main() -> None:
    """Prints tables in Markdown."""
    args = arguments()
    load_triton()
    if args.compile:
        compiled(args)
        return
    device = torch.device(args.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "Triton's interpreter"
    print(f"torch {torch.__version__}, {name}\n\n{HEAD}", flush=True)
    wrong = [row for one in cases(args) for row in checked(*one, args, device)]
    if device.type == "cuda":
        print("\n| kernel | stride | C x px | part | MB | " + " | ".join(
            f"{name}, ms" for name in KERNELS) + " | GB/s |\n" + "|---" * 8 + "|")  # fmt: skip
        for one in cases(args):
            clocked(*one, args, device)
    if wrong:
        raise Refused(f"further from float64 than its type allows: {', '.join(wrong)}.")


def arguments() -> argparse.Namespace:
    """The options on the command line."""
    parser = argparse.ArgumentParser(description="The kernels of depthwise convolutions.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--kernels", nargs="+", default=NAMES, help="t5_s1 is the stem's")
    parser.add_argument("--strides", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--types", nargs="+", default=["float32", "bfloat16"], choices=ALLOWED)
    parser.add_argument("--size", nargs=5, type=int, help="of a check: B C T H W")
    parser.add_argument("--batch", type=int, default=8, help="clips that are timed at once")
    parser.add_argument("--frames", type=int, default=13)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--compile", nargs="+", type=int, default=[], help="80, 90: for sm_80 ...")
    return parser.parse_args()


def cases(args: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Each kernel with each stride."""
    return ((kernel, stride) for kernel in args.kernels for stride in args.strides)


def checked(
    kernel: str, stride: int, args: argparse.Namespace, device: torch.device
) -> Iterator[str]:
    """Prints the errors of every kernel; yields the names of Triton's that are too large."""
    size = tuple(args.size or (SMALL if device.type == "cuda" else TOY))
    layer = layer_of(kernel, stride, size)
    for kind in args.types:
        x, weight, grad = trial.random(layer, size[0], getattr(torch, kind), device)
        given = amid_nan(x), weight, amid_nan(grad)
        exact = trial.results(KERNELS["reference"], *(x.double() for x in given), stride=stride)
        for by, of in KERNELS.items():
            found = trial.results(of, *given, stride=stride)
            errors = [relative(one, want) for one, want in zip(found, exact, strict=True)]
            cells = " | ".join(f"{error:.1e}" for error in errors)
            print(f"| {kernel} | {stride} | {kind} | {by} | {cells} |", flush=True)
            if by == TRITON and not max(errors) <= ALLOWED[kind]:
                yield f"{kernel}, stride {stride}, {kind}"


def amid_nan(x: Tensor) -> Tensor:
    """(B, C, T, H, W) in the middle of memory full of NaN: what reads outside of it shows."""
    rows = x.permute(0, 2, 3, 4, 1)
    room = -(-x.numel() // ALIGNED) * ALIGNED
    around = torch.full((3, room), torch.nan, dtype=x.dtype, device=x.device)[1, : x.numel()]
    return around.copy_(rows.flatten()).view(rows.shape).permute(0, 4, 1, 2, 3)


def relative(found: Tensor, exact: Tensor) -> float:
    """The norm of the difference over that of the exact one."""
    return ((found.double() - exact).norm() / exact.norm()).item()


def layer_of(kernel: str, stride: int, size: tuple[int, ...]) -> Layer:
    """The layer with a kernel's name."""
    time, space = kernel_size(kernel)
    return Layer(size, (time, space, space), stride)


def clocked(kernel: str, stride: int, args: argparse.Namespace, device: torch.device) -> None:
    """Prints the time of each part at each width of X3D-S in bfloat16, in turns."""
    for channels, side in WIDTHS:
        size = (args.batch, channels, args.frames, side * stride, side * stride)
        layer = layer_of(kernel, stride, size)
        x, weight, grad = trial.random(layer, args.batch, torch.bfloat16, device)
        moved = 2 * (prod(x.shape) + prod(grad.shape))  # bytes; weights are small
        runs = {by: trial.runs(of, x, weight, grad, stride) for by, of in KERNELS.items()}
        for part in PARTS:
            each = {by: of[part] for by, of in runs.items()}
            seconds = interleaved(each, args.repeats, device)
            medians = [statistics.median(taken) for taken in seconds.values()]
            cells = " | ".join(f"{1e3 * taken:.3f}" for taken in medians)
            rate = moved / medians[-1] / 1e9
            print(f"| {kernel} | {stride} | {channels} x {side * stride} | {part} | "
                  f"{moved / 1e6:.1f} | {cells} | {rate:.0f} |", flush=True)  # fmt: skip


def compiled(args: argparse.Namespace) -> None:
    """Prints what each kernel is compiled to, at the widest layers of X3D-S."""
    print("| kernel | stride | sm | of | registers | spilled, bytes | instructions, multiply-adds "
          "of the inner loop |\n" + "|---" * 7 + "|")  # fmt: skip
    for kernel, stride in cases(args):
        for name, function, constants in specialised(*kernel_size(kernel), stride):
            for sm in args.compile:
                made = assembled(function, constants, sm)
                cells = f"{name} | {made.registers} | {made.spilled} | {made.loop or ''}"
                print(f"| {kernel} | {stride} | {sm} | {cells} |", flush=True)


def specialised(time: int, space: int, stride: int) -> Iterator[tuple[str, Any, dict[str, int]]]:
    """The functions of Triton that a size needs, with the values that they are compiled for."""
    from autox3d.vision.kernels import triton_depthwise as by

    weight, width = torch.empty(54, 1, time, space, space), WIDTHS[0][1]
    forward = by.forward_constants(weight, stride, width)
    yield "forward", by.forward_kernel, {**forward, "BIAS": 0, "THEN": 0}
    if stride > 1:
        yield "input", by.backward_kernel, by.backward_constants(weight, stride, stride * width)
    yield "weight", by.weights_kernel, by.weights_constants(weight, stride, width)


if __name__ == "__main__":
    run(main)
