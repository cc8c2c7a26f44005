"""Trainings of two steps and of one, in passes of several chunks, on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from autox3d.training.loop import Schedule, State, train_steps
from autox3d.training.passes import Pass, Passes, grouped
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.loader import Batch
from autox3d.vision.learning.capture import Work
from autox3d.vision.learning.schedule import sgd
from autox3d.vision.models.network import VideoNet, open_branches, set_training
from autox3d.vision.tasks.classify import TASK

CHUNK, CHUNKS = 2, 4
CPU = torch.device("cpu")


def new_net(genotype: Genotype, dropout: float = 0.5, drop_connect: float = 0.4) -> VideoNet:
    torch.manual_seed(0)
    net = VideoNet(genotype, 3)
    set_training(net, bn_clips=CHUNK, dropout=dropout, drop_connect=drop_connect)
    open_branches(net, 0.5)
    return net.train()


def new_passes(net: VideoNet, size: int = CHUNK) -> Passes:
    return Passes(net, TASK, CPU, batch=CHUNK * CHUNKS, chunk=CHUNK, size=size)


def chunks() -> list[tuple[int, Tensor, Tensor]]:
    """A step of four chunks."""
    torch.manual_seed(1)
    clips, labels = torch.randn(CHUNKS * CHUNK, 3, 4, 32, 32), torch.arange(CHUNKS * CHUNK) % 3
    clips = clips.contiguous(memory_format=torch.channels_last_3d)
    return list(zip(range(CHUNKS), clips.split(CHUNK), labels.split(CHUNK), strict=True))


def batches(epoch: int, start: int) -> Iterator[Batch]:
    """Two steps of 7 clips: the last chunk is smaller."""
    sizes = [2, 2, 2, 1]
    for step in range(start, 2):
        generator = torch.Generator().manual_seed(10 * epoch + step)
        clips = torch.randint(0, 256, (7, 4, 32, 32, 3), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, 3, (7,), generator=generator)
        yield Batch(clips, labels, labels, range(4), sizes, [()] * 7)


ALONE: Any = SimpleNamespace(size=1, device=CPU, sum_=lambda tensors: None)
SCHEDULE = Schedule(seed=1, epochs=2, steps=2, warmup=1, peak=0.1, batch=7, chunk=CHUNK)


def trained(genotype: Genotype, choose: Callable[[Passes, Pass], None] | None = None) -> Any:
    """The steps of a short training, and its state."""
    net = new_net(genotype)
    state = State(net, sgd(net, 0.9, 5e-5))
    return list(train_steps(state, TASK, SCHEDULE, batches, ALONE, choose)), state.net.state_dict()


def same(work: Work) -> Work:
    """A capture that is right: like a real one, it runs the work as it is captured."""
    work()
    return work


def sums(genotype: Genotype, size: int, **rates: float) -> tuple[Tensor, Tensor]:
    """The sums of a step in passes of so many clips."""
    passes = new_passes(new_net(genotype, **rates), size)
    passes.begin_step()
    for one in grouped(chunks(), size, lambda number: 100 + number):
        passes.take(one)
    return passes.flat.clone(), passes.counts.clone()
