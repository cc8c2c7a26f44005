"""Commands that use a trained network elsewhere: export, bench."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from autox3d.commands.given import video_files
from autox3d.commands.parser import Commands, positive, share

FORMS = ("fast", "folded", "plain", "bfloat16", "pt2", "onnx")


def add_to(commands: Commands) -> None:
    """Adds the commands export and bench."""
    folder = "data/weights/s"
    example = f"autox3d export --weights {folder} --out s.onnx"
    _add_export(commands.add("export", export, example))
    example = f"autox3d bench {folder} x3d_s --repeats 20"
    _add_bench(commands.add("bench", bench, example))


def _add_export(one: argparse.ArgumentParser) -> None:
    one.add_argument("--weights", type=Path, required=True, help="a folder such as data/weights/s")
    one.add_argument("--out", type=Path, required=True, help="a .pt2 (PyTorch) or .onnx file")
    one.add_argument(
        "--crops",
        choices=["lcr", "center"],
        default="lcr",
        help="the test whose crop size it takes",
    )
    one.add_argument(
        "--int8", nargs="+", metavar="VIDEO", help="quantise to int8, calibrated on these"
    )
    one.add_argument(
        "--check",
        nargs="+",
        metavar="VIDEO",
        help="compare the answers for these with the network's; by default those of --int8",
    )
    one.add_argument(
        "--agree",
        type=share,
        default=0.9,
        help="share of these that must keep their best class; 0.9 by default",
    )


def _add_bench(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "networks",
        nargs="+",
        type=Path,
        metavar="NETWORK",
        help="a folder of weights, a genotype, or a name such as x3d_s",
    )
    one.add_argument(
        "--forms", nargs="+", choices=FORMS, default=["fast"], help="variants; fast by default"
    )
    one.add_argument("--views", type=positive, default=30, help="views per video; 30 by default")
    one.add_argument(
        "--batch", type=positive, help="views per forward pass; default: as in predict"
    )
    one.add_argument("--repeats", type=positive, default=500, help="timed runs; 500 by default")
    one.add_argument("--warmup", type=positive, default=20, help="untimed runs; 20 by default")
    one.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    one.add_argument(
        "--classes", type=positive, default=400, help="classes of a genotype; 400 by default"
    )
    one.add_argument("--json", action="store_true", help="print JSON")


def export(args: argparse.Namespace) -> None:
    """Export a network to one file for other programs, and check its scores."""
    from autox3d.inference.agreement import judged
    from autox3d.inference.export import calibration, export
    from autox3d.vision.clips.views import test_size
    from autox3d.vision.models import weights

    trained = weights.load(args.weights)
    side = test_size(args.crops, trained.genotype.input.short, trained.genotype.input.crop)
    clips = calibration(trained, video_files(args.int8), args.crops) if args.int8 else None
    videos = video_files(args.check or args.int8 or [])
    judge = partial(judged, trained=trained, videos=videos, crops=args.crops) if videos else None
    exported = export(trained, args.out, side, clips, judge, args.agree)
    print(
        f"{args.out}: {exported.bytes / 1e6:.2f} MB for {side}x{side} px; scores within "
        f"{exported.difference:.1e} of the network's on random clips"
    )
    if (found := exported.agreement) is None:
        return
    print(f"{args.out}: {found}")
    if found.same < found.videos:
        others = found.videos - found.same
        line = f"{args.out}: warning: {others} of {found.videos} videos change their best class."
        print(line, file=sys.stderr)


def bench(args: argparse.Namespace) -> None:
    """Time networks side by side on all views of a video (synthetic input), as Auto-TSNet does."""
    from autox3d.inference.benchmark import benchmark, markdown

    rows = benchmark(
        args.networks,
        args.forms,
        views=args.views,
        batch=args.batch,
        repeats=args.repeats,
        warmup=args.warmup,
        device=args.device,
        classes=args.classes,
    )
    print(json.dumps(rows, indent=2) if args.json else markdown(rows))
