"""Commands for networks that need no data: cost, table, picture, scaling, published weights."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autox3d.commands.parser import Commands, positive
from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec
from autox3d.reporting import layer_table
from autox3d.sizing.scaling import scaled
from autox3d.vision.arch.cost import Cost, cost
from autox3d.vision.arch.genotype import Genotype


def add_to(commands: Commands) -> None:
    """Adds the commands count, show, draw, scale and import-weights."""
    for name, command in (("count", count), ("show", show), ("draw", draw)):
        example = f"autox3d {name} x3d_s" + (" --out x3d_s.svg" if name == "draw" else "")
        one = commands.add(name, command, example)
        text = "a file, a folder of weights, or a name such as x3d_s"
        one.add_argument("genotype", type=Path, help=text)
        one.add_argument(
            "--frames", type=positive, help="frames of a clip; the genotype's by default"
        )
        one.add_argument(
            "--crop",
            type=positive,
            help="side of a clip, px; the genotype's training crop by default",
        )
        one.add_argument(
            "--classes", type=positive, help="number of classes; those of the weights, or 400"
        )
        if name == "count":
            one.add_argument("--json", action="store_true", help="print JSON")
        if name == "draw":
            one.add_argument("--out", type=Path, required=True, help="an .svg or .png file")

    sizes = "--frames 16 --stride 5 --crop 224 --short 256"
    one = commands.add("scale", scale, f"autox3d scale x3d_s --depth 1.5 {sizes} --out mine.yaml")
    one.add_argument("genotype", type=Path)
    one.add_argument(
        "--depth", type=float, required=True, help="factor on the blocks of each stage"
    )
    for size in ("frames", "stride", "crop", "short"):
        one.add_argument(f"--{size}", type=positive, required=True, help="of the new input")
    one.add_argument(
        "--out", type=Path, required=True, help="file of the new genotype, which gets its name"
    )

    example = "autox3d import-weights x3d_s.pyth --genotype x3d_s --out weights/x3d_s"
    one = commands.add("import-weights", import_weights, example)
    one.add_argument("checkpoint", type=Path, help="a checkpoint of PyTorchVideo or SlowFast")
    one.add_argument("--genotype", type=Path, required=True)
    one.add_argument(
        "--classes", type=Path, help="a file with one class name per line; default: numbers"
    )
    one.add_argument("--out", type=Path, required=True, help="the folder to create")


def count(args: argparse.Namespace) -> None:
    """Print parameters, multiply-adds in the published conventions, activations and memory."""
    genotype, account = counted(args)
    lcr = cost(genotype, account.classes, args.frames, genotype.input.short)
    counts = {
        "name": genotype.name,
        "frames": account.frames,
        "crop": account.crop,
        "lcr_crop": lcr.crop,
        "classes": account.classes,
        "params": account.params,
        "params_without_bn": account.params_without_bn,
        "gmacs": account.gmacs,
        "gmacs_lcr": lcr.gmacs,
        "gmacs_with_bn": account.gmacs_with_bn,
        "gmacs_with_bn_lcr": lcr.gmacs_with_bn,
        "activations": account.activations,
        "peak_bytes": account.peak_bytes,
    }
    print(json.dumps(counts, indent=2) if args.json else summary(counts))


def summary(counts: dict[str, Any]) -> str:
    """Formats the counts as text."""
    here, lcr = (
        f"{counts['frames']}x{counts[crop]}x{counts[crop]}" for crop in ("crop", "lcr_crop")
    )
    return "\n".join(
        [
            f"{counts['name']}, {counts['classes']} classes",
            f"  parameters             {counts['params']:>11,}",
            f"  ... without BN affine  {counts['params_without_bn']:>11,}",
            f"  G multiply-adds        {counts['gmacs']:>11.3f}  at {here}",
            f"                         {counts['gmacs_lcr']:>11.3f}  at {lcr}, a crop of the "
            "left-centre-right test",
            f"  ... and 5 for each     {counts['gmacs_with_bn']:>11.3f}  at {here}",
            f"      batch-norm output  {counts['gmacs_with_bn_lcr']:>11.3f}  at {lcr}",
            f"  M activations          {counts['activations'] / 1e6:>11.3f}  at {here}",
            f"  MB at once, float32    {counts['peak_bytes'] / 1e6:>11.3f}  at {here}, inference",
        ]
    )


def show(args: argparse.Namespace) -> None:
    """Print a genotype like the paper's Table 2, with the cost of each row."""
    genotype, account = counted(args)
    total = f"{account.params:,}", f"{1e3 * account.gmacs:,.1f}"
    rows = [layer_table.HEAD, *layer_table.rows(genotype, account)]
    rows.append(("total", *[""] * (len(layer_table.HEAD) - 3), *total))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"{genotype.name}, {account.classes} classes, {account.frames}x{account.crop}²")
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        print("  ".join(c.ljust(w) if i < layer_table.WORDS else c.rjust(w) for i, (c, w) in cells))


def draw(args: argparse.Namespace) -> None:
    """Draw a genotype: the widths and kernels of its blocks, and the cost of its groups."""
    from autox3d.reporting import drawing  # importing matplotlib is slow

    drawing.draw(*counted(args), args.out)
    print(f"{args.out}: drawn")


def scale(args: argparse.Namespace) -> None:
    """Scale a genotype to another clip size and depth."""
    clip = ClipSpec(frames=args.frames, stride=args.stride, crop=args.crop, short=args.short)
    genotype = scaled(Genotype.load(args.genotype), args.out.stem, clip, args.depth)
    command = f"autox3d scale {args.genotype} --depth {args.depth:g}"
    sizes = " ".join(f"--{name} {size}" for name, size in asdict(clip).items())
    genotype.save(args.out, f"{command}\n  {sizes} --out {args.out}")


def import_weights(args: argparse.Namespace) -> None:
    """Convert a published X3D checkpoint to a folder of weights for `evaluate`."""
    from autox3d.inference import published  # importing torch is slow

    names = args.classes.read_text(encoding="utf-8").splitlines() if args.classes else None
    published.convert(args.checkpoint, Genotype.load(args.genotype), names, args.out)


def counted(args: argparse.Namespace) -> tuple[Genotype, Cost]:
    """Loads the genotype, and counts its cost at the sizes of the command line."""
    genotype, classes = Genotype.load(args.genotype), args.classes or 400
    if args.genotype.is_dir() and not args.classes:
        from autox3d.vision.models import weights  # importing torch is slow

        classes = len(weights.load(args.genotype).classes)
    try:
        return genotype, cost(genotype, classes, args.frames, args.crop)
    except ValueError as error:
        raise Refused(f"{args.genotype}: {error}.") from error
