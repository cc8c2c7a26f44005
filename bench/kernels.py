"""Makes the package's table of kernels for a kind of CPU, or prints what it would say.

    python -m bench.kernels --threads 1
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m bench.kernels --threads 1 --write

Of each depthwise operation that has several kernels, kind and size: how many times as fast as the
reference each is, in turns. The second command plays a CPU without AVX-512 on one that has it. A
user's own table, and for a GPU, is made by `autox3d tune`.
"""

from __future__ import annotations

import argparse

import torch

from autox3d.core.device_table import REFERENCE, Choice, DeviceTable
from autox3d.planning.tuning import cases, measured
from autox3d.vision.kernels.choice import TABLES, here


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description="Kernels against each other.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="write the package's table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cpu")
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


def line(row: Choice) -> str:
    """A row of Markdown."""
    first = row.ms[REFERENCE]
    others = ", ".join(f"{n} {first / ms:.2f}" for n, ms in row.ms.items() if n != REFERENCE)
    kind = f"{row.kernel}, {row.stride}"
    return f"| {row.operation} | {kind} | {row.numbers:,} | {first:.2f} | {others} | {row.use} |"


if __name__ == "__main__":
    main()
