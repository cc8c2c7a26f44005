"""Clips reach the device one step ahead, in order and whole, and the loop knows how long it waits.

The lane here is a CPU's: its copies are empty until they are received, as those of a stream may be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from support.feed import LateCopies
from torch import Tensor

from autox3d.vision.clips.feed import AHEAD, Feed

CPU = torch.device("cpu")


class Item(NamedTuple):
    """What a loader yields: some tensors for the device, and other things."""

    clips: Tensor
    labels: Tensor
    number: int


def items(count: int, taken: list[int] | None = None) -> Iterator[Item]:
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield Item(torch.full((2, 3), number + 1), torch.tensor([number + 1]), number)


def alive() -> int:
    return threading.active_count()


def test_items_arrive_whole_and_in_order():
    """Tensors that are not named, and everything else, stay as they are."""
    before, lane, number = alive(), LateCopies(), -1

    for number, item in enumerate(Feed(CPU, lane)(items(7), ("clips", "labels"))):
        assert item.number == number
        assert (item.clips == number + 1).all()
        assert item.labels.tolist() == [number + 1]
    assert number == 6
    assert len(lane.threads) == 1
    assert lane.threads[0] != threading.main_thread().name
    assert alive() == before


def test_a_loader_works_ahead_and_no_further():
    """One item waits, one is on its way, whatever time the loop takes; the first comes at once."""
    taken: list[int] = []
    fed = Feed(CPU, LateCopies())(items(20, taken), ("clips",))

    assert taken == []
    for number, _ in enumerate(fed, 1):
        time.sleep(0.02)
        assert number <= len(taken) <= number + AHEAD + 1
        if number == 5:
            break
    fed.close()
    assert len(taken) < 20


def test_the_first_item_is_taken_by_the_caller():
    """It starts the loader's workers, and a fork beside a thread that computes may hang."""
    names = []

    def loader() -> Iterator[Item]:
        names.append(threading.current_thread().name)
        for item in items(3):
            yield item
            names.append(threading.current_thread().name)

    list(Feed(CPU, LateCopies())(loader(), ("clips",)))
    assert names[0] == threading.main_thread().name
    assert threading.main_thread().name not in names[1:]


@pytest.mark.parametrize("lane", [None, LateCopies()])
@pytest.mark.parametrize("good", [0, 1, 3])
def test_an_error_is_raised_where_its_item_would_have_been(good, lane):
    """The items before it are handed on; no thread and no loader stays behind."""
    before, ended = alive(), []

    def loader() -> Iterator[Item]:
        try:
            yield from items(good)
            raise ValueError("no such shard")
        finally:
            ended.append(True)

    seen = []
    with pytest.raises(ValueError, match="no such shard"):
        seen.extend(item.number for item in Feed(CPU, lane)(loader(), ("clips",)))
    assert seen == list(range(good))
    assert ended == [True]
    assert alive() == before


@pytest.mark.parametrize("lane", [None, LateCopies()])
def test_a_loop_that_is_left_ends_the_loader(lane):
    """As training is, by a signal: the thread ends first, then the workers' generator."""
    before, ended = alive(), []

    def loader() -> Iterator[Item]:
        try:
            yield from items(100)
        finally:
            ended.append(threading.current_thread().name)

    fed = Feed(CPU, lane)(loader(), ("clips",))
    next(fed)
    fed.close()
    assert ended == [threading.main_thread().name]
    assert alive() == before


def test_waiting_is_counted_and_working_is_not():
    """0.05 s of loader for each item, and as much of work: ahead, the loop waits for the first."""

    def slow() -> Iterator[Item]:
        for item in items(8):
            time.sleep(0.05)
            yield item

    waited = {}
    for name, lane in {"with": LateCopies(), "without": None}.items():
        feed = Feed(CPU, lane)
        for _ in feed(slow(), ("clips",)):
            time.sleep(0.08)
        waited[name] = feed.waited
    assert waited["without"] >= 8 * 0.05
    assert 0.05 <= waited["with"] < waited["without"] / 2


def test_no_item_is_no_thread():
    """An epoch that is done has none left."""
    lane = LateCopies()

    assert list(Feed(CPU, lane)(items(0), ("clips",))) == []
    assert lane.threads == []
