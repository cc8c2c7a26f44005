"""The command that estimates the cost of a pipeline before it runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from autox3d.commands.parser import Commands, positive
from autox3d.core import atomic, schema, settings
from autox3d.core.errors import Refused

if TYPE_CHECKING:  # importing torch is slow
    from autox3d.planning.plan import Rates, StageCost, Videos

HEAD = ("stage", "P multiply-adds", "device-hours", "core-hours", "GB", "files")
SPLITS = ("train", "val", "test")


def add_to(commands: Commands) -> None:
    """Adds the command plan."""
    example = "autox3d plan --rates here.yaml --measure --train 9537 --test 3783 --classes 101"
    one = commands.add("plan", plan, f"{example} --seconds 7")
    one.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="settings of the pipeline"
    )
    one.add_argument(
        "--rates",
        type=Path,
        required=True,
        help="file with measured speeds of a device; see --measure",
    )
    one.add_argument(
        "--measure", action="store_true", help="measure this machine, and write --rates"
    )
    one.add_argument(
        "--clips", type=Path, default=Path("data/clips.parquet"), help="table to count the rest in"
    )
    for split in SPLITS:
        one.add_argument(f"--{split}", type=whole, help="number of videos of this split")
    one.add_argument("--classes", type=positive, help="number of classes")
    one.add_argument("--seconds", type=positive, help="mean duration of a video")
    one.add_argument("--json", action="store_true", help="print JSON")


def whole(text: str) -> int:
    """Parses a number of videos, which may be 0."""
    if (number := int(text)) < 0:
        raise ValueError
    return number


def plan(args: argparse.Namespace) -> None:
    """Print device-hours, core-hours, disk and files of each stage, from measured rates."""
    from autox3d.planning.plan import Rates, stage_costs, upscaled

    params = settings.load(args.params)
    videos = videos_of(args)
    needed = {"train", params.evaluate.split, *params.evaluate.splits}
    if missing := [split for split in SPLITS if split in needed and not getattr(videos, split)]:
        raise Refused(f"plan: no videos of split '{missing[0]}'. Say how many: --{missing[0]} 1000")
    if args.measure:
        from autox3d.planning import rates as machine

        measured = asdict(machine.measure(params))
        atomic.write_text(args.rates, yaml.safe_dump(measured, sort_keys=False))
    elif not args.rates.exists():
        raise Refused(f"{args.rates}: there is no such file. To measure this machine: --measure")
    rates = schema.load(args.rates, Rates)
    stages = rows(stage_costs(params, videos, rates), rates)
    enlarged = upscaled(params, videos)
    if args.json:
        known = {"rates": asdict(rates), "videos": videos._asdict(), "upscaled": enlarged}
        print(json.dumps(known | {"stages": stages}))
    else:
        print(text(stages, rates))
        if enlarged:
            print(warning(enlarged, params.transcode.short))


def videos_of(args: argparse.Namespace) -> Videos:
    """The size of the data: as the command line says it, and otherwise that of the table of clips.

    Where it says how many videos one split has, the others have none unless it says so.

    Raises:
        Refused: there is no table for what the command line leaves out.
    """
    from autox3d.core import tables
    from autox3d.planning.plan import Videos

    counts = [getattr(args, split) for split in SPLITS]
    classes, seconds = args.classes, args.seconds
    known = {"videos of each split": any(counts), "classes": classes, "seconds": seconds}
    if missing := [name for name, value in known.items() if not value]:
        if not args.clips.exists():
            raise Refused(
                f"{args.clips}: there is no such table to count {', '.join(missing)}. Make it (dvc"
                " repro index), or say them: --train 9000 --val 1000 --classes 40 --seconds 10"
            )
        rows = tables.read_table(args.clips)
        if not any(counts):
            counts = [int((rows["split"] == split).sum()) for split in SPLITS]
        classes = classes or len(tables.read_classes(args.clips))
        seconds = seconds or float((rows["frames"] / rows["rate"]).mean())
    train, val, test = (count or 0 for count in counts)
    return Videos(train, val, test, classes, seconds)


def warning(enlarged: dict[str, int], short: int) -> str:
    """One line: which networks see enlarged video, and what would avoid it."""
    sides = ", ".join(f"{name} (up to {side} px)" for name, side in enlarged.items())
    return (
        f"Upscaled: clips are stored with a shorter side of {short} px, and these train or test on"
        f" longer ones: {sides}. Raise 'transcode.short' to {max(enlarged.values())}, if the videos"
        " are that large."
    )


def rows(costs: list[StageCost], rates: Rates) -> list[dict[str, Any]]:
    """Makes one row per stage, and their sum."""
    stages = [
        {
            "stage": one.stage,
            "petamacs": (one.trained + one.forward) / 1e6,
            "device_hours": one.device_hours(rates),
            "core_hours": one.core_hours(rates),
            "gigabytes": one.gigabytes,
            "files": one.files,
        }
        for one in costs
    ]
    total = {key: sum(row[key] for row in stages) for key in stages[0] if key != "stage"}
    return [*stages, {"stage": "total", **total}]


def text(stages: list[dict[str, Any]], rates: Rates) -> str:
    """Formats the rows as a plain-text table, with the rates below it."""
    cells: list[tuple[str, ...]] = [HEAD]
    for row in stages:
        stage, *amounts, files = row.values()
        cells.append((stage, *(f"{value:,.1f}" for value in amounts), f"{files:,}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        stage, *numbers = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([f"{stage.strip():<{widths[0]}}", *numbers]))
    measured = {field.name: getattr(rates, field.name) for field in fields(rates)}
    about = "A device: {device}, measured with {measured}.\n"
    about += (
        "It does {train:g} G multiply-adds a second in training, {forward:g} in forward passes.\n"
    )
    about += "A core transcodes {transcode:g} s of video or cuts {clips:g} clips in a second;\n"
    about += "a second of clip has {megabytes:g} MB.\n"
    about += "Stages that are not listed take minutes. Not counted: raw videos, studies, expansion."
    return "\n".join([*lines, "", about.format(**measured)])
