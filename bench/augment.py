"""AutoAugment on a clip of 13 x 160 x 160: tensor operations against Pillow, frame by frame.

    python bench/augment.py [--device cuda] [--clips 50]

Measures every row of the policy with both its operations, then clips as the policy samples them.
Pixels are compared before anything is timed, and the two alternate. On a CPU the figure is CPU time
on one thread; on a GPU it is wall time for chunks of eight clips in its memory, and Pillow runs on
the CPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

import autox3d.runtime  # noqa: F401  # memory in large pages, as the stages have it
from autox3d.vision.clips.augment_policy import POLICY, Operation, Operations, draw
from autox3d.vision.clips.autoaugment import FILL, autoaugment, autoaugmented

FRAMES, SIDE, CHUNK, ROUNDS = 13, 160, 8, 7
CLOSE = 0.02  # share of pixels that may differ: where a turn meets the border of two


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--device", default="cpu")
    flags.add_argument("--clips", type=int, default=50, help="drawn from the policy")
    options = flags.parse_args()
    torch.set_num_threads(1)
    clip, device = picture(), torch.device(options.device)
    rows = [
        tuple(Operation(name, magnitude / 9, 1) for name, _, magnitude in row)
        for row in dict.fromkeys(POLICY)
    ]
    for row in rows:
        compare(clip, row)
    print(f"{'ms a clip':28} {'tensors':>8} {'Pillow':>8} {'times':>6}")
    for row in rows:
        show(", ".join(one.name for one in row), *measure(clip, [row], device))
    drawn = [draw(np.random.default_rng(seed)) for seed in range(options.clips)]
    show("as the policy draws them", *measure(clip, drawn, device))


def picture() -> Tensor:
    """A clip, uint8 (T, H, W, 3), of smooth patches and some noise, as in a photograph."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(FRAMES, 3, 12, 12, generator=generator)
    smooth = F.interpolate(patches, (SIDE, SIDE), mode="bicubic")
    noise = 0.03 * torch.randn(smooth.shape, generator=generator)
    return ((smooth + noise).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def compare(clip: Tensor, operations: Operations) -> None:
    """Exits if the two do not give the same picture."""
    off = (autoaugment(clip, operations) != by_pillow(clip, operations)).any(-1).float().mean()
    if off > CLOSE:
        raise SystemExit(f"{operations}: {off:.1%} of the pixels differ")


def by_pillow(clip: Tensor, operations: Sequence[Operation]) -> Tensor:
    done = []
    for frame in clip.numpy():
        image = Image.fromarray(frame)
        for name, strength, sign in operations:
            image = PILLOW[name](image, strength, sign)
        done.append(np.asarray(image))
    return torch.from_numpy(np.stack(done))


def sheared(image: Image.Image, strength: float, sign: int) -> Image.Image:
    slope = sign * strength * 0.3
    matrix = (1, slope, -slope * image.height / 2, 0, 1, 0)
    method, nearest = Image.Transform.AFFINE, Image.Resampling.NEAREST
    return image.transform(image.size, method, matrix, nearest, fillcolor=(FILL,) * 3)


def enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Callable[..., Image.Image]:
    return lambda image, strength, sign: kind(image).enhance(1 + sign * 0.9 * strength)


PILLOW: dict[str, Callable[..., Image.Image]] = {
    "rotate": lambda i, s, sign: i.rotate(sign * s * 30, fillcolor=(FILL,) * 3),
    "shear_x": sheared,
    "invert": lambda i, s, sign: ImageOps.invert(i),
    "solarize": lambda i, s, sign: ImageOps.solarize(i, 256 - 256 * s),
    "posterize": lambda i, s, sign: ImageOps.posterize(i, 8 - round(4 * s)),
    "equalize": lambda i, s, sign: ImageOps.equalize(i),
    "autocontrast": lambda i, s, sign: ImageOps.autocontrast(i),
    "color": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "sharpness": enhanced(ImageEnhance.Sharpness),
}


def measure(clip: Tensor, drawn: Sequence[Operations], device: torch.device) -> tuple[float, float]:
    """Seconds a clip with tensors and with Pillow: medians over alternating rounds."""
    chunk = [clip.to(device)] * (CHUNK if device.type == "cuda" else 1)

    def tensors() -> None:
        for some in drawn:
            autoaugmented(chunk, [some] * len(chunk))
        if device.type == "cuda":
            torch.cuda.synchronize()

    def pillow() -> None:
        for some in drawn:
            by_pillow(clip, some)

    clock = time.perf_counter if device.type == "cuda" else time.process_time
    times: dict[str, list[float]] = {"tensors": [], "pillow": []}
    for turn in range(ROUNDS + 1):
        for name, work in (("tensors", tensors), ("pillow", pillow)):
            began = clock()
            work()
            if turn:  # the first warms up
                times[name].append(clock() - began)
    ours, theirs = (statistics.median(times[name]) / len(drawn) for name in times)
    return ours / len(chunk), theirs


def show(name: str, ours: float, theirs: float) -> None:
    print(f"{name:28} {ours * 1e3:8.2f} {theirs * 1e3:8.2f} {theirs / ours:6.1f}", flush=True)


if __name__ == "__main__":
    main()
