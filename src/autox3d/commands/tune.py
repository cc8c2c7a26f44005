"""The command that makes the table of a device: its kernels and its rates."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from autox3d.commands.parser import Commands, positive
from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.runtime.progress import progress


def add_to(commands: Commands) -> None:
    """Adds the command tune."""
    one = commands.add("tune", tune, "autox3d tune --out params/here.yaml")
    one.add_argument("--out", type=Path, required=True, help="the table, for `device.table`")
    one.add_argument("--threads", type=positive, help="of a CPU; by default all cores")
    text = "the rates alone, for `autox3d plan`: a minute instead of several"
    one.add_argument("--no-kernels", action="store_true", help=text)
    one.add_argument(
        "--params", type=Path, default=settings.PARAMS, help="settings of the pipeline"
    )


def tune(args: argparse.Namespace) -> None:
    """Time the kernels and the speed of this machine, for `device.table` and `autox3d plan`."""
    import torch

    from autox3d.core.device_table import DeviceTable
    from autox3d.planning import rates, tuning
    from autox3d.vision.kernels.choice import here

    if args.out.exists():
        raise Refused(
            f"{args.out}: is there already, and stages may depend on it. Write another file."
        )
    params = settings.load(args.params)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = here(device)
    print(f"{found.name} ({found}), torch {found.torch}", flush=True)
    count = 0 if args.no_kernels else tuning.count(device)
    rows = tuple(progress(islice(tuning.rows(device), count), count, "tune", "kernels"))
    measured = rates.measure(params)
    DeviceTable(device=found, rates=measured, kernels=rows).save(args.out, "autox3d tune")
    changed = sum(row.use != next(iter(row.ms)) for row in rows)
    print(
        f"{args.out}: {changed} of {len(rows)} operations have a faster kernel than the reference"
    )
