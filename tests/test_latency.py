"""Latency is the wall time of real passes, each with all views of a video."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch
from support import ROOT
from support.trained import trained

from autox3d.inference.latency import latency, measure
from autox3d.vision.models import weights

CPU = torch.device("cpu")


def test_the_median_is_that_of_the_runs_after_the_warm_up():
    """A slow first run, as with a cold cache, does not count; one slow run does not change it."""
    naps = iter([0.3, 0.02, 0.02, 0.2, 0.02, 0.2])
    found = latency(lambda: time.sleep(next(naps)), repeats=5, warmup=1, device=CPU)

    assert 0.02 <= found.low <= found.median < 0.2 <= found.high < 0.3


def test_every_view_is_scored_in_each_run():
    """Views are scored in batches of the given size, the last one smaller, and one by one."""
    seen = []
    clips = torch.zeros(7, 3, 2, 4, 4)
    measure(lambda piece: seen.append(len(piece)), clips, batch=3, repeats=2, warmup=1)

    assert seen == [3, 3, 1] * 3 + [1] * 7 * 3


def measure_peaks(answers):
    """MB of a small pass, of one that takes 200, and of the small one again."""
    clips = torch.zeros(1, 3, 2, 4, 4)

    def greedy(_: torch.Tensor) -> float:
        return torch.ones(50_000_000).sum().item()

    passes = (torch.sum, greedy, torch.sum)
    answers.put([measure(score, clips, 1, repeats=1, warmup=0).peak_mb for score in passes])


def test_peak_memory_sees_what_was_freed_again(runner):
    """In a process of its own: what other tests have freed could be used again, unseen."""
    answers = runner.context.SimpleQueue()
    process = runner.context.Process(target=measure_peaks, args=(answers,))
    process.start()
    modest, large, after = answers.get()
    process.join()

    assert 180 < large - modest < 260
    assert after < modest + 50


def test_the_stage_measures_what_prediction_runs(tmp_path):
    """Its file has the device, the number of views and the seconds, batched and one by one."""
    net, genotype, classes = trained()
    weights.save(tmp_path / "net", net, genotype, classes, {})
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    command = [sys.executable, "-m", "autox3d.stages.latency", "--weights", "net"]
    subprocess.run([*command, "--latency", "out/net.json"], cwd=tmp_path, check=True, timeout=100)

    found = json.loads((tmp_path / "out/net.json").read_text())
    assert (found["net"], found["views"], found["side"]) == ("tiny", 30, 40)
    for form in ("batched", "one_by_one"):
        assert 0 < found[form]["low"] <= found[form]["median"] <= found[form]["high"]
    assert found["peak_mb"] > 50


@pytest.mark.parametrize("repeats", [1, 2])
def test_few_repeats_are_enough_for_a_figure(repeats):
    """One run is its own median and quartiles."""
    found = latency(lambda: None, repeats, warmup=0, device=CPU)

    assert 0 <= found.low <= found.median <= found.high
