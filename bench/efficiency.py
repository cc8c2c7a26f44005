"""What a step loses on several GPUs: predicted from counts, before anybody has measured it.

    python -m bench.efficiency --chunk-ms 2 10          # X3D-S as params/kinetics400.yaml trains it
    python -m bench.efficiency --search --draw-ms 5 20  # its search

Counted from the code: the chunks (or pairs of chunk and draw) of the busiest process, the messages
of a step and their bytes. Assumed, and options where a cluster differs:

- a GPU takes the same time for each chunk or draw, however many GPUs there are, and has its clips;
- once a step it takes `--step-ms` more, which does not fall with the number of GPUs;
- a message of b bytes over n GPUs takes 2 (n - 1) / n b / bandwidth, as a ring does, and two hops
  for each doubling of n; links are fast inside a node of `--per-node` GPUs, and slow between them;
- a captured pass is launched whole: its sums begin behind it. Of the sums of a plain pass all but
  the last bucket is hidden, as far as the backward pass, two thirds of the pass, is long enough.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from autox3d.core import settings
from autox3d.search.dealing import deal, is_split
from autox3d.search.space import Space
from autox3d.search.supernet import Supernet
from autox3d.training.reduction import divided
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.augment import chunk_count
from autox3d.vision.learning.statistics import statistics
from autox3d.vision.models.network import VideoNet

ROOT = Path(__file__).parents[1]
BACKWARD = 2 / 3  # of a pass


@dataclass(frozen=True)
class Links:
    """What a message costs; by default eight GPUs a node, at two thirds of the nominal rates."""

    per_node: int = 8
    inside: float = 300.0  # GB/s of a GPU within its node
    between: float = 33.0  # GB/s of a GPU to other nodes
    hop_inside: float = 5.0  # us
    hop_between: float = 15.0

    def ms(self, size: int, gpus: int) -> float:
        """The time to sum a message of `size` bytes over so many GPUs, ms."""
        if gpus == 1:
            return 0.0
        near = gpus <= self.per_node
        rate, hop = (self.inside, self.hop_inside) if near else (self.between, self.hop_between)
        passed = 2 * (gpus - 1) / gpus * size / rate / 1e6
        return passed + 2 * math.ceil(math.log2(gpus)) * hop / 1e3


class Step(NamedTuple):
    """A step on so many GPUs."""

    gpus: int
    passes: int  # of the busiest process
    messages: int
    megabytes: float  # of them, at each process
    sums: float  # ms for all messages
    behind: float  # efficiency, with all sums behind the last pass
    overlapped: float  # efficiency, with what the backward pass can hide hidden


def messages(network: str, classes: int, chunks: int) -> list[int]:
    """The bytes of each message of a training step, in their order."""
    with torch.device("meta"):
        net = VideoNet(Genotype.load(ROOT / f"architectures/{network}.yaml"), classes)
    sizes = [parameter.numel() for parameter in net.parameters()]
    total = sum(sizes) + sum(buffer.numel() for buffer in statistics(net))
    parts = [range(total)[one.numbers] for one in divided(sizes, total)]
    return [4 * len(part) for part in parts] + [8 * (chunks + 1)]


def steps(
    gpus: Sequence[int],
    chunks: int,
    sizes: Sequence[int],
    chunk_ms: float,
    step_ms: float,
    links: Links,
) -> list[Step]:
    """A training step of so many chunks on each number of GPUs."""
    alone = chunks * chunk_ms + step_ms
    found = []
    for count in gpus:
        passes = -(-chunks // count)
        each = [links.ms(size, count) for size in sizes]
        busy, sums = passes * chunk_ms + step_ms, sum(each)
        hidden = min(sum(each[:-2]), BACKWARD * chunk_ms)  # not the last bucket, nor the counts
        size = sum(sizes) / 1e6 if count > 1 else 0.0
        rates = [alone / count / (busy + one) for one in (sums, sums - hidden)]
        found.append(Step(count, passes, len(sizes) if count > 1 else 0, size, sums, *rates))
    return found


def search_steps(
    gpus: Sequence[int],
    chunks: int,
    draws: tuple[int, int],
    parameters: int,
    draw_ms: float,
    step_ms: float,
    links: Links,
) -> list[Step]:
    """Both halves of a search's step; a forward pass takes a third of both passes."""
    times = draw_ms, draw_ms * (1 - BACKWARD)
    alone = sum(chunks * k * ms for k, ms in zip(draws, times, strict=True)) + step_ms
    found = []
    for count in gpus:
        busiest = [
            max(sum(len(p.draws) for p in deal(chunks, k, rank, count)) for rank in range(count))
            for k in draws
        ]
        table = 8 * chunks * draws[0]
        sizes = [table] * is_split(chunks, draws[0], count)
        sizes += [4 * parameters, table, 8 * chunks * draws[1]]
        sums = sum(links.ms(size, count) for size in sizes)
        busy = sum(n * ms for n, ms in zip(busiest, times, strict=True)) + step_ms + sums
        rate, many = alone / count / busy, count > 1
        size = sum(sizes) / 1e6 * many
        found.append(Step(count, sum(busiest), len(sizes) * many, size, sums, rate, rate))
    return found


