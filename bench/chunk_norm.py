"""Batch norm of several chunks by Triton, with what follows it: right against float64, how fast.

    python -m bench.chunk_norm --device cuda                     # at the sizes of X3D-S, 64 clips
    TRITON_INTERPRET=1 PYTHONPATH=.triton python -m bench.chunk_norm --all    # without a GPU

Without a GPU, `make .triton/.ready` installs Triton beside .venv. It ends with an error if a result
is further from float64 than its type allows, or differs from one run to the next. The times are
those of a norm forward and backward, by Triton and by PyTorch's operators, in turns.

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
from autox3d.vision.kernels.gpu_norm import ChunkNorm

CHUNK = 8  # clips
WIDTHS = ((24, 80), (54, 40), (108, 20), (216, 10), (432, 5))  # X3D-S: channels, px
TOY = (
    (4, 7, 2, 5, 2),
    (3, 70, 2, 7, 1),
    (4, 24, 3, 9, 4),
    (2, 108, 3, 5, 1),
)  # B, C, T, S; clips of a chunk
FORMS = {  # the activation, and whether something is added before it
    "alone": ("none", False),
    "ReLU": ("relu", False),
    "swish": ("swish", False),
    "sum, ReLU": ("relu", True),
}
ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 1e-2}  # of the norm
PARTS = ("result", "input's gradient", "scale's", "shift's", "sum's")
FAR = 20.0  # deviations of the input's mean from 0, which a sum of squares would not survive


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser(description="Batch norm of several chunks by Triton.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--all", action="store_true", help="more than one size")
    args = parser.parse_args()
    device = torch.device(args.device)
    print(
        "| B x C x T x S | chunk | then | type | " + " | ".join(PARTS) + " |\n" + "|---" * 9 + "|"
    )
    sizes = TOY if args.all else TOY[:1]
    each = ((kind, form, size) for kind in ALLOWED for form in FORMS for size in sizes)
    wrong = [row for kind, form, size in each for row in checked(kind, form, size, device)]
    if device.type == "cuda":
        print(
            f"\n| C x px, {args.clips} clips | then | Triton, ms | PyTorch, ms |\n|---|---|---|---|"
        )
        for channels, side in WIDTHS:
            for form in FORMS:
                clocked((args.clips, channels, 13, side), form, device, args.repeats)
    if wrong:
        raise Refused(f"further from float64 than its type allows: {', '.join(wrong)}.")


def checked(
    kind: torch.dtype, form: str, case: tuple[int, ...], device: torch.device
) -> Iterator[str]:
    """Prints the errors at a size; yields its name if they are too large, or differ in two runs."""
    *size, clips = case
    exact = results(torch.float64, kind, size, clips, form, device)
    found, again = (results(kind, kind, size, clips, form, device) for _ in range(2))
    errors = [
        float((one.double() - want).norm() / want.norm())
        for one, want in zip(found, exact, strict=True)
    ]
    name = f"{' x '.join(map(str, size))} | {clips} | {form} | {str(kind)[6:]}"
    print(f"| {name} | " + " | ".join(f"{error:.1e}" for error in errors) + " |", flush=True)
    same = all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
    if not (max(errors) <= ALLOWED[kind] and same):
        yield name


def results(
    computed: torch.dtype,
    kind: torch.dtype,
    size: list[int],
    clips: int,
    form: str,
    device: torch.device,
) -> list[Tensor]:
    """`PARTS` of an input in type `kind`: in float64 by PyTorch's operators, else by Triton."""
    (then, added), (*parts, grad) = FORMS[form], given(size, kind, device)
    x, scale, shift, plus = parts
    wide = torch.promote_types(computed, torch.float32)
    parts = x.to(computed), scale.to(wide), shift.to(wide), plus.to(computed)
    leaves = [part.detach().clone().requires_grad_() for part in parts[: 4 if added else 3]]
    norm = by_pytorch if computed == torch.float64 else by_triton
    x, scale, shift, *more = leaves
    y = norm(x, scale, shift, more[0] if added else None, clips, then)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad.to(computed))]


def given(
    size: list[int] | tuple[int, ...], kind: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A random input far from 0, a scale, a shift, what is added, and a gradient."""
    clips, channels, frames, side = size
    generator = torch.Generator(device).manual_seed(1)
    shape = clips, frames, side, side, channels
    x, plus, grad = (
        torch.randn(shape, generator=generator, device=device).permute(0, 4, 1, 2, 3)
        for _ in range(3)
    )
    scale, shift = torch.linspace(0.5, 1.5, 2 * channels, device=device).split(channels)
    return (x + FAR).to(kind), scale, shift, plus.to(kind), grad.to(kind)


def by_triton(
    x: Tensor, scale: Tensor, shift: Tensor, plus: Tensor | None, clips: int, then: str
) -> Tensor:
    """Normalised by the kernels of Triton."""
    return ChunkNorm.apply(x, scale, shift, plus, clips, 1e-5, then)[0]


def by_pytorch(
    x: Tensor, scale: Tensor, shift: Tensor, plus: Tensor | None, clips: int, then: str
) -> Tensor:
    """Normalised by PyTorch's operators."""
    return reference.chunk_norm(x, scale, shift, None, 0.1, clips, 1e-5, then, plus)


def clocked(size: tuple[int, ...], form: str, device: torch.device, repeats: int) -> None:
    """Prints the times of one size in bfloat16."""
    (then, added), (*parts, grad) = FORMS[form], given(size, torch.bfloat16, device)
    leaves = [leaf.detach().requires_grad_() for leaf in parts[: 4 if added else 3]]

    def both(norm: Callable[..., Tensor]) -> Callable[[], object]:
        def run() -> object:
            y = norm(*leaves[:3], leaves[3] if added else None, CHUNK, then)
            return torch.autograd.grad(y, leaves, grad)

        return run

    taken = interleaved({"t": both(by_triton), "p": both(by_pytorch)}, repeats, device)
    cells = " | ".join(f"{1e3 * statistics.median(one):.3f}" for one in taken.values())
    print(f"| {size[1]} x {size[3]} | {form} | {cells} |", flush=True)


if __name__ == "__main__":
    run(main)
