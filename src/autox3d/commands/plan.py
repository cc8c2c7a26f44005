"""The command that estimates the cost of a pipeline before it runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autox3d.commands.parser import Commands, positive
from autox3d.core import settings
from autox3d.core.device_table import DeviceTable, Rates
from autox3d.core.errors import Refused
from autox3d.core.values import UNTIMED

if TYPE_CHECKING:  # importing torch is slow
    from autox3d.planning.plan import StageCost, Videos

HEAD = ("stage", "P multiply-adds", "device-hours", "core-hours", "GB", "files", "limit")
HERE = "params/here.yaml"  # a name for a table
LISTED = Path("data/videos.parquet")  # of `annotate`: all videos, before their length is known
SPLITS = ("train", "val", "test")


def add_to(commands: Commands) -> None:
    """Adds the command plan."""
    one = commands.add("plan", plan, "autox3d plan --table here.yaml")
    one.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="settings of the pipeline"
    )
    text = "table of a device, made by `autox3d tune`; by default `device.table`"
    one.add_argument("--table", type=Path, help=text)
    one.add_argument(
        "--clips", type=Path, default=Path("data/clips.parquet"), help="table to count videos in"
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
    from autox3d.planning.plan import stage_costs, upscaled

    params = settings.load(args.params)
    videos = videos_of(args)
    needed = {"train", params.evaluate.split, *params.evaluate.splits}
    if missing := [split for split in SPLITS if split in needed and not getattr(videos, split)]:
        raise Refused(f"plan: no videos of split '{missing[0]}'. Say how many: --{missing[0]} 1000")
    rates = rates_of(args.table or Path(params.device.table))
    stages = rows(stage_costs(params, videos, rates), rates)
    enlarged = upscaled(params, videos)
    if args.json:
        known = {"rates": asdict(rates), "videos": videos._asdict(), "upscaled": enlarged}
        print(json.dumps(known | {"stages": stages}))
    else:
        print(text(stages, rates))
        if enlarged:
            print(warning(enlarged, params.transcode.short))


def rates_of(path: Path) -> Rates:
    """The rates in the table of a device.

    Raises:
        Refused: there is no table, or it has none.
    """
    if str(path) == UNTIMED or not path.exists():
        raise Refused(f"{path}: there is no table of a device. Make one: autox3d tune --out {HERE}")
    if (rates := DeviceTable.load(path).rates) is None:
        raise Refused(f"{path}: has no 'rates'. Make another table: autox3d tune --out {HERE}")
    return rates


def videos_of(args: argparse.Namespace) -> Videos:
    """The size of the data: as the command line says it, and otherwise that of the workspace.

    The table of clips has all of it; where it is not made yet and `--seconds` is said, the list of
    `annotate` is counted. Where the command line says how many videos one split has, the others
    have none unless it says so.

    Raises:
        Refused: there is no table for what the command line leaves out.
    """
    from autox3d.core import tables
    from autox3d.planning.plan import Videos

    counts = [getattr(args, split) for split in SPLITS]
    classes, seconds = args.classes, args.seconds
    known = {"videos of each split": any(counts), "classes": classes, "seconds": seconds}
    if missing := [name for name, value in known.items() if not value]:
        path = args.clips if args.clips.exists() or not seconds else LISTED
        if not path.exists():
            raise Refused(
                f"{args.clips}: there is no such table to count {', '.join(missing)}. Make it (dvc"
                " repro index), or say them: --train 9000 --val 1000 --classes 40 --seconds 10"
            )
        rows = tables.read_table(path)
        if not any(counts):
            counts = [int((rows["split"] == split).sum()) for split in SPLITS]
        classes = classes or len(tables.read_classes(path))
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
            "limit": one.limit(rates),
        }
        for one in costs
    ]
    words = ("stage", "limit")
    total = {key: sum(row[key] for row in stages) for key in stages[0] if key not in words}
    return [*stages, {"stage": "total", **total, "limit": ""}]


def text(stages: list[dict[str, Any]], rates: Rates) -> str:
    """Formats the rows as a plain-text table, with the rates below it."""
    cells: list[tuple[str, ...]] = [HEAD]
    for row in stages:
        stage, *amounts, files, limit = row.values()
        cells.append((stage, *(f"{value:,.1f}" for value in amounts), f"{files:,}", limit))
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
    about += "a second of clip has {megabytes:g} MB, and the disk does {disk:g} MB in a second.\n"
    about += "Limit: what takes longest, one device, its {cores} cores, or the disk.\n"
    about += "Stages that are not listed take minutes. Not counted: raw videos, studies, expansion."
    return "\n".join([*lines, "", about.format(**measured)])
