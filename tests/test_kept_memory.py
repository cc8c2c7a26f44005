"""The memory of large tensors is kept for the next ones where a program asks for it."""

from __future__ import annotations

import platform
import threading
from pathlib import Path

import pytest
import torch
from support.trained import trained

from autox3d.inference.network import Network
from autox3d.runtime import memory
from autox3d.vision.models.weights import Trained

GLIBC = platform.libc_ver()[0] == "glibc"
pytestmark = pytest.mark.skipif(not GLIBC, reason="only glibc can be told to keep memory")


def resident() -> float:
    """MB of this process in memory."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmRSS"))


def left_by_large_tensors() -> float:
    """MB that the process has grown by after 200 MB of tensors have come and gone, six times."""
    before = resident()
    for _ in range(6):
        assert torch.ones(50_000_000).sum() == 50_000_000
    return resident() - before


def made() -> Trained:
    net, genotype, classes = trained()
    return Trained(net, genotype, classes, {}, {})


def keep(answers) -> None:
    """Before memory is kept, though a network is there; afterwards; in a thread; given back."""
    Network(made(), "cpu", torch.float32)
    found = [left_by_large_tensors()]
    memory.keep_tensors()
    found.append(left_by_large_tensors())
    thread = threading.Thread(target=lambda: found.append(left_by_large_tensors()))
    thread.start()
    thread.join()
    kept = resident()
    memory.give_back()
    answers.put([*found, kept - resident()])


def keep_before_something(answers) -> None:
    """MB that are free but kept because something behind them is in use, and then given back."""
    memory.keep_tensors()
    before, large = resident(), [torch.ones(10_000_000) for _ in range(40)]
    behind = torch.ones(1_000_000)
    del large
    kept = resident()
    memory.give_back()
    answers.put([kept - before, kept - resident(), behind.sum().item()])


def answer(runner, target):
    answers = runner.context.SimpleQueue()
    process = runner.context.Process(target=target, args=(answers,))
    process.start()
    found = answers.get()
    process.join()
    return found


def test_what_a_pass_has_used_is_kept_once_it_is_asked_for(runner):
    """By default the kernel gets it back at once; a thread's is not kept, and no harm.

    The heap may keep twice as much, where a small piece has settled in the first one's place.
    """
    before, after, in_thread, given_back = answer(runner, keep)

    assert before < 20
    assert 180 < after < 460
    assert in_thread < 20
    assert 180 < given_back < 460


def test_more_than_a_gigabyte_is_kept_before_something_in_use(runner):
    """So a program that loads a network is not made to keep it."""
    kept, given_back, _ = answer(runner, keep_before_something)

    assert kept > 1500
    assert given_back > 1400
