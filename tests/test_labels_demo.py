"""The demo of several labels learns, and each of its parts is there for a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bench import labels as bench
from support import ROOT
from support.demo_clips import made

from autox3d.core import settings
from autox3d.datasets import demo_labels
from autox3d.sizing.scaling import baseline, clip_of
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.tasks import multilabel


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_demo_learns_what_a_softmax_cannot_say(tmp_path, monkeypatch):
    """mAP far above chance; ten views find actions of a tenth that one loses, best by maximum.

    A training by softmax may rank the videos as well, but never says "both", nor "nothing".
    """
    monkeypatch.chdir(tmp_path)
    params = settings.load(ROOT / "params/demo_labels.yaml")
    clips = Clips.load(made(tmp_path, params, demo_labels.prepare), split="test")
    rule = replace(params.baseline["x3d_s"], of=str(ROOT / "architectures/x3d_s.yaml"))
    given = Genotype.load(Path(rule.of))
    genotype = baseline(given, "x3d_s", clip_of(given, rule, params.scale), rule)
    tests = replace(params.evaluate, crops=1)
    recipe = params.train["x3d_s"]
    of_sigmoid, of_softmax = (
        bench.measured(genotype, recipe, tests, loss) for loss in ("sigmoid", "softmax")
    )
    sigmoid, softmax = (found[max(tests.clips)] for found in (of_sigmoid, of_softmax))
    none = np.zeros((len(clips), len(clips.classes)))
    chance = multilabel.measure(none, clips.labels)["chance"]
    print(sigmoid, softmax, chance)

    assert chance == pytest.approx(0.19, abs=0.02)
    assert sigmoid["mAP, max"] > 4 * chance
    assert sigmoid["mAP, max"] > sigmoid["mAP, mean"]
    assert sigmoid["a tenth, max"] > sigmoid["a tenth, mean"]
    assert sigmoid["a tenth, max"] > of_sigmoid[1]["a tenth, max"] + 0.3
    assert softmax["both"] < 0.05 < 0.4 < sigmoid["both"]
    assert sigmoid["nothing"] < 0.05 < 0.15 < softmax["nothing"]


def test_the_softmax_of_the_control_shares_its_labels_out():
    """Two labels have a half each; a clip without one teaches nothing."""
    logits = torch.randn(3, 1, 4, generator=torch.manual_seed(1), dtype=torch.float64)
    target = torch.tensor([[0, 2], [1, -1], [-1, -1]])
    logs = logits[:, 0].log_softmax(1)
    by_hand = -((logs[0, 0] + logs[0, 2]) / 2 + logs[1, 1]) / 4

    found = bench.LOSSES["softmax"].loss(logits, target)
    assert found.item() == pytest.approx(by_hand.item(), abs=1e-12)
