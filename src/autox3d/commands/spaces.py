"""Spaces without data: networks drawn from one."""

from __future__ import annotations

import argparse
from pathlib import Path

from autox3d.commands.parser import Commands, positive
from autox3d.errors import Refused
from autox3d.space import Space, SpaceCosts, within


def add_to(commands: Commands) -> None:
    """random."""
    one = commands.add("random", random)
    one.add_argument("space", type=Path, help="architectures/space_autox3d.yaml, for example")
    one.add_argument("--least", type=float, default=0.0, help="G multiply-adds of a clip; 0")
    one.add_argument("--most", type=float, required=True, help="G multiply-adds of a clip")
    one.add_argument("--count", type=positive, default=16, help="16 by default")
    one.add_argument("--seed", type=int, default=1, help="1 by default")
    one.add_argument("--classes", type=positive, default=400, help="400 by default")
    one.add_argument("--out", type=Path, default=Path("architectures"), help="the folder")


def random(args: argparse.Namespace) -> None:
    """Draw networks of a cost, to train beside the one that a search found."""
    space = Space.load(args.space)
    costs = SpaceCosts(space, args.classes)
    try:
        draws = within(space, costs, args.least, args.most, args.count, args.seed)
    except ValueError as error:
        raise Refused(f"{args.space}: {error}. Widen --least and --most.") from error
    print("baseline:  # for params.yaml, with those that are there")
    names = [f"random_{number}" for number in range(1, args.count + 1)]
    for name, draw in zip(names, draws, strict=True):
        path = args.out / f"{name}.yaml"
        flags = f"--least {args.least:g} --most {args.most:g} --count {args.count}"
        flags += f" --seed {args.seed} --classes {args.classes}"
        space.genotype(draw, name).save(path, f"autox3d random {args.space}\n  {flags}")
        print(f"  {name}: {{of: {path}, width: 1.0, depth: 1.0, temporal: true}}", end="")
        print(f"  # {costs.of(draw):.4g} G")
    print("train:", *(f"  {name}: *s" for name in names), sep="\n")
