"""The memory of large tensors is kept for the next ones where a network predicts on a CPU."""

from __future__ import annotations

import platform
import threading
from pathlib import Path

import pytest
import torch
from support.trained import trained

from autox3d.inference.fast import plain
from autox3d.inference.latency import measure
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
    """MB that the process has grown by after 200 MB of tensors have come and gone."""
    before = resident()
    for _ in range(2):
        assert torch.ones(50_000_000).sum() == 50_000_000
    return resident() - before


def made() -> Trained:
    net, genotype, classes = trained()
    return Trained(net, genotype, classes, {}, {})


def predict(answers) -> None:
    """Before a network is there, afterwards, in a thread, and when all is given back."""
    found = [left_by_large_tensors()]
    Network(made(), "cpu", torch.float32)
    found.append(left_by_large_tensors())
    thread = threading.Thread(target=lambda: found.append(left_by_large_tensors()))
    thread.start()
    thread.join()
    kept = resident()
    memory.give_back()
    answers.put([*found, kept - resident()])


def time_it(answers) -> None:
    """What is left by tensors after a network has been timed."""
    score = plain(made())
    with torch.inference_mode():
        measure(score, torch.randn(1, 3, 4, 40, 40), 1, repeats=1, warmup=0)
    answers.put(left_by_large_tensors())


def answer(runner, target):
    answers = runner.context.SimpleQueue()
    process = runner.context.Process(target=target, args=(answers,))
    process.start()
    found = answers.get()
    process.join()
    return found


def test_prediction_keeps_what_a_pass_has_used(runner):
    """Without a network the kernel gets it back at once; a thread's is not kept, and no harm."""
    before, after, in_thread, given_back = answer(runner, predict)

    assert before < 20
    assert 180 < after < 260
    assert in_thread < 20
    assert 180 < given_back < 260


def test_a_network_is_timed_with_the_memory_that_prediction_keeps(runner):
    """Else page faults would count that prediction does not have."""
    assert 180 < answer(runner, time_it) < 260
