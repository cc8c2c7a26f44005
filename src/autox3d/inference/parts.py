"""Parts of a network alone, in the form that prediction runs, to time them one by one.

B views of a pass, C channels, T frames, S x S px
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import nn

from autox3d.core.latency_table import LatencyTable, Setup, TimedPart, Type
from autox3d.inference.network import CPU_BATCH
from autox3d.runtime.timing import CLOCKS, clock_of, timed
from autox3d.vision.arch.blocks import Block
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels.choice import here
from autox3d.vision.models.attention import attention
from autox3d.vision.models.blocks import block
from autox3d.vision.models.fold import fast_dtype, folded
from autox3d.vision.models.network import HeadLayer, StemLayer, VideoNet, initialise_layer
from autox3d.vision.models.norm import BatchNorm

ROUNDS = 5  # times that each part is timed, in another order each time
CALLS = 3  # in a round, at least; the fastest counts, on a GPU the mean of ten times as many
SPAN = 0.02  # s that a CPU's calls of a round take, at least: a short part is slow at first
GPU_BATCH = 30  # views of a video, which a GPU takes at once
SAMPLE = 10  # parts that tell how long all of them will take
Parts = Mapping[TimedPart, Block | Genotype | None]  # without times; what a block or network is


class Asked(NamedTuple):
    """How parts are to be timed; None: as prediction runs networks."""

    type: str | None  # float32, bfloat16
    batch: int | None  # views of a pass
    threads: int | None  # of a CPU
    classes: int  # of the head


def setup(genotype: Genotype, fingerprint: str, device: torch.device, asked: Asked) -> Setup:
    """The setup of a table that is made here and now; sets the number of threads.

    Args:
        genotype: any network of the space, with the space's name
        fingerprint: of the space
    """
    if asked.threads:
        torch.set_num_threads(asked.threads)
    cpu, best = device.type == "cpu", str(fast_dtype(device)).removeprefix("torch.")
    own = here(device)
    return Setup(
        space=genotype.name,
        fingerprint=fingerprint,
        device=own.name,
        instructions=own.instructions,
        threads=own.threads,
        type=cast("Type", asked.type or best),
        batch=asked.batch or (CPU_BATCH if cpu else GPU_BATCH),
        frames=genotype.input.frames,
        side=genotype.input.short,
        classes=asked.classes,
        torch=own.torch,
        clock=clock_of(device),
        rounds=ROUNDS,
    )


def module(
    row: TimedPart, of: Block | Genotype | None, genotype: Genotype, classes: int
) -> nn.Module:
    """The folded part with random weights; `genotype` has what all networks of a space share."""
    if isinstance(of, Genotype):
        net = VideoNet(of, classes)
        opened(net)
        return folded(net)
    if of is not None:
        part = block(of, genotype.block)
    elif row.part == "stem":
        part = StemLayer(genotype.stem)
    elif row.part == "head":
        window = (genotype.input.frames, genotype.pool, genotype.pool)
        part = HeadLayer(row.channels_in, genotype.head, window, classes)
    else:
        part = attention(row.kind, row.channels, genotype.attention.nodes)
    part.apply(initialise_layer)
    opened(part)
    return folded(part)


def opened(part: nn.Module) -> None:
    """Sets all scales to 1, in place: a GPU is quicker at multiplying zeros."""
    for layer in part.modules():
        if isinstance(layer, BatchNorm):
            nn.init.ones_(layer.weight)


def milliseconds(
    row: TimedPart,
    of: Block | Genotype | None,
    genotype: Genotype,
    made: Setup,
    device: torch.device,
) -> float:
    """The time of a part, for one view of a pass of (B, C, T, S, S)."""
    dtype = getattr(torch, made.type)
    part = module(row, of, genotype, made.classes).to(device, dtype)
    x = torch.randn(made.batch, row.channels_in, made.frames, row.side, row.side, device=device)
    x = x.to(dtype).contiguous(memory_format=torch.channels_last_3d)
    return 1e3 * fastest(lambda: part(x), made, device) / made.batch


@torch.inference_mode()
def fastest(run: Callable[[], object], made: Setup, device: torch.device) -> float:
    """Seconds of a call: the fastest of some, after one that does not count."""
    clock = CLOCKS[made.clock]
    run()
    if device.type == "cuda":  # in a row, as in a network: launches overlap with the work before
        return timed(run, device, clock, 10 * CALLS)
    taken: list[float] = []
    while len(taken) < CALLS or sum(taken) < SPAN:
        taken.append(timed(run, device, clock))
    return min(taken)


def minutes(parts: Parts, genotype: Genotype, table: LatencyTable, device: torch.device) -> float:
    """How long the timings that a table lacks will take, from a few of them."""
    sample = list(parts.items())[:: max(1, len(parts) // SAMPLE)]
    milliseconds(*sample[0], genotype, table.setup, device)  # libraries are loaded
    began = time.monotonic()
    for row, of in sample:
        milliseconds(row, of, genotype, table.setup, device)
    return (time.monotonic() - began) / len(sample) * table.missing / 60


def filled(
    table: LatencyTable, parts: Parts, genotype: Genotype, device: torch.device
) -> Iterator[LatencyTable]:
    """Times what a table lacks, round by round, and yields it after each timing."""
    rows = list(table.parts)
    for number in range(table.setup.rounds):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(number))
        for place in order.tolist():
            row = rows[place]
            if len(row.ms) <= number:
                ms = milliseconds(row.untimed, parts[row.untimed], genotype, table.setup, device)
                rows[place] = replace(row, ms=(*row.ms, round(ms, 6)))
                yield replace(table, parts=tuple(rows))
