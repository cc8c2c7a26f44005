"""Batch norm of several chunks by Triton: right against float64, and how fast.

    python -m bench.chunk_norm --device cuda                     # at the sizes of X3D-S, 64 clips
    TRITON_INTERPRET=1 PYTHONPATH=.triton python -m bench.chunk_norm    # without a GPU, toy sizes

Without a GPU, `make .triton/.ready` installs Triton beside .venv. It ends with an error if a result
is further from float64 than its type allows. The times are those of a norm forward and backward, by
Triton and by PyTorch's operators, in turns.

    B clips, C channels, T frames, S x S pixels
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from autox3d.core.errors import Refused
from autox3d.runtime.program import run
from autox3d.runtime.timing import interleaved
from autox3d.vision.kernels import reference
from autox3d.vision.kernels.gpu import ChunkNorm

CHUNK = 8  # clips
WIDTHS = ((24, 80), (54, 40), (108, 20), (216, 10), (432, 5))  # X3D-S: channels, px
TOY = ((4, 6, 2, 5, 2), (3, 70, 2, 7, 1), (4, 24, 3, 9, 4))  # B, C, T, S; clips of a chunk
ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 1e-2}  # of the norm
PARTS = ("result", "input's gradient", "scale's", "shift's")
FAR = 20.0  # deviations of the input's mean from 0, which a sum of squares would not survive


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser(description="Batch norm of several chunks by Triton.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    device = torch.device(args.device)
    print("| B x C x T x S x S | chunk | type | " + " | ".join(PARTS) + " |\n" + "|---" * 7 + "|")
    wrong = [row for kind in ALLOWED for row in checked(kind, device)]
    if device.type == "cuda":
        print(f"\n| C x px, {args.clips} clips | Triton, ms | PyTorch, ms |\n|---|---|---|")
        for channels, side in WIDTHS:
            size = (args.clips, channels, 13, side)
            clocked(size, device, args.repeats)
    if wrong:
        raise Refused(f"further from float64 than its type allows: {', '.join(wrong)}.")


def checked(kind: torch.dtype, device: torch.device) -> Iterator[str]:
    """Prints the errors at each size; yields those that are too large."""
    for *size, clips in TOY:
        exact = results(torch.float64, kind, size, clips, device)
        found = results(kind, kind, size, clips, device)
        errors = [
            float((one.double() - want).norm() / want.norm())
            for one, want in zip(found, exact, strict=True)
        ]
        name = f"{' x '.join(map(str, size))} | {clips} | {str(kind).removeprefix('torch.')}"
        print(f"| {name} | " + " | ".join(f"{error:.1e}" for error in errors) + " |", flush=True)
        if not max(errors) <= ALLOWED[kind]:
            yield name


def results(
    computed: torch.dtype, kind: torch.dtype, size: list[int], clips: int, device: torch.device
) -> list[Tensor]:
    """`PARTS` of an input in type `kind`: in float64 by PyTorch's operators, else by Triton."""
    x, scale, shift, grad = given(size, kind, device)
    wide = torch.promote_types(computed, torch.float32)
    parts = x.to(computed), scale.to(wide), shift.to(wide)
    leaves = [part.detach().clone().requires_grad_() for part in parts]
    norm = by_pytorch if computed == torch.float64 else by_triton
    x, scale, shift = leaves
    y = norm(x, scale, shift, clips)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad.to(computed))]


def given(
    size: list[int] | tuple[int, ...], kind: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A random input far from 0, a scale, a shift and a gradient."""
    clips, channels, frames, side = size
    generator = torch.Generator(device).manual_seed(1)
    shape = clips, frames, side, side, channels
    x, grad = (
        torch.randn(shape, generator=generator, device=device).permute(0, 4, 1, 2, 3)
        for _ in range(2)
    )
    scale, shift = torch.linspace(0.5, 1.5, 2 * channels, device=device).split(channels)
    return (x + FAR).to(kind), scale, shift, grad.to(kind)


def by_triton(x: Tensor, scale: Tensor, shift: Tensor, clips: int) -> Tensor:
    """Normalised by the kernels of Triton."""
    return ChunkNorm.apply(x, scale, shift, clips, 1e-5)[0]


def by_pytorch(x: Tensor, scale: Tensor, shift: Tensor, clips: int) -> Tensor:
    """Normalised by PyTorch's operators."""
    return reference.chunk_norm(x, scale, shift, None, 0.1, clips, 1e-5)


def clocked(size: tuple[int, ...], device: torch.device, repeats: int) -> None:
    """Prints the times of one size in bfloat16."""
    x, scale, shift, grad = given(size, torch.bfloat16, device)
    leaves = [leaf.detach().requires_grad_() for leaf in (x, scale, shift)]

    def both(norm: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(norm(*leaves, CHUNK), leaves, grad)

    taken = interleaved({"t": both(by_triton), "p": both(by_pytorch)}, repeats, device)
    cells = " | ".join(f"{1e3 * statistics.median(one):.3f}" for one in taken.values())
    print(f"| {size[1]} x {size[3]} | {cells} |", flush=True)


if __name__ == "__main__":
    run(main)
