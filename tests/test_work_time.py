"""A run counts its time over all processes that continue it, and says once that it waits."""

from __future__ import annotations

import pytest
import torch

from autox3d.runtime import work_time
from autox3d.runtime.distributed import World
from autox3d.runtime.work_time import WorkTime


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the run's clock shows."""
    now = [100.0]
    monkeypatch.setattr(work_time.time, "monotonic", lambda: now[0])
    return now


def test_a_run_that_was_stopped_goes_on_counting(clock):
    """Work and waiting add up over two processes; the time between them does not count."""
    first = WorkTime(lambda: 3.0)
    clock[0] += 10
    saved = first.saved()
    clock[0] += 1000
    second = WorkTime(lambda: 1.0)
    second.resume(saved)
    clock[0] += 6

    assert saved == {"seconds": 10, "waited": 3}
    assert second.saved() == {"seconds": 16, "waited": 4}
    assert second.data_wait == 4 / 16
    second.resume({"seconds": 10})  # of a version that did not count waiting
    assert second.saved() == {"seconds": 16, "waited": 1}
    second.begin()
    clock[0] += 2
    assert second.seconds == 12


def test_much_waiting_is_said_once(clock, capsys):
    """On stderr, and not where it is little."""
    world = World(0, 1, torch.device("cpu"))
    waited = [1.0]
    run = WorkTime(lambda: waited[0])
    clock[0] += 10

    assert run.slowest(world, 0.1, "{:.0%}".format) == 0.1
    waited[0] = 2.0
    assert run.slowest(world, 0.1, "{:.0%}".format) == 0.2
    assert run.slowest(world, 0.1, "{:.0%}".format) == 0.2
    assert capsys.readouterr().err == "20%\n"
