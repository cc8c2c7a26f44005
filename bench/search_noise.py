r"""What alpha does where the answer is known: without a signal, with one, with a taste for size.

    python -m bench.search_noise --params params/kinetics400.yaml --steps 83200
    python -m bench.search_noise --params params/kinetics400.yaml --steps 20000 --signal 0.0004
    python -m bench.search_noise --params params.yaml --steps 1200 --slope 0.2 --target 0.00505 \
        --space architectures/space_demo_channels.yaml --alpha-eps 1e-8

Log-likelihoods are made up: normal noise, independent of the network; plus `signal` nats a clip for
each choice in which a network has the right candidate; plus `slope` nats a clip for each e-fold of
cost. The rest is the search's own code and settings. A search whose entropy falls as fast as here
without a signal has learned nothing from its clips.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autox3d.core import settings
from autox3d.core.search_records import Alpha
from autox3d.core.settings import Search
from autox3d.runtime.program import run
from autox3d.search import simulation
from autox3d.search.costs import SpaceCosts
from autox3d.search.decisions import bound, preference
from autox3d.search.files import alpha_record
from autox3d.search.loop import Draws
from autox3d.search.space import Space
from autox3d.search.state import Costs, SearchSchedule, SearchState

MARKS = (500, 1200, 2000, 4160, 8320, 20_000, 40_000, 83_200)
HEAD = (
    "steps  entropy  over 0.9  t over bound  right  right and decided  cost/target  lambda  noise"
)


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--params", type=Path, default=Path("params/kinetics400.yaml"))
    flags.add_argument("--space", type=Path, help="instead of that of the settings")
    flags.add_argument("--steps", type=int, default=20_000)
    flags.add_argument("--classes", type=int, default=200)
    flags.add_argument("--alpha-eps", type=float, help="instead of that of the settings")
    flags.add_argument("--cost", choices=["dual", "log", "plain"], help="likewise")
    flags.add_argument("--beta", type=float, help="likewise")
    flags.add_argument("--target", type=float, help="likewise")
    flags.add_argument("--free", action="store_true", help="no budget")
    flags.add_argument("--deviation", type=float, default=0.03, help="of l_k, nats a clip")
    flags.add_argument("--signal", type=float, default=0.0, help="nats a clip, for each choice")
    flags.add_argument("--slope", type=float, default=0.0, help="nats a clip, by e-fold of cost")
    flags.add_argument("--seed", type=int, default=1)
    options = flags.parse_args()
    torch.set_num_threads(1)
    params = settings.load(options.params)
    space = Space.load(options.space or Path(params.supernet.space))
    how = schedule(params, space, options)
    state = simulation.fresh(
        [len(choice.candidates) for choice in space.choices], search(params, options)
    )
    best = right_ones(space, options.seed)
    values = made_up(space, how, params.supernet.likelihood.clips, best, options)
    print(HEAD)
    for step in simulation.steps(state, how, values, options.steps, options.seed):
        if step in MARKS or step == options.steps:
            print(row(step, space, state, how, best), flush=True)


def search(params: settings.Params, options: argparse.Namespace) -> Search:
    """The settings of the search, with those of the command line."""
    given = {name: getattr(options, name) for name in ("alpha_eps", "cost", "target")}
    changed = {name: value for name, value in given.items() if value is not None}
    if options.cost:
        changed |= {"beta": options.beta, "floor": None}
    return replace(params.search, **changed)


def schedule(params: settings.Params, space: Space, options: argparse.Namespace) -> SearchSchedule:
    """The search's own schedule; without a budget no network is over it."""
    costs = SpaceCosts(space, options.classes)
    likelihood, batch = params.supernet.likelihood, params.supernet.batch
    asked = search(params, options)
    if options.free:
        asked = replace(asked, target=1e9, floor=None)
    scale = likelihood.temperature * (likelihood.clips if likelihood.reduction == "mean" else 1)
    chunks = -(-batch // likelihood.clips)
    return simulation.schedule(asked, Costs(costs, costs), chunks=chunks, scale=scale)


def right_ones(space: Space, seed: int) -> np.ndarray:
    """The candidate that the clips prefer, for each choice."""
    counts = [len(choice.candidates) for choice in space.choices]
    return np.random.default_rng(seed).integers(counts)


def made_up(
    space: Space, how: SearchSchedule, clips: int, best: np.ndarray, options: argparse.Namespace
) -> simulation.Values:
    """Log-likelihoods of a chunk of so many clips."""
    noise = simulation.noise(clips * options.deviation)

    def values(draws: Draws, generator: torch.Generator) -> Tensor:
        found = noise(draws, generator)
        if options.signal:
            right = (np.array(draws) == best).sum(-1)
            found += clips * options.signal * torch.from_numpy(right)
        if options.slope:
            sizes = [[math.log(how.costs.budget.of(one)) for one in chunk] for chunk in draws]
            found += clips * options.slope * torch.tensor(sizes, dtype=torch.float64)
        return found

    return values


def row(step: int, space: Space, state: SearchState, how: SearchSchedule, best: np.ndarray) -> str:
    """What has become of alpha after a step."""
    state.alphas = [state.prior.alpha.detach().clone()]
    alpha = alpha_record(space, state)
    open_ = [number for number, choice in enumerate(alpha.choices) if len(choice.candidates) > 1]
    chances = state.prior.probabilities()
    entropy = np.mean([state.prior.entropy()[number] for number in open_])
    sure = sum(max(chances[number]) > 0.9 for number in open_)
    preferred = [
        int(np.argmax(choice.clips)) == one for choice, one in zip(alpha.choices, best, strict=True)
    ]
    decided = [preference(choice) > bound(alpha) for choice in alpha.choices]
    right = sum(preferred[number] for number in open_)
    both = sum(preferred[number] and decided[number] for number in open_)
    over = how.costs.budget.expected(chances) / how.constraint.most
    return (
        f"{step:6d}  {entropy:7.3f}  {sure:2d} of {len(open_):2d}  {sum(decided):12d}  {right:5d}"
        f"  {both:17d}  {over:11.3f}  {state.multiplier:6.2f}  {gradient_noise(alpha, step):.4f}"
    )


def gradient_noise(alpha: Alpha, steps: int) -> float:
    """The root mean square of an entry of the clips' part of the gradient, over all steps."""
    squares = [
        choice.products[i][i] / steps
        for choice in alpha.choices
        for i in range(len(choice.candidates))
        if len(choice.candidates) > 1
    ]
    return math.sqrt(np.mean(squares))


if __name__ == "__main__":
    run(main)
