"""The command that times the parts of a space's networks on a device."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autox3d.commands.parser import Commands, positive
from autox3d.core.errors import Refused
from autox3d.core.latency_table import HeldOut, LatencyTable
from autox3d.runtime.progress import progress

if TYPE_CHECKING:  # importing torch is slow
    import torch

    from autox3d.planning.timings import Parts
    from autox3d.vision.arch.genotype import Genotype

PAUSE = 10.0  # s between two writes of the table


def add_to(commands: Commands) -> None:
    """Adds the command profile."""
    example = "autox3d profile space_demo --device cpu --out latency.json"
    one = commands.add("profile", profile, example)
    one.add_argument("space", type=Path, help="a file, or a name such as space_autox3d")
    one.add_argument("--device", choices=["cpu", "cuda"], required=True, help="cpu or cuda")
    one.add_argument("--out", type=Path, required=True, help="the table, for `search.latency`")
    add_setup_to(one)
    text = "parts to time, at most; 300 by default"
    one.add_argument("--blocks", type=positive, default=300, help=text)


def add_setup_to(one: argparse.ArgumentParser) -> None:
    """Adds the options that say how parts are timed."""
    text = "views of a pass; by default 6 on a CPU, as in predict, and 30 on a GPU"
    one.add_argument("--batch", type=positive, help=text)
    one.add_argument("--threads", type=positive, help="of a CPU; by default all cores")
    text = "by default that of predict: bfloat16 where the device computes with it"
    one.add_argument("--type", choices=["float32", "bfloat16"], help=text)
    text = "number of classes of the head; 400 by default"
    one.add_argument("--classes", type=positive, default=400, help=text)


def profile(args: argparse.Namespace) -> None:
    """Time blocks of a search space, for a search under a budget in milliseconds."""
    import torch

    from autox3d.inference.parts import minutes
    from autox3d.planning.timings import planned
    from autox3d.search.latency import held_out, said
    from autox3d.search.space import Space

    space, device = Space.load(args.space), torch.device(args.device)
    genotype = space.genotype((0,) * len(space.choices), space.name)
    try:
        parts = planned(space, args.blocks)
    except ValueError as error:
        raise Refused(f"--blocks: {error}. Give more.") from error
    table = _table(args, space, genotype, device, parts)
    print(f"{space.name}: {len(parts)} parts, {table.setup.rounds} times, on {said(table)}")
    if table.missing:
        left = minutes(parts, genotype, table, device)
        print(f"{table.missing} timings to do, about {left:.1f} minutes", flush=True)
        table = _filled(table, args.out, parts, genotype, device)
        table = replace(table, held_out=held_out(space, table))
        table.save(args.out)
    assert table.held_out is not None
    print(_errors(table.held_out))


def _errors(found: HeldOut) -> str:
    """`held-out error of 254 blocks: median 3.1 %, worst 12.0 % (noise of a time 1.2 %); ...`"""

    def both(median: float, worst: float) -> str:
        return f"median {100 * median:.1f} %, worst {100 * worst:.1f} %"

    return (
        f"held-out error of {found.blocks} blocks: {both(found.median, found.worst)} (noise of a"
        f" time {100 * found.noise:.1f} %); of {found.networks} whole networks:"
        f" {both(found.network_median, found.network_worst)}"
    )


def _table(
    args: argparse.Namespace, space: object, genotype: Genotype, device: torch.device, parts: Parts
) -> LatencyTable:
    """An empty table, or the one that is there.

    Raises:
        Refused: the table that is there is of something else.
    """
    import torch

    from autox3d.inference.parts import Asked, setup
    from autox3d.runtime.checkpoint import fingerprint

    if args.device == "cuda" and not torch.cuda.is_available():
        raise Refused("--device cuda: there is no GPU that PyTorch can use. Give --device cpu.")
    how = Asked(args.type, args.batch, args.threads, args.classes)
    asked = setup(genotype, fingerprint(space=space), device, how)
    if not args.out.exists():
        return LatencyTable(setup=asked, held_out=None, parts=tuple(parts))
    table = LatencyTable.load(args.out)
    table.check(args.out, asked)
    if [part.untimed for part in table.parts] != list(parts):
        raise Refused(
            f"{args.out}: has {len(table.parts)} parts, not those of --blocks {args.blocks}."
            " Give the number that it was begun with, or write another file."
        )
    return table


def _filled(
    table: LatencyTable, path: Path, parts: Parts, genotype: Genotype, device: torch.device
) -> LatencyTable:
    """Times what is missing; the table is written as it grows, and when a signal ends this."""
    from autox3d.inference.parts import filled

    written, newest = time.monotonic(), table
    steps = filled(table, parts, genotype, device)
    try:
        for newest in progress(steps, table.missing, "profile", "timings"):
            if time.monotonic() - written > PAUSE:
                newest.save(path)
                written = time.monotonic()
    finally:
        newest.save(path)
    return newest
