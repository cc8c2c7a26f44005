"""The clips of a search step: a feed for each half of the training clips."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice

import torch

from autox3d.search.loop import Batches
from autox3d.search.passes import Batch
from autox3d.vision.clips.augment import chunks
from autox3d.vision.clips.feed import Feed
from autox3d.vision.clips.loader import Batch as Loaded
from autox3d.vision.clips.loader import TrainLoader


class Halves:
    """Brings the clips of each half to the device, a step ahead of the loop.

    Args:
        loaders: of each half; None where this process has no pass of it
        steps: of an epoch; a half may have clips for more
    """

    def __init__(
        self, loaders: Sequence[TrainLoader | None], steps: int, device: torch.device
    ) -> None:
        self.loaders, self.steps, self.device = loaders, steps, device
        self.feed = Feed(device)
        self._begun: dict[int, Generator[Loaded, None, None]] = {}

    def batches(self) -> list[Batches]:
        """For each half (epoch, first step) -> its chunks of each step, normalised."""
        return [partial(self._epoch, half) for half in range(len(self.loaders))]

    def _epoch(self, half: int, number: int, start: int) -> Iterator[Batch]:
        loader, count = self.loaders[half], self.steps - start
        if loader is None:
            yield from [[]] * count
            return
        if half not in self._begun:
            some = {n: one for n, one in enumerate(self.loaders) if one is not None}
            items = [_steps(one, number, start, count) for one in some.values()]
            self._begun = dict(zip(some, self.feed.begun(items), strict=True))
        for batch in self.feed(self._begun.pop(half), ("clips", "labels")):
            yield chunks(batch, self.device)


def _steps(
    loader: TrainLoader, epoch: int, start: int, count: int
) -> Generator[Loaded, None, None]:
    """The batches of so many steps."""
    with closing(loader.epoch(epoch, start)) as steps:
        yield from islice(steps, count)
