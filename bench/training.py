"""A training step by the loop of training, in each form that a pass can have, on one device.

    python -m bench.training --device cuda            # X3D-S, 64 clips a step, in bfloat16
    python -m bench.training --frames 4 --crop 64 --batch 16 --repeats 3    # a CPU, small

The forms: chunk by chunk; the same from a captured CUDA graph; all chunks in one pass; these as
torch.compile makes them; each by the package's table of kernels, by PyTorch's, or tried. Steps
of the forms alternate. A form that fails says why in its line. Beside them, PyTorchVideo's X3D-S, a
step of one pass, in both memory formats (`make .peers/.ready`).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from bench import peers
from bench.networks import training_step

from autox3d.core.device_table import REFERENCE, Kernels
from autox3d.runtime.timing import interleaved
from autox3d.training.graph import choose
from autox3d.training.loop import Schedule, State, train_steps
from autox3d.training.passes import Pass, Passes
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.loader import Batch
from autox3d.vision.kernels import choice, trial
from autox3d.vision.learning.capture import cuda_graph
from autox3d.vision.learning.schedule import sgd
from autox3d.vision.models.network import VideoNet, open_branches, set_training
from autox3d.vision.tasks.classify import TASK

ARCHITECTURES = Path(__file__).parents[1] / "architectures"
CLASSES = 400
TRIED = ", kernels tried"  # at the end of a form: as `train` does where there is no table
PYTORCH = ", PyTorch's kernels"  # likewise; without, those of the package's table for the device
FORMS = {
    "by chunks": (False, False, False),  # captured, all chunks in one pass, compiled
    "captured": (True, False, False),
    "one pass": (False, True, False),
    "one pass, captured": (True, True, False),
    "compiled": (False, False, True),
    "one pass, compiled": (False, True, True),
    "one pass, compiled, captured": (True, True, True),
}
FORMS |= {name + end: form for name, form in FORMS.items() for end in (TRIED, PYTORCH)}
PEERS = {
    "PyTorchVideo": torch.contiguous_format,
    "PyTorchVideo, channels last": torch.channels_last_3d,
}


def main() -> None:
    """Prints a table in Markdown."""
    args = arguments()
    device = torch.device(args.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {name}, {args.of}, {args.batch} clips a step", flush=True)
    steps: dict[str, Callable[[], object]] = {}
    for form in args.forms:
        try:
            steps[form] = (peer if form in PEERS else step_of)(args, device, form)
        except (RuntimeError, peers.Missing) as error:  # of the compiler, or of the device
            print(f"{form}: {str(error).splitlines()[0]}", flush=True)
    print("| form | median, ms | quartiles, ms | clips/s |\n|---|---|---|---|")
    for form, seconds in interleaved(steps, args.repeats, device).items():
        low, middle, high = (1e3 * q for q in statistics.quantiles(seconds, n=4))
        rate = 1e3 * args.batch / middle
        print(f"| {form} | {middle:.1f} | {low:.1f} to {high:.1f} | {rate:.0f} |")


def arguments() -> argparse.Namespace:
    """The options on the command line."""
    parser = argparse.ArgumentParser(description="A training step in each form of a pass.")
    parser.add_argument("--of", default="x3d_s", help="a network of architectures/")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--frames", type=int, default=13)
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument(
        "--forms", nargs="+", default=["by chunks", *PEERS], choices=[*FORMS, *PEERS]
    )
    return parser.parse_args()


def step_of(args: argparse.Namespace, device: torch.device, form: str) -> Callable[[], object]:
    """A function that does one step in a form; it has done one already.

    Raises:
        RuntimeError: this device, or this machine's compiler, cannot.
    """
    captured, whole, compiled = FORMS[form]
    if captured and device.type == "cpu":
        raise RuntimeError("a CPU has no CUDA graphs.")
    found = Genotype.load(ARCHITECTURES / f"{args.of}.yaml")
    spec = replace(found.input, frames=args.frames, crop=args.crop, short=args.crop)
    torch.manual_seed(1)
    net = VideoNet(replace(found, input=spec), CLASSES)
    set_training(net, bn_clips=args.chunk, dropout=0.5)
    open_branches(net, 0.5)
    net = net.to(device)
    state = State(net, sgd(net, 0.9, 5e-5))
    size = args.batch if whole else None
    schedule = Schedule(1, 1, 10**6, 0, 1e-4, args.batch, args.chunk, size, compiled)
    world: Any = SimpleNamespace(size=1, device=device, sum_=lambda tensors: None)
    one = batch_of(args, device)

    def endless(epoch: int, start: int) -> Iterator[Batch]:
        while True:
            yield one

    def capture(passes: Passes, first: Pass) -> None:
        reason = choose(passes, first, cuda_graph, lambda own: [own])
        if reason:
            raise RuntimeError(f"no CUDA graph: {reason}.")

    steps = train_steps(state, TASK, schedule, endless, world, capture if captured else None)
    taken = choice.in_use(device)
    if form.endswith(TRIED):
        taken = kernels_of(net, args, device, size or args.chunk)
    elif form.endswith(PYTORCH):
        taken = Kernels(REFERENCE, ())

    def step() -> object:
        with choice.using_kernels(taken):
            return next(steps)

    step()
    return step


def kernels_of(
    net: VideoNet, args: argparse.Namespace, device: torch.device, clips: int
) -> Kernels:
    """The kernels that a run would take; prints what each took.

    Raises:
        RuntimeError: a run would take none but PyTorch's.
    """
    world: Any = SimpleNamespace(device=device, gather=lambda own: [own], share=lambda own: own)
    shape = clips, 3, args.frames, args.crop, args.crop
    some = partial(trial.layers, net, torch.empty(shape, device="meta"))
    found, reason = trial.settled(Kernels(REFERENCE, ()), some, torch.bfloat16, world, interleaved)
    if reason:
        raise RuntimeError(f"no kernels of Triton: {reason}.")
    for row in found.rows:
        times = ", ".join(f"{name} {ms:.3f}" for name, ms in row.ms.items())
        print(f"{row.operation} of {row.kernel}, stride {row.stride}: {times} ms")
    return found


def peer(args: argparse.Namespace, device: torch.device, form: str) -> Callable[[], object]:
    """The same for PyTorchVideo's X3D-S, whose batch norm is over all clips.

    Raises:
        peers.Missing: it is not installed.
    """
    shape = {"input_clip_length": args.frames, "input_crop_size": args.crop}
    net = peers.create_x3d(model_num_class=CLASSES, depth_factor=2.2, **shape).to(device)
    net = net.to(memory_format=PEERS[form])  # pyright: ignore[reportCallIssue]
    clips = torch.randn(args.batch, 3, args.frames, args.crop, args.crop, device=device)
    clips = clips.contiguous(memory_format=PEERS[form])
    step = training_step(net, clips, torch.bfloat16 if device.type == "cuda" else torch.float32)
    step()
    return step


def batch_of(args: argparse.Namespace, device: torch.device) -> Batch:
    """Random clips, in pinned memory where there is a GPU."""
    shape = (args.batch, args.frames, args.crop, args.crop, 3)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8)
    clips = clips.pin_memory() if device.type == "cuda" else clips
    sizes = [len(part) for part in clips.split(args.chunk)]
    labels = torch.randint(0, CLASSES, (args.batch,))
    return Batch(clips, labels, labels, range(len(sizes)), sizes, [()] * args.batch)


if __name__ == "__main__":
    main()
