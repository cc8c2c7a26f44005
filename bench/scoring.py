"""Scoring the views of a test video on one device: the ways of before and of now.

    python -m bench.scoring --device cuda  # X3D-S, 10 clips, 3 crops of 182 px and a centre
    python -m bench.scoring --frames 4 --short 56   # a CPU, small

A video's frames are there decoded, in the host's memory, which a GPU copies from by itself, as
behind the thread that feeds a test. Before: the network as trained, views cut on the host. Now:
folded, in the device's fastest type, views cut on the device, for a video alone and for several in
a pass; on a GPU also with passes captured. Scores are compared before anything is timed; the ways
take turns. With `--peer`, PyTorchVideo's X3D-S scores as many views, already normalised, in both
memory formats.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from bench import peers
from bench.training import PEERS
from torch import Tensor, nn

from autox3d.core.device_table import REFERENCE, Kernels
from autox3d.core.values import ClipSpec
from autox3d.runtime.distributed import World
from autox3d.runtime.timing import interleaved
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips import views
from autox3d.vision.clips.videos import Decoded
from autox3d.vision.kernels.choice import using_kernels
from autox3d.vision.kernels.trial import FORWARD, layers, tried
from autox3d.vision.learning.capture import cuda_graph
from autox3d.vision.learning.scoring import Scorer
from autox3d.vision.models.fold import fast_dtype, folded
from autox3d.vision.models.network import VideoNet, open_branches
from autox3d.vision.tasks.classify import TASK

CROPS: tuple[views.Crops, ...] = ("center", "lcr")
PLACES = views.test_places(10, "ends")
DIFFERENT = 100  # frames of a video that any view has
Ways = dict[str, Callable[[], Tensor]]
AGREE = 0.1  # of the norm of all scores; a weight in bfloat16 has three digits


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--genotype", type=Path, default=Path("architectures/x3d_s.yaml"))
    flags.add_argument("--device", default="cpu")
    flags.add_argument("--frames", type=int, default=13)
    flags.add_argument("--short", type=int, default=182, help="px; the centre has 160/182 of it")
    flags.add_argument("--videos", type=int, default=3, help="that share a pass")
    flags.add_argument("--peer", action="store_true")
    flags.add_argument("--repeats", type=int, default=20)
    options = flags.parse_args()
    device = torch.device(options.device)
    crop = round(options.short * 160 / 182)
    spec = ClipSpec(frames=options.frames, stride=6, crop=crop, short=options.short)
    torch.manual_seed(1)
    net = VideoNet(replace(Genotype.load(options.genotype), input=spec), 400)
    open_branches(net, 1.0)
    nn.init.normal_(net.head.classify.weight, std=1.0)  # scores that differ from class to class
    videos = [video(row, spec) for row in range(options.videos)]
    shape = (len(videos) * 3 * len(PLACES), 3, spec.frames, spec.short, spec.short)
    pixels, world = torch.empty(shape, device="meta"), World(0, 1, device)
    some, kind = (lambda: layers(folded(net), pixels)), fast_dtype(device)
    with tried("scoring", some, world, interleaved, kind, FORWARD):
        measure(options, ways(net, videos, spec, device), spec, device)


def measure(options: argparse.Namespace, timed: Ways, spec: ClipSpec, device: torch.device) -> None:
    """Compares the scores of the ways, and prints a table.

    Raises:
        SystemExit: they differ.
    """
    first, *others = (way() for way in timed.values())
    worst = max(float((other - first).norm() / first.norm()) for other in others)
    if not worst < AGREE:
        raise SystemExit(f"scores differ by {worst:.1e} of their norm")
    if options.peer:
        timed |= {form: peer(form, spec, device, options.videos) for form in PEERS}
    seconds = interleaved(timed, options.repeats, device)
    print(f"{'':44} {'ms a video':>10} {'range':>15}   scores differ by {worst:.0e}")
    for name, rounds in seconds.items():
        each = [1e3 * one / options.videos for one in rounds]
        spread = f"{min(each):.1f}-{max(each):.1f}"
        print(f"{name:44} {statistics.median(each):10.1f} {spread:>15}")


def video(row: int, spec: ClipSpec) -> Decoded:
    """A video of noise, four thirds as wide as high."""
    shape = (DIFFERENT, spec.short, spec.short * 4 // 3, 3)
    times = torch.randint(DIFFERENT, (len(PLACES), spec.frames)).sort()[0]
    return Decoded(row, PLACES, times, torch.randint(0, 256, shape, dtype=torch.uint8))


def ways(net: VideoNet, videos: list[Decoded], spec: ClipSpec, device: torch.device) -> Ways:
    """Each scores all views of the videos: (V of all, 400) on the CPU, video by video."""
    batch = len(videos) * len(PLACES) * 3
    fast = folded(net).to(device, fast_dtype(device))
    plain = Scorer(net.to(device), TASK, device, batch)
    now = Scorer(fast, TASK, device, batch)
    captured = Scorer(fast, TASK, device, batch, cuda_graph)
    if device.type == "cuda":
        videos = [one._replace(frames=one.frames.pin_memory()) for one in videos]

    def there(one: Decoded) -> Decoded:
        frames = one.frames.to(device, non_blocking=True)
        return one._replace(times=one.times.to(device), frames=frames)

    def of(scorer: Scorer, some: list[Decoded]) -> Tensor:
        scores = [scorer.videos([one.views(crops, spec) for one in some]) for crops in CROPS]
        parts = [each.unflatten(0, (len(some), -1)) for each in scores]
        return torch.cat(parts, 1).flatten(0, 1).cpu()

    def before() -> Tensor:
        with using_kernels(Kernels(REFERENCE, ())):
            return torch.cat([of(plain, [one]) for one in videos])

    together = f"folded, cut on the device, {len(videos)} in a pass"
    found: Ways = {
        "as trained, cut on the host, one by one": before,
        "folded, cut on the device, one by one": lambda: torch.cat(
            [of(now, [there(one)]) for one in videos]
        ),
        together: lambda: of(now, [there(one) for one in videos]),
    }
    if device.type == "cuda":
        found[f"{together}, captured"] = lambda: of(captured, [there(one) for one in videos])
    return found


def peer(form: str, spec: ClipSpec, device: torch.device, videos: int) -> Callable[[], Tensor]:
    """The views of so many videos by PyTorchVideo's network, in a pass for each size of crop."""
    shape = {"input_clip_length": spec.frames, "input_crop_size": spec.crop}
    net = peers.create_x3d(model_num_class=400, depth_factor=2.2, **shape).eval()
    kind = fast_dtype(device) if device.type == "cuda" else torch.float32
    net = net.to(device, kind).to(memory_format=PEERS[form])  # pyright: ignore[reportCallIssue]
    views = [
        torch.randn(videos * count, 3, spec.frames, side, side, device=device)
        .to(kind)
        .contiguous(memory_format=PEERS[form])
        for count, side in ((len(PLACES), spec.crop), (3 * len(PLACES), spec.short))
    ]

    @torch.inference_mode()
    def run() -> Tensor:
        return torch.cat([net(some).flatten(1) for some in views]).float().cpu()

    return run


if __name__ == "__main__":
    main()
