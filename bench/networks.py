"""X3D-S against PyTorchVideo's: a training step and an inference, side by side in one process.

    python -m bench.networks                            # CPU, float32
    python -m bench.networks --device cuda --type bfloat16

Runs of the two alternate, so that other load on the machine slows both; medians are compared.
Then our depthwise convolutions, forward and backward, kernel by kernel in both memory formats,
compared with the bytes that they have to move.

    B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from bench import peers
from torch import Tensor, nn

from autox3d.core.device_table import REFERENCE, DeviceTable, Kernels
from autox3d.runtime.timing import CLOCKS, clock_of, interleaved
from autox3d.vision.arch.blocks import kernel_size
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import backend
from autox3d.vision.kernels.choice import here, in_use, using_kernels
from autox3d.vision.models.network import VideoNet, set_training

X3D_S = Path(__file__).parents[1] / "architectures" / "x3d_s.yaml"
CLASSES = 400
KERNELS = ("t1_s3", "t1_s5", "t3_s3", "t3_s5", "t5_s3", "t5_s5")
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last_3d}
LAYERS = ((54, 28), (108, 14), (216, 7), (432, 4))  # X3D-S's inner channels and H at 112 px


class Logits(nn.Module):
    """Our network with logits (B, classes), like those of the peers."""

    def __init__(self, net: VideoNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        return self.net(clips).mean(1)


def main() -> None:
    """Prints tables in Markdown."""
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    device, dtype = torch.device(args.device), getattr(torch, args.type)
    found, taken = here(device), in_use(device)
    if args.table:
        taken = Kernels(str(args.table), DeviceTable.load(args.table).kernels)
    print(f"torch {found.torch}, {found.name}, {found}, {args.type}, kernels: {taken.name}")
    print(f"batch {args.batch}, {args.frames}x{args.crop}x{args.crop}, {args.repeats} repeats\n")
    with using_kernels(taken):
        networks(args.batch, args.frames, args.crop, args.repeats, device, dtype)
    if not args.no_kernels:
        kernels(args.batch, args.frames, args.repeats, device, dtype)


def arguments() -> argparse.Namespace:
    """The options on the command line."""
    parser = argparse.ArgumentParser(description="X3D-S against PyTorchVideo's.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--type", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=13)
    parser.add_argument("--crop", type=int, default=112)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--table", type=Path, help="of a device; the package's by default")
    parser.add_argument("--no-kernels", action="store_true", help="the networks alone")
    parser.add_argument("--threads", type=int, default=0, help="PyTorch's own choice by default")
    return parser.parse_args()


def networks(
    batch: int, frames: int, crop: int, repeats: int, device: torch.device, dtype: torch.dtype
) -> None:
    """Prints training steps and inference of ours, theirs, and theirs in our memory format."""
    genotype = Genotype.load(X3D_S)
    genotype = replace(genotype, input=replace(genotype.input, frames=frames, crop=crop))
    clips = torch.randn(batch, 3, frames, crop, crop, device=device)
    last = clips.contiguous(memory_format=torch.channels_last_3d)
    own = VideoNet(genotype, CLASSES)
    set_training(own, bn_clips=8, dropout=0.5)
    nets: dict[str, tuple[nn.Module, Tensor]] = {"autox3d": (Logits(own).to(device), last)}
    try:
        settings = {"input_clip_length": frames, "input_crop_size": crop, "depth_factor": 2.2}
        for label, x in (("PyTorchVideo", clips), ("PyTorchVideo, channels last", last)):
            peer = peers.create_x3d(model_num_class=CLASSES, **settings).to(device)
            nets[label] = peer.to(memory_format=layout(x)), x  # pyright: ignore[reportCallIssue]
    except peers.Missing as error:
        print(f"without the peer: {error}", file=sys.stderr)
    steps = {name: training_step(net, x, dtype) for name, (net, x) in nets.items()}
    steps["autox3d by the reference"] = by_reference(steps["autox3d"])
    passes = {name: inference(net, x, dtype) for name, (net, x) in nets.items()}
    table("training step", taken(steps, repeats, device))
    table("inference", taken(passes, repeats, device))


def taken(
    runs: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of runs that take turns; one thread of a CPU on the processor's clock."""
    return interleaved(runs, repeats, device, clock=CLOCKS[clock_of(device)])


def by_reference(step: Callable[[], None]) -> Callable[[], None]:
    """The step with the kernels that are taken where no table says otherwise."""

    def run() -> None:
        with using_kernels(Kernels(REFERENCE, ())):
            step()

    return run


def layout(x: Tensor) -> torch.memory_format:
    """The name of a tensor's memory format."""
    last = x.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if last else torch.contiguous_format


def training_step(net: nn.Module, clips: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """Forward, backward and an update by SGD with momentum."""
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-5)
    labels = torch.zeros(len(clips), dtype=torch.long, device=clips.device)

    def step() -> None:
        net.train()
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(clips.device.type, dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(net(clips), labels)
        loss.backward()
        optimiser.step()

    return step


def inference(net: nn.Module, clips: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """The scores of a batch."""

    def once() -> None:
        net.eval()
        with (
            torch.inference_mode(),
            torch.autocast(clips.device.type, dtype, enabled=dtype != torch.float32),
        ):
            net(clips)

    return once


def table(title: str, seconds: dict[str, list[float]]) -> None:
    """Prints medians with quartiles, and their ratio to the first."""
    print(f"| {title} | median, ms | quartiles, ms | times ours |\n|---|---|---|---|")
    ours = statistics.median(next(iter(seconds.values())))
    for name, taken in seconds.items():
        low, middle, high = (1e3 * q for q in statistics.quantiles(taken, n=4))
        ratio = middle / 1e3 / ours
        print(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {ratio:.2f} |")
    print()


def kernels(
    batch: int, frames: int, repeats: int, device: torch.device, dtype: torch.dtype
) -> None:
    """Times forward and backward of each depthwise kernel, over all inner widths of X3D-S."""
    head = "| depthwise | MB moved | " + " | ".join(f"{name}, ms" for name in FORMATS)
    print(head + " | GB/s, channels last |\n|---|---|---|---|---|")
    for kernel in KERNELS:
        found = {name: layers(kernel, batch, frames, form, device, dtype)
                 for name, form in FORMATS.items()}  # fmt: skip
        runs = {name: run for name, (run, _) in found.items()}
        medians = [1e3 * statistics.median(s) for s in taken(runs, repeats, device).values()]
        moved = found["channels last"][1]
        rate = moved / medians[-1] / 1e6
        cells = " | ".join(f"{median:.2f}" for median in medians)
        print(f"| {kernel} | {moved / 1e6:.1f} | {cells} | {rate:.1f} |")


def layers(
    kernel: str,
    batch: int,
    frames: int,
    form: torch.memory_format,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Callable[[], None], int]:
    """One forward and backward pass of each layer, and the bytes that it has to move at least.

    Those are five: input and output forward; the output's gradient, the input and its gradient
    backward (weights are small).
    """
    time_, space = kernel_size(kernel)
    made = []
    for channels, side in LAYERS:
        shape = (batch, channels, frames, side, side)
        x = torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=form)
        weight = torch.randn(channels, 1, time_, space, space, device=device, dtype=dtype)
        made.append((x.requires_grad_(), weight.requires_grad_(), torch.randn_like(x)))

    def run() -> None:
        for x, weight, gradient in made:
            y = backend(x).convolve(x, weight, None, 1, len(weight))
            torch.autograd.grad(y, (x, weight), gradient)

    return run, sum(5 * x.numel() * x.element_size() for x, _, _ in made)


if __name__ == "__main__":
    main()
