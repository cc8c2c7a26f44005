r"""A latency table against whole networks: the predicted milliseconds of a view, and the measured.

    autox3d profile architectures/space_autox3d.yaml --device cpu --threads 1 --out table.yaml
    python -m bench.profile architectures/space_autox3d.yaml table.yaml --networks 30
    python -m bench.profile SPACE TABLE --networks 0 --genotypes results/derive/genotype.yaml

Networks are timed as the parts of the table were, in rounds of another order each; the median
counts. The first network is measured several times over, as if it were several networks: what those
differ by is the noise of the measurement.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from autox3d.core.latency_table import LatencyTable, Setup
from autox3d.inference.fold import folded
from autox3d.inference.parts import Asked, fastest, opened, setup
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.program import run
from autox3d.search.counts import Tables
from autox3d.search.latency import said, timed
from autox3d.search.space import CHOICES, Draw, Space
from autox3d.studies.random_networks import kendall
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models.network import VideoNet

TWINS = 5  # times that the first network is measured


def main() -> None:
    """Prints a line for each network, then how well they are predicted."""
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("space", type=Path)
    flags.add_argument("table", type=Path)
    flags.add_argument("--networks", type=int, default=30, help="random ones")
    flags.add_argument("--genotypes", type=Path, nargs="*", default=[], help="of the space")
    flags.add_argument("--rounds", type=int, default=7)
    flags.add_argument("--seed", type=int, default=1)
    compare(flags.parse_args())


def compare(options: argparse.Namespace) -> None:
    """Predicts and measures; raises Refused for a table of another space, device or threads."""
    space, table = Space.load(options.space), LatencyTable.load(options.table)
    tables = timed(options.table, space)
    made = table.setup
    device = torch.device("cuda" if made.instructions.startswith("sm_") else "cpu")
    how = Asked(made.type, made.batch, made.threads, made.classes)
    first = space.genotype((0,) * len(space.choices), space.name)
    table.check(options.table, setup(first, fingerprint(space=space), device, how))
    rng = np.random.default_rng(options.seed)
    draws = {f"random {n + 1}": drawn(space, rng) for n in range(options.networks)}
    for path in options.genotypes:
        draws[str(path)] = space.draw(Genotype.load(path))
    name, draw = next(iter(draws.items()))
    draws |= {f"{name} again {n}": draw for n in range(1, TWINS)}
    print(f"{said(table)}; load {os.getloadavg()[0]:.1f}; {options.rounds} rounds\n")
    print("| network | G multiply-adds | predicted, ms | measured, ms | error, % |")
    print("|---|---:|---:|---:|---:|")
    predicted = {name: total(tables, draw) for name, draw in draws.items()}
    measured = milliseconds(space, draws, made, device, options.rounds)
    for name, draw in draws.items():
        gmacs = cost(space.genotype(draw, name), made.classes).gmacs
        ours, theirs = predicted[name], measured[name]
        row = f"{gmacs:.3f} | {ours:.3f} | {theirs:.3f} | {100 * (ours / theirs - 1):+.1f}"
        print(f"| {name} | {row} |")
    twins = [measured[name] for name in list(draws)[-(TWINS - 1) :]] + [measured[name]]
    summary(list(predicted.values()), list(measured.values()), twins)
    print(f"load {os.getloadavg()[0]:.1f}")


def drawn(space: Space, rng: np.random.Generator) -> Draw:
    """A network, each choice uniform."""
    return tuple(int(rng.integers(len(choice.candidates))) for choice in space.choices)


def total(tables: Tables, draw: Draw) -> float:
    """The sum over the parts of a network, ms."""
    ms, before = tables.stem, 0
    for row, table in enumerate(tables.groups):
        taken = draw[len(CHOICES) * row : len(CHOICES) * (row + 1)]
        ms += float(table[before, *taken])
        before = taken[CHOICES.index("channels")]
    return ms + float(tables.head[before])


def milliseconds(
    space: Space, draws: dict[str, Draw], made: Setup, device: torch.device, rounds: int
) -> dict[str, float]:
    """The median over the rounds of each network, ms of a view."""
    dtype, found = getattr(torch, made.type), {name: [] for name in draws}
    x = torch.randn(made.batch, 3, made.frames, made.side, made.side, device=device).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name in rng.permutation(list(draws)).tolist():
            net = VideoNet(space.genotype(draws[name], name), made.classes)
            ready = folded(cast("VideoNet", opened(net))).to(device, dtype)
            seconds = fastest(lambda ready=ready: ready(x), made, device)
            found[name].append(1e3 * seconds / made.batch)
    return {name: statistics.median(taken) for name, taken in found.items()}


def summary(predicted: Sequence[float], measured: Sequence[float], twins: Sequence[float]) -> None:
    """Prints the rank correlations, the errors and the noise floor."""
    count = len(predicted) - (TWINS - 1)
    ours, theirs = np.array(predicted)[:count], np.array(measured)[:count]
    errors = np.abs(ours / theirs - 1)
    noise = (max(twins) - min(twins)) / statistics.median(twins)
    if count > 2:
        ranks = [np.argsort(np.argsort(values)) for values in (ours, theirs)]
        spearman = float(np.corrcoef(np.stack(ranks))[0, 1])
        tau = kendall(ours.tolist(), theirs.tolist())
        print(f"\nKendall's tau {tau:.3f}, Spearman's rho {spearman:.3f}")
    print(f"error: median {100 * np.median(errors):.1f} %, worst {100 * errors.max():.1f} %;"
          f" mean of predicted over measured {ours.sum() / theirs.sum():.3f}")  # fmt: skip
    print(f"noise: {TWINS} measurements of one network differ by {100 * noise:.1f} %")


if __name__ == "__main__":
    run(main)