def main() -> None:
    """Prints a table in Markdown for each time of a chunk or draw."""
    args = arguments()
    params, links = (
        settings.load(args.params),
        Links(**{name: getattr(args, name) for name in Links.__dataclass_fields__}),
    )
    if args.search:
        shared, search = params.supernet, params.search
        space = Space.load(ROOT / shared.space)
        with torch.device("meta"):
            net = Supernet(space, args.classes, shared.selection)
        count = sum(parameter.numel() for parameter in net.parameters())
        chunks = chunk_count(shared.batch, shared.likelihood.clips)
        draws = search.draws, search.alpha_draws
        for ms in args.draw_ms:
            found = search_steps(args.gpus, chunks, draws, count, ms, args.step_ms, links)
            tell(
                f"search, {chunks} chunks of {draws[0]} and {draws[1]} draws, {ms:g} ms a draw",
                found,
            )
        return
    train = params.train[args.train]
    chunks = chunk_count(train.batch, train.bn_clips)
    sizes = messages(args.of, args.classes, chunks)
    for ms in args.chunk_ms:
        found = steps(args.gpus, chunks, sizes, ms, args.step_ms, links)
        tell(f"{args.of}, {chunks} chunks of {train.bn_clips} clips, {ms:g} ms a chunk", found)


def tell(what: str, found: Sequence[Step]) -> None:
    """Prints the steps."""
    print(f"\n{what}\n")
    print("| GPUs | passes of one | messages | MB | sums, ms | efficiency | overlapped |")
    print("|---|---|---|---|---|---|---|")
    for one in found:
        numbers = f"{one.messages} | {one.megabytes:.1f} | {one.sums:.2f}"
        print(
            f"| {one.gpus} | {one.passes} | {numbers} | {one.behind:.1%} | {one.overlapped:.1%} |"
        )


def arguments() -> argparse.Namespace:
    """The options on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", type=Path, default=ROOT / "params/kinetics400.yaml")
    parser.add_argument("--of", default="x3d_s", help="a network of architectures/")
    parser.add_argument("--train", default="x3d_s", help="the entry of `train` with its batch")
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--chunk-ms", type=float, nargs="+", default=[2.0, 10.0])
    parser.add_argument("--draw-ms", type=float, nargs="+", default=[5.0, 20.0])
    parser.add_argument("--step-ms", type=float, default=1.0, help="once a step")
    parser.add_argument("--search", action="store_true", help="a step of the search instead")
    for name, field in Links.__dataclass_fields__.items():
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=field.default)
    return parser.parse_args()


if __name__ == "__main__":
    main()
