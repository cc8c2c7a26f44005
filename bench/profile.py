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

import numpy as np
import torch

from autox3d.core.latency_table import LatencyTable, Setup
from autox3d.inference import parts as timing
from autox3d.inference.parts import Asked, setup
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.program import run
from autox3d.search.latency import network_of, said, timed, total
from autox3d.search.ranking import kendall
from autox3d.search.space import Draw, Space
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

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
    one, draw = next(iter(draws.items()))
    again = {f"{one} again {n}": draw for n in range(1, TWINS)}
    draws |= again
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
    twins = [measured[name] for name in (one, *again)]
    summary(list(predicted.values()), list(measured.values()), twins)
    print(f"load {os.getloadavg()[0]:.1f}")


def drawn(space: Space, rng: np.random.Generator) -> Draw:
    """A network, each choice uniform."""
    return tuple(int(rng.integers(len(choice.candidates))) for choice in space.choices)


def milliseconds(
    space: Space, draws: dict[str, Draw], made: Setup, device: torch.device, rounds: int
) -> dict[str, float]:
    """The median over the rounds of each network, ms of a view."""
    found: dict[str, list[float]] = {name: [] for name in draws}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name in rng.permutation(list(draws)).tolist():
            one = space.genotype(draws[name], name)
            row = network_of(space, draws[name])
            found[name].append(timing.milliseconds(row, one, one, made, device))
    return {name: statistics.median(taken) for name, taken in found.items()}


def summary(predicted: Sequence[float], measured: Sequence[float], twins: Sequence[float]) -> None:
    """Prints the rank correlations, the errors and the noise floor."""
    count = len(predicted) - (TWINS - 1)
    ours, theirs = np.array(predicted)[:count], np.array(measured)[:count]
    errors = np.abs(ours / theirs - 1)
    noise = (max(twins) - min(twins)) / statistics.median(twins)
    if count > 2:
        ranks = [np.argsort(np.argsort(values)) for values in (ours, theirs)]
        spearman = float(np.corrcoef(np.stack(ranks)).min())
        tau = kendall(ours.tolist(), theirs.tolist())
        print(f"\nKendall's tau {tau:.3f}, Spearman's rho {spearman:.3f}")
    print(f"error: median {100 * np.median(errors):.1f} %, worst {100 * errors.max():.1f} %;"
          f" mean of predicted over measured {ours.sum() / theirs.sum():.3f}")  # fmt: skip
    print(f"noise: {TWINS} measurements of one network differ by {100 * noise:.1f} %")


if __name__ == "__main__":
    run(main)
