"""A draw of the search on one device: the weights' half, both ways, and alpha's, forward.

    python -m bench.search --device cuda                          # the paper's space, in bfloat16
    python -m bench.search --space demo --draws 3 --repeats 5     # a CPU, small

Steps of one chunk, each with networks of its own, alternate with steps of several chunks that
share them and one pass (`supernet.pass_clips`). A figure is that of a chunk and a draw; networks
are drawn anew for each step, from a prior that knows nothing. A form that fails says why.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from autox3d.core.device_table import REFERENCE, Kernels
from autox3d.runtime.timing import interleaved
from autox3d.search.constraint import Constraint
from autox3d.search.costs import SpaceCosts
from autox3d.search.likelihood import Likelihood
from autox3d.search.loop import alpha_step, weight_step
from autox3d.search.prior import Prior
from autox3d.search.run import layers_of
from autox3d.search.space import Space
from autox3d.search.state import Costs, SearchSchedule, SearchState
from autox3d.search.strategies.parsec import STRATEGY
from autox3d.search.supernet import Supernet
from autox3d.vision.kernels import choice, trial
from autox3d.vision.learning.schedule import sgd
from autox3d.vision.models.network import open_branches, set_training
from autox3d.vision.tasks.classify import TASK

ARCHITECTURES = Path(__file__).parents[1] / "architectures"
CLASSES = 200
Half = Callable[[], object]


def main() -> None:
    """Prints a table in Markdown."""
    args = arguments()
    device = torch.device(args.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {name}, {args.space}, {args.draws} draws", flush=True)
    space = Space.load(ARCHITECTURES / f"space_{args.space}.yaml")
    halves: dict[str, Half] = {}
    with kernels(space, args, device):
        for chunks in args.chunks:
            try:
                halves |= halves_of(space, args, device, chunks)
            except RuntimeError as error:
                print(f"{chunks} chunks a pass: {str(error).splitlines()[0]}", flush=True)
        found = interleaved(halves, args.repeats, device)
    print("| half of a step | median, ms a chunk and draw | quartiles, ms |\n|---|---|---|")
    for form, seconds in found.items():
        passes = args.draws * int(form.split()[0])
        low, middle, high = (1e3 * q / passes for q in statistics.quantiles(seconds, n=4))
        print(f"| {form} | {middle:.2f} | {low:.2f} to {high:.2f} |")
    if device.type == "cuda":
        print(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most")


def arguments() -> argparse.Namespace:
    """The options on the command line."""
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=how)
    parser.add_argument("--space", default="autox3d", help="architectures/space_NAME.yaml")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--draws", type=int, default=13)
    parser.add_argument("--clips", type=int, default=8, help="of a chunk")
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 8], help="of a pass")
    parser.add_argument("--kernels", action="store_true", help="tried first, as a search does")
    parser.add_argument("--repeats", type=int, default=11)
    return parser.parse_args()


def halves_of(
    space: Space, args: argparse.Namespace, device: torch.device, chunks: int
) -> dict[str, Half]:
    """Both halves of a step with so many chunks, in one pass each; each has been done once.

    Raises:
        RuntimeError: this device cannot.
    """
    state, schedule = begun(space, args, device, chunks)
    spec, clips = space.input, args.clips
    shape = clips, 3, spec.frames, spec.crop, spec.crop
    labels = torch.randint(CLASSES, (clips,), device=device)
    batch = [(n, torch.randn(shape, device=device), labels) for n in range(chunks)]
    turn = iter(range(10**9))

    def weights() -> object:
        return weight_step(state, TASK, schedule, batch, alone, next(turn), 1e-4)

    def alpha() -> object:
        return alpha_step(state, TASK, schedule, batch, alone, next(turn))

    weights()
    alpha()
    name = f"{chunks} chunk{'s' * (chunks > 1)} a pass"
    return {f"{name}, weights": weights, f"{name}, alpha": alpha}


def begun(
    space: Space, args: argparse.Namespace, device: torch.device, chunks: int
) -> tuple[SearchState, SearchSchedule]:
    """A search before its first step, as `search.run` begins one."""
    torch.manual_seed(1)
    net = Supernet(space, CLASSES, "fair").to(device)
    set_training(net, bn_clips=args.clips, dropout=0.5)
    open_branches(net, 0.5)
    prior, costs = Prior([len(one.candidates) for one in space.choices]), SpaceCosts(space, CLASSES)
    schedule = SearchSchedule(
        seed=1,
        until=1,
        steps=10**6,
        batch=args.clips * chunks,
        chunk=args.clips,
        draws=args.draws,
        alpha_draws=args.draws,
        shared=chunks > 1,
        per_pass=chunks,
        strategy=STRATEGY,
        likelihood=Likelihood("sum", 1.0),
        constraint=Constraint("log", 0.2, None, 1.0),
        costs=Costs(costs, costs),
        rate=lambda _: 1e-4,
    )
    adam = torch.optim.Adam(prior.parameters())
    return SearchState(net, prior, sgd(net, 0.9, 5e-5), adam), schedule


def alone(_: object) -> None:
    """One process has nothing to sum."""


@contextmanager
def kernels(space: Space, args: argparse.Namespace, device: torch.device) -> Iterator[None]:
    """With `--kernels`, the depthwise kernels that a search takes after trying them."""
    if not args.kernels:
        yield
        return
    world: Any = SimpleNamespace(device=device, gather=lambda own: [own], share=lambda own: own)
    net, clips = Supernet(space, CLASSES, "fair"), args.clips * max(args.chunks)
    found, reason = trial.settled(
        Kernels(REFERENCE, ()),
        lambda: layers_of(net, space, clips),
        torch.bfloat16,
        world,
        interleaved,
    )
    for row in found.rows:
        print(f"{row.operation} of {row.kernel}, stride {row.stride}: {row.use}")
    print(f"no kernels of Triton: {reason}" if reason else "", flush=True)
    with choice.using_kernels(found):
        yield


if __name__ == "__main__":
    main()
