r"""The entropy of alpha by step when clips give no signal, with and without the baseline.

    python -m bench.search_noise --space architectures/space_autox3d.yaml --steps 20000

Log-likelihoods are noise that is independent of the network. With shares W_k - 1/K, as
the search has them, and with W_k alone, whose expectation is the same. Read a search's entropy
against the first: an entropy that falls this fast has not been learned from the clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from autox3d.runtime.program import run
from autox3d.search.prior import Prior
from autox3d.search.space import Space
from autox3d.search.strategies.parsec import alpha_gradient, importance


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--space", type=Path, default=Path("architectures/space_autox3d.yaml"))
    flags.add_argument("--steps", type=int, default=20_000)
    flags.add_argument("--draws", type=int, default=13)
    flags.add_argument("--lr", type=float, default=0.02, help="of Adam")
    flags.add_argument("--deviation", type=float, default=0.03, help="of l_k, nats a clip")
    flags.add_argument("--clips", type=int, default=8, help="that l_k is summed over")
    flags.add_argument("--seed", type=int, default=1)
    options = flags.parse_args()
    space = Space.load(options.space)
    marks = [step for step in (500, 1000, 2000, 4000, 8000, 20_000) if step <= options.steps]
    print(
        f"{options.draws} draws, rate {options.lr}; entropy, share of uniform, after",
        *marks,
        "steps",
    )
    for name, baseline in (("W_k - 1/K", True), ("W_k alone", False)):
        found = entropies(space, options, baseline, marks)
        print(f"{name}: " + " ".join(f"{entropy:.2f}" for entropy in found), flush=True)


def entropies(
    space: Space, options: argparse.Namespace, baseline: bool, marks: list[int]
) -> list[float]:
    """The mean entropy over the open choices, after each of `steps` steps."""
    prior = Prior([len(choice.candidates) for choice in space.choices])
    adam = torch.optim.Adam(prior.parameters(), lr=options.lr)
    generator = torch.Generator().manual_seed(options.seed)
    level = torch.full(
        (options.draws,), 0.0 if baseline else -1 / options.draws, dtype=torch.float64
    )
    found = []
    for step in range(1, marks[-1] + 1):
        noise = torch.randn(options.draws, generator=generator, dtype=torch.float64)
        weights = importance(options.deviation * options.clips * noise, 1.0)
        draws = prior.sample(options.draws, generator)
        prior.alpha.grad = -alpha_gradient(prior, draws, weights, level)
        adam.step()
        if step in marks:
            open_ones = [h for h, n in zip(prior.entropy(), prior.candidates, strict=True) if n > 1]
            found.append(sum(open_ones) / len(open_ones))
    return found


if __name__ == "__main__":
    run(main)
