"""Both halves of a search have a feed; here by a lane whose copies are late, as on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.feed import LateCopies

from autox3d.search.halves import Halves
from autox3d.vision.clips.feed import Feed, waiting
from autox3d.vision.clips.loader import Batch
from autox3d.vision.clips.normalise import normalise

CPU, STEPS = torch.device("cpu"), 4


class Loader:
    """Steps of two clips in two chunks, more of them than the search takes; it notes who asks."""

    def __init__(self, half: int) -> None:
        self.half, self.asked, self.closed = half, [], 0

    def epoch(self, number: int, start: int) -> Iterator[Batch]:
        try:
            for step in range(start, STEPS + 3):
                self.asked.append((step, threading.active_count(), threading.current_thread()))
                value = 100 * self.half + 10 * number + step
                clips = torch.full((2, 1, 2, 2, 3), value, dtype=torch.uint8)
                labels = torch.tensor([value, value + 1])
                yield Batch(clips, labels, labels, [5, 2], [1, 1], [(), ()])
        finally:
            self.closed += 1


@pytest.mark.parametrize("lane", [None, LateCopies], ids=["here", "late"])
def test_each_half_gets_its_steps_in_order(lane):
    """Over two epochs, the first from a later step on; workers are forked before threads."""
    loaders: Any = [Loader(0), Loader(1)]
    halves, before = Halves(loaders, STEPS, CPU), threading.active_count()
    if lane:
        halves.feed = Feed(CPU, lane())
    weights, alpha = halves.batches()
    for epoch, start in ((0, 1), (1, 0)):
        others, step = iter(alpha(epoch, start)), -1
        for step, mine in enumerate(weights(epoch, start), start):
            for half, chunks in enumerate((mine, next(others))):
                value = 100 * half + 10 * epoch + step
                found = list(chunks)
                assert [number for number, _, _ in found] == [5, 2]
                assert [labels.item() for _, _, labels in found] == [value, value + 1]
                pixels = torch.full((1, 1, 2, 2, 3), value, dtype=torch.uint8)
                assert all(torch.equal(clips, normalise(pixels)) for _, clips, _ in found)
        assert step == STEPS - 1
        del others
        for loader in loaders:
            first = next(one for one in loader.asked if one[0] == start)
            assert first[1:] == (before, threading.main_thread())
            assert loader.closed == epoch + 1
            assert max(one[0] for one in loader.asked) < STEPS
            loader.asked.clear()
    assert threading.active_count() == before
    assert halves.feed.waited > 0


def test_a_process_without_passes_has_steps_without_chunks():
    """More processes than pairs: it sums with the others."""
    loaders: Any = [None, Loader(1)]
    weights, alpha = Halves(loaders, STEPS, CPU).batches()

    assert list(weights(0, 1)) == [[]] * (STEPS - 1)
    assert len(list(alpha(0, 1))) == STEPS - 1


def test_the_line_about_waiting_says_what_to_change():
    """In the words of the settings of the run."""
    assert waiting("search", 0.234, "supernet.sampling", 2) == (
        "search: 23% of the time is waiting for clips. Give the job more cores for each process "
        "(or AUTOX3D_WORKERS where it leaves some idle), or raise 'supernet.sampling.repeats' to 4."
    )
