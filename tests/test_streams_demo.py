"""The demo of two streams learns with both of them what neither sees alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench import streams as bench
from support import ROOT
from support.demo_clips import made

from autox3d.core import settings
from autox3d.datasets import demo_streams
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_both_streams_see_both_kinds_and_neither_does_alone(tmp_path, monkeypatch):
    """Top-1 within a kind, of which a guess has a quarter; one seed of the three of docs/LOG.md."""
    monkeypatch.chdir(tmp_path)
    params = settings.load(ROOT / "params/demo_streams.yaml")
    clips = Clips.load(made(tmp_path, params, demo_streams.prepare), split="test")
    names = [clips.classes[int(label)] for label in clips.labels[np.argsort(clips.keys)]]
    still = np.array([name.startswith(bench.STILL) for name in names])
    networks = bench.alone(Genotype.load(ROOT / "bench/two_streams_thin.yaml"))
    found: dict[str, tuple[float, float]] = {}
    for name in ("sparse", "dense", "both"):
        tests = replace(params.evaluate, crops=1)
        right = bench.answers(networks[name], params.train["s"], bench.TABLE, tests)
        found[name] = right[still].mean(), right[~still].mean()
    print(found)

    (wide_still, wide_motion), (thin_still, thin_motion) = found["sparse"], found["dense"]
    assert min(found["both"]) > 0.8
    assert wide_motion < 0.4 < 0.8 < wide_still
    assert thin_still < 0.4 < 0.8 < thin_motion
