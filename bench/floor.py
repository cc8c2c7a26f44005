"""How near the convolutions of an inference are to what one thread of this CPU can do at most.

    python -m bench.floor                                                         # X3D-S, folded
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m bench.floor        # held to AVX2

Two ceilings are measured here: the multiply-adds of a large matrix product in float32, by MKL or by
oneDNN, and the bytes read and written of a large copy. A convolution takes at least as long as its
multiply-adds by the first, and as the bytes of its input, weight, output and summand by the second;
the larger of both is its floor. Each is timed in the network, on the processor's clock, as it runs.

    B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from dataclasses import replace
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from autox3d.runtime.timing import CLOCKS, interleaved
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import Backend, cpu, using
from autox3d.vision.models.fold import folded
from autox3d.vision.models.network import VideoNet

CPU, CLOCK = torch.device("cpu"), CLOCKS["processor"]
X3D_S = Path(__file__).parents[1] / "architectures/x3d_s.yaml"
SIDE, COPIED = 1024, 2**24  # of the product; numbers of the copy


class Part(NamedTuple):
    """What a kind of convolution asks for, and what it takes."""

    macs: float  # G
    moved: float  # MB
    floor: float  # ms
    taken: float  # ms


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description="Floors of an inference on one thread of a CPU.")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=13)
    parser.add_argument("--crop", type=int, default=112)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    macs, moved = ceilings(args.repeats)
    print(
        f"{torch.backends.cpu.get_cpu_capability()}: {macs:.1f} G multiply-adds a second, ", end=""
    )
    print(f"{moved:.1f} GB a second\n")
    genotype = Genotype.load(X3D_S)
    spec = replace(genotype.input, frames=args.frames, crop=args.crop, short=args.crop)
    net = folded(VideoNet(replace(genotype, input=spec), 400))
    clips = torch.randn(args.batch, 3, args.frames, args.crop, args.crop)
    clips = clips.contiguous(memory_format=torch.channels_last_3d)
    parts = convolutions(net, clips, args.repeats, macs, moved)
    with torch.inference_mode():
        whole = interleaved({"": lambda: net(clips)}, args.repeats, CPU, clock=CLOCK)[""]
    table(parts, 1e3 * statistics.median(whole))


def ceilings(repeats: int) -> tuple[float, float]:
    """The best of this thread: 1e9 multiply-adds a second, and 1e9 bytes a second."""
    a, b, bias = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE), torch.zeros(SIDE)
    weight, x = b.view(SIDE, SIDE, 1, 1, 1), a.view(1, 1, 32, SIDE // 32, SIDE)
    x = x.permute(0, 4, 1, 2, 3)  # in channels_last_3d
    here, there = torch.randn(COPIED), torch.empty(COPIED)
    runs = {
        "product": lambda: torch.mm(a, b),
        "convolution": lambda: cpu.fused(x, weight, bias, 1, 1, "none", None),
        "copy": lambda: there.copy_(here),
    }
    with torch.inference_mode():
        best = {name: min(s) for name, s in interleaved(runs, repeats, CPU, clock=CLOCK).items()}
    product = min(best["product"], best["convolution"])
    return SIDE**3 / product / 1e9, 8 * COPIED / best["copy"] / 1e9


def convolutions(
    net: VideoNet, clips: Tensor, repeats: int, macs: float, moved: float
) -> dict[str, Part]:
    """The convolutions of a pass by kind, each repeated where it stands."""
    found: dict[str, list[Part]] = defaultdict(list)

    def fused(x: Tensor, weight: Tensor, bias: Tensor, *rest: Any) -> Tensor:
        run = lambda: cpu.fused(x, weight, bias, *rest)  # noqa: E731
        taken = statistics.median(interleaved({"": run}, repeats, CPU, clock=CLOCK)[""])
        y = run()
        asked = y.numel() * prod(weight.shape[1:]) / 1e9
        bytes_ = 4 * (x.numel() + y.numel() * (1 + (rest[-1] is not None)) + weight.numel()) / 1e6
        floor = max(1e3 * asked / macs, bytes_ / moved)
        kind = " x ".join(map(str, weight.shape[2:])) + (" depthwise" if rest[1] > 1 else "")
        found[kind].append(Part(asked, bytes_, floor, 1e3 * taken))
        return y

    recorder = SimpleNamespace(**vars(cpu) | {"fused": fused})
    with torch.inference_mode(), using(cast("Backend", recorder)):
        net(clips)
    return {kind: Part(*map(sum, zip(*some, strict=True))) for kind, some in found.items()}


def table(parts: dict[str, Part], whole: float) -> None:
    """Prints each kind, their sum, and the whole network in milliseconds."""
    print("| convolutions | G multiply-adds | MB | floor, ms | taken, ms | times the floor |")
    print("|---|---:|---:|---:|---:|---:|")
    total = Part(*map(sum, zip(*parts.values(), strict=True)))
    for kind, part in {**parts, "all": total}.items():
        print(f"| {kind} | {part.macs:.2f} | {part.moved:.0f} | {part.floor:.1f} | "
              f"{part.taken:.1f} | {part.taken / part.floor:.2f} |")  # fmt: skip
    print(f"| the whole network | | | | {whole:.1f} | {whole / total.floor:.2f} |")


if __name__ == "__main__":
    main()
