"""Commands for search spaces that need no data: size, costs, random networks."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np

from autox3d.commands.parser import Commands, positive
from autox3d.core import schema, settings
from autox3d.core.errors import Refused
from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Space
from autox3d.search.window import descending, within

DRAWN = 2000  # random networks that estimate the costs of a space
MARKS = {"cheapest": 0.0, "2 %": 0.02, "median": 0.5, "dearest": 1.0}

AS_IT_IS = "temporal: true, attention: true"  # nothing is left out of a network


def add_to(commands: Commands) -> None:
    """Adds the commands space and random."""
    one = commands.add("space", show, "autox3d space space_demo")
    one.add_argument("space", type=Path, help="a file, or a name such as space_autox3d")
    one.add_argument(
        "--classes", type=positive, default=400, help="number of classes; 400 by default"
    )

    example = "autox3d random space_autox3d --most 2.2 --count 4 --out random"
    one = commands.add("random", random, example)
    one.add_argument("space", type=Path, help="a file, or a name such as space_autox3d")
    one.add_argument(
        "--least", type=float, default=0.0, help="G multiply-adds per clip; 0 by default"
    )
    one.add_argument("--most", type=float, required=True, help="G multiply-adds per clip")
    one.add_argument("--count", type=positive, default=16, help="number of networks; 16 by default")
    one.add_argument("--seed", type=int, default=1, help="seed of the sampling; 1 by default")
    one.add_argument(
        "--classes", type=positive, default=400, help="number of classes; 400 by default"
    )
    one.add_argument(
        "--out", type=Path, default=Path("architectures"), help="folder of the genotypes"
    )
    text = "settings whose `train.s` trains them; params.yaml by default"
    one.add_argument("--params", type=Path, default=settings.PARAMS, help=text)


def show(args: argparse.Namespace) -> None:
    """Print the choices of a space, the number of its networks, and the cost of random ones."""
    space = Space.load(args.space)
    for choice in space.choices:
        if len(choice.candidates) > 1:
            candidates = " ".join(map(str, choice.candidates))
            print(f"group {choice.group + 1:>2}  {choice.column:<9}  {candidates}")
    count = f"{space.size:,}" if space.size < 1e6 else f"{space.size:.3g}"
    print(f"{space.name}: {count} networks")
    costs = SpaceCosts(space, args.classes)
    drawn = sorted(map(costs.of, within(space, costs, 0.0, math.inf, min(DRAWN, space.size), 1)))
    marks = zip(MARKS, np.quantile(drawn, list(MARKS.values())), strict=True)
    quantiles = ", ".join(f"{name} {gmacs:.4g}" for name, gmacs in marks)
    print(f"G multiply-adds of {len(drawn):,} random ones, {args.classes} classes: {quantiles}")


def enough(
    path: Path, space: Space, costs: SpaceCosts, least: float, most: float, count: int
) -> None:
    """Counts the networks of a window, exactly, before any are sampled.

    Raises:
        Refused: there are fewer than `count`.
    """
    equal = [[0.0] * len(choice.candidates) for choice in space.choices]
    found = sum(1 for _ in islice(descending(equal, costs, least, most), count))
    if found < count:
        raise Refused(
            f"{path}: {found} networks cost {least:g} to {most:g} G multiply-adds, not {count}; all"
            f" cost {costs.cheapest:.4g} to {costs.dearest:.4g}. Widen --least and --most."
        )


def random(args: argparse.Namespace) -> None:
    """Sample networks within a range of costs, to compare with the one that a search found."""
    space = Space.load(args.space)
    costs = SpaceCosts(space, args.classes)
    how = settings.named(settings.load(args.params).train, "train", "s", args.params)
    enough(args.space, space, costs, args.least, args.most, args.count)
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
        print(f"  {name}:  # {costs.of(draw):.4g} G")
        print(f"    {{of: {path}, input: s, width: 1.0, depth: 1.0, {AS_IT_IS}}}")
    print(schema.dump({"train": {name: asdict(how) for name in names}}), end="")
