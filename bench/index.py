"""What Kinetics' table of clips costs one of 64 processes: to open, order and share it.

    python bench/index.py [--rows 240000]

Each round is a process of its own, since the memory reported is the peak of a process.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from autox3d.core import tables
from autox3d.vision.clips.order import epoch_order
from autox3d.vision.clips.store import Clips

BATCH, CHUNK, PROCESSES, ROUNDS = 1024, 8, 64, 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=240_000)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)  # in a round: its table
    options = parser.parse_args()
    if options.table:
        print(deal(options.table))
        return
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "clips.parquet"
        write(table, options.rows)
        for _ in range(ROUNDS):
            subprocess.run([sys.executable, __file__, "--table", table], check=True)


def write(table: Path, rows: int) -> None:
    """Writes a table as the stage `index` does."""
    number = np.arange(rows)
    frame = pd.DataFrame(
        {
            "key": [f"{n:011d}_000010_000020" for n in number],
            "label": number % 400,
            "split": "train",
            "shard": [f"{n % 240}.tar" for n in number],
            "offset": number // 240 * 700_000,
            "length": 700_000,
            "frames": 300,
            "sha256": [hashlib.sha256(str(n).encode()).hexdigest() for n in number],
        }
    )
    tables.write_table(frame, table, classes=[str(n) for n in range(400)])


def deal(table: Path) -> str:
    """Prints the time and memory that the last process needs for its share of an epoch."""
    before, cpu, clock = peak(), time.process_time(), time.perf_counter()
    clips = Clips.load(table, split="train")
    order = epoch_order(len(clips), BATCH, seed=1, epoch=3)
    mine = order.reshape(len(order), -1, CHUNK)[:, PROCESSES - 1 :: PROCESSES]
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    memory = f"{peak() - before:.0f} MB over the {before:.0f} of the imports"
    return f"{mine.size} of {len(clips)} clips: {cpu:.2f} s of CPU, {clock:.2f} s, {memory}"


def peak() -> float:
    """Peak memory of this process, MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
