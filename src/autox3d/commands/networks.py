"""Networks without data: their cost, table and picture, another size, published weights."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from autox3d.commands.parser import Commands, positive
from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec
from autox3d.sizing.scaling import scaled
from autox3d.vision.arch.cost import Cost, cost
from autox3d.vision.arch.genotype import Genotype

Row = tuple[str, ...]
HEAD = ("", "block", "expansion", "channels", "blocks", "stride", "SE", "attention")
HEAD += ("output", "parameters", "M multiply-adds")


def add_to(commands: Commands) -> None:
    """count, show, draw, scale, import-weights."""
    for name, command in (("count", count), ("show", show), ("draw", draw)):
        one = commands.add(name, command)
        one.add_argument("genotype", type=Path, help="architectures/autox3d_s.yaml, for example")
        one.add_argument("--frames", type=positive, help="of a clip; the genotype's by default")
        one.add_argument(
            "--crop", type=positive, help="px; the genotype's training crop by default"
        )
        one.add_argument("--classes", type=positive, default=400, help="400 by default")
        if name == "count":
            one.add_argument("--json", action="store_true", help="for programs")
        if name == "draw":
            one.add_argument("--out", type=Path, required=True, help="an .svg or .png file")

    one = commands.add("scale", scale)
    one.add_argument("genotype", type=Path)
    one.add_argument("--depth", type=float, required=True, help="times the blocks of each stage")
    for size in ("frames", "stride", "crop", "short"):
        one.add_argument(f"--{size}", type=positive, required=True, help="of the new input")
    one.add_argument("--out", type=Path, required=True, help="the new genotype, named after it")

    one = commands.add("import-weights", import_weights)
    one.add_argument("checkpoint", type=Path, help="of PyTorchVideo or SlowFast")
    one.add_argument("--genotype", type=Path, required=True)
    one.add_argument("--classes", type=Path, help="a file with one name a line; numbers without it")
    one.add_argument("--out", type=Path, required=True, help="the folder to make")


def count(args: argparse.Namespace) -> None:
    """Print parameters, multiply-adds in the published conventions, activations and memory."""
    genotype, account = counted(args)
    lcr = cost(genotype, args.classes, args.frames, genotype.input.short)
    found = {
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
    print(json.dumps(found, indent=2) if args.json else summary(found))


def summary(found: dict) -> str:
    """What `count` says to people."""
    here, lcr = (f"{found['frames']}x{found[crop]}x{found[crop]}" for crop in ("crop", "lcr_crop"))
    return "\n".join(
        [
            f"{found['name']}, {found['classes']} classes",
            f"  parameters             {found['params']:>11,}",
            f"  ... without BN affine  {found['params_without_bn']:>11,}",
            f"  G multiply-adds        {found['gmacs']:>11.3f}  at {here}",
            f"                         {found['gmacs_lcr']:>11.3f}  at {lcr}, a crop of the "
            "left-centre-right test",
            f"  ... and 5 for each     {found['gmacs_with_bn']:>11.3f}  at {here}",
            f"      batch-norm output  {found['gmacs_with_bn_lcr']:>11.3f}  at {lcr}",
            f"  M activations          {found['activations'] / 1e6:>11.3f}  at {here}",
            f"  MB at once, float32    {found['peak_bytes'] / 1e6:>11.3f}  at {here}, inference",
        ]
    )


def show(args: argparse.Namespace) -> None:
    """Print a genotype like the paper's Table 2, with the cost of each row."""
    genotype, account = counted(args)
    rows: list[Row] = [HEAD]
    for number, part in enumerate(account.parts):
        frames = 1 if part.name == "head" else account.frames
        size = f"{part.channels}x{frames}x{part.side}²"
        costs = (size, f"{part.params:,}", f"{part.macs / 1e6:,.1f}")
        rows.append(table_row(genotype, number) + costs)
    total = f"{account.params:,}", f"{1e3 * account.gmacs:,.1f}"
    rows.append(("total", *[""] * (len(HEAD) - 3), *total))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"{genotype.name}, {account.classes} classes, {account.frames}x{account.crop}²")
    for row in rows:
        cells = zip(row, widths, strict=True)
        print("  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(cells)))


def table_row(genotype: Genotype, number: int) -> Row:
    """Stem, groups, head: the columns that the genotype has."""
    if number == 0:
        time = f", {genotype.stem.temporal_kernel}x1²" if genotype.stem.temporal_kernel > 1 else ""
        return "stem", f"1x3²{time}", "", str(genotype.stem.channels), "", "2", "", ""
    if number > len(genotype.groups):
        head = genotype.head
        return "head", f"1x1², pool, {head.hidden}", "", str(head.channels), "", "", "", ""
    group = genotype.groups[number - 1]
    return (
        str(number),
        group.kernel,
        f"{group.expansion:g}",
        str(group.channels),
        str(group.blocks),
        str(group.stride),
        group.squeeze_excite.replace("none", "-"),
        group.attention.replace("none", "-"),
    )


def draw(args: argparse.Namespace) -> None:
    """Draw a genotype: its blocks, their widths and kernels, and where the cost lies."""
    from autox3d.reporting import drawing  # matplotlib takes its time

    drawing.draw(*counted(args), args.out)


def scale(args: argparse.Namespace) -> None:
    """Make a genotype of another size: other clips, deeper stages."""
    clip = ClipSpec(frames=args.frames, stride=args.stride, crop=args.crop, short=args.short)
    made = scaled(Genotype.load(args.genotype), args.out.stem, clip, args.depth)
    command = f"autox3d scale {args.genotype} --depth {args.depth:g}"
    sizes = " ".join(f"--{name} {size}" for name, size in asdict(clip).items())
    made.save(args.out, f"{command}\n  {sizes} --out {args.out}")


def import_weights(args: argparse.Namespace) -> None:
    """Turn a published X3D checkpoint into a folder of weights that `evaluate` takes."""
    from autox3d.inference import published  # torch takes its time

    names = args.classes.read_text(encoding="utf-8").splitlines() if args.classes else None
    published.convert(args.checkpoint, Genotype.load(args.genotype), names, args.out)


def counted(args: argparse.Namespace) -> tuple[Genotype, Cost]:
    """The genotype and its account at the sizes asked for."""
    genotype = Genotype.load(args.genotype)
    try:
        return genotype, cost(genotype, args.classes, args.frames, args.crop)
    except ValueError as error:
        raise Refused(f"{args.genotype}: {error}.") from error
