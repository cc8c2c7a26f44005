"""Makes the package's table of kernels for a kind of CPU, or prints what it would say.

    python -m bench.kernels --threads 1
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m bench.kernels --threads 1 --write

Of each depthwise operation that has several kernels, kind and size: how many times as fast as the
reference each is, in turns. The second command plays a CPU without AVX-512 on one that has it. A
user's own table, and for a GPU, is made by `autox3d tune`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

from autox3d.core.device_table import REFERENCE, Choice, DeviceTable, Kernels
from autox3d.planning.tuning import cases, measured
from autox3d.runtime.timing import CLOCKS, clock_of, interleaved
from autox3d.search.prior import Prior
from autox3d.search.space import Space
from autox3d.search.supernet import Supernet
from autox3d.vision.kernels.choice import TABLES, here, in_use, using_kernels
from autox3d.vision.models.network import open_branches
from autox3d.vision.tasks.classify import TASK

ARCHITECTURES = Path(__file__).parents[1] / "architectures"


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description="Kernels against each other.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--supernet", action="store_true", help="a draw of the demo's search alone")
    parser.add_argument("--write", action="store_true", help="write the package's table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cpu")
    if args.supernet:
        supernet(device, args.rounds)
        return
    found = here(device)
    print(f"torch {found.torch}, {found.name}, {found}\n")
    print(
        "| operation | kernel, stride | numbers | reference, ms | others, times as fast | taken |"
    )
    print("|---|---|---|---|---|---|")
    rows = []
    for case in cases(device):
        rows.append(measured(case, device, args.rounds))
        print(line(rows[-1]), flush=True)
    if args.write:
        name = f"{found.instructions}_{found.threads}"
        command = f"python -m bench.kernels --threads {args.threads} --write"
        DeviceTable(device=found, rates=None, kernels=tuple(rows)).save(
            TABLES / f"{name}.yaml", command
        )


def supernet(device: torch.device, rounds: int) -> None:
    """Prints how long a draw of the demo's search takes both ways, by the reference and the table.

    The draws are the same for both; 8 clips of 8 x 48 x 48.
    """
    space = Space.load(ARCHITECTURES / "space_demo.yaml")
    torch.manual_seed(1)
    net, clip = Supernet(space, 8, "fair").train(), space.input
    open_branches(net, 0.5)
    prior = Prior([len(choice.candidates) for choice in space.choices])
    draws = prior.sample(rounds + 1, torch.Generator().manual_seed(2))
    clips = torch.randn(8, 3, clip.frames, clip.crop, clip.crop)
    labels = torch.arange(8)

    def step(kernels: Kernels) -> Callable[[], object]:
        left = iter(draws)

        def run() -> None:
            with using_kernels(kernels):
                TASK.loss(net(clips, next(left)), labels).backward()

        return run

    taken = in_use(device)
    runs = {REFERENCE: step(Kernels(REFERENCE, ())), taken.name: step(taken)}
    seconds = interleaved(runs, rounds, device, 1, CLOCKS[clock_of(device)])
    first = statistics.median(seconds[REFERENCE])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name}: {1e3 * median:.1f} ms a draw, {first / median:.2f} times as fast")


def line(row: Choice) -> str:
    """A row of Markdown."""
    first = row.ms[REFERENCE]
    others = ", ".join(f"{n} {first / ms:.2f}" for n, ms in row.ms.items() if n != REFERENCE)
    kind = f"{row.kernel}, {row.stride}"
    return f"| {row.operation} | {kind} | {row.numbers:,} | {first:.2f} | {others} | {row.use} |"


if __name__ == "__main__":
    main()
