"""The demo of boxes learns what each of its discs does, and its controls do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import ROOT
from support.demo_clips import made
from torch import Tensor

from autox3d.core import settings
from autox3d.core.settings import Params
from autox3d.datasets import demo_boxes
from autox3d.evaluation.run import every_view, summarise
from autox3d.runtime.session import session
from autox3d.sizing.scaling import baseline
from autox3d.training.run import TrainingClips, train
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.models import network
from autox3d.vision.models.weights import Trained
from autox3d.vision.tasks.boxes import ASKED

Metrics = dict[str, float | None]


def trained(
    table: Path, params: Params, name: str, *, temporal: bool = True, frames: int | None = None
) -> Trained:
    """The network of the page, or one whose kernels see one frame, or which is shown few."""
    rule = replace(params.baseline["x3d"], temporal=temporal)
    given = Genotype.load(ROOT / rule.of)
    clip = replace(given.input, frames=frames or given.input.frames)
    genotype = baseline(given, name, clip, rule)
    recipe = params.train["x3d"]
    with session("train", name, parts={"name": name}, params={}, data=table, tracked=False) as work:
        result = train(genotype, TrainingClips.load(table), recipe, work)
    return Trained(result.net.eval(), genotype, result.classes, {}, {}, result.task)


def measured(found: Trained, clips: Clips, params: Params, name: str) -> Metrics:
    with session(
        "evaluate", name, parts={"n": name}, params={}, data=Path(), tracked=False
    ) as work:
        views = every_view(found, clips, params.evaluate, work.world, work.kept.folder)
        table = views.table()
        assert table is not None
        return summarise(table, found, clips, params.evaluate).center.metrics


def seeded(seed: int) -> Params:
    """The shipped file with other films and another training."""
    params = settings.load(ROOT / "params/demo_boxes.yaml")
    annotate = replace(params.annotate, demo=replace(params.annotate.demo, seed=seed))
    return replace(
        params, annotate=annotate, train={"x3d": replace(params.train["x3d"], seed=seed)}
    )


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_demo_learns_what_its_controls_cannot(tmp_path, monkeypatch, seed):
    """Frame mAP is far above chance. It is at the share of three actions a frame where every box is
    the whole frame, near chance where a clip is one frame, and 0 where no proposal meets a disc.

    Kernels of one frame, and the mean over time behind them, show along which axis a disc moves
    and not which way: left is right as often as not, and so is still for spin.
    """
    monkeypatch.chdir(tmp_path)
    params = seeded(seed)
    table = made(tmp_path, params, demo_boxes.prepare)
    held = Clips.load(table, split="test")
    net = trained(table, params, "x3d")
    found = {"boxes": measured(net, held, params, "boxes")}
    still = trained(table, params, "still", temporal=False)
    found["kernels of one frame"] = measured(still, held, params, "still")
    single = trained(table, params, "single", temporal=False, frames=1)
    found["one frame"] = measured(single, held, params, "single")
    for own in held.labels:  # an overlap of a third
        asked = own[:, ASKED] > 0
        own[asked, 0:4:2] += (own[asked, 2] - own[asked, 0])[:, None] / 2
    found["shifted"] = measured(net, held, params, "shifted")
    pooled: Callable[[Tensor, Tensor], Tensor] = network.in_boxes
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0])
    monkeypatch.setattr(network, "in_boxes", lambda x, b: pooled(x, whole.expand(b.shape)))
    held = Clips.load(table, split="test")
    found["whole frame"] = measured(trained(table, params, "frame"), held, params, "whole_frame")
    maps = {name: one["map"] or 0.0 for name, one in found.items()}
    print(seed, maps)  # for docs/LOG.md, by -s
    assert found["boxes"]["chance"] == pytest.approx(0.125, abs=0.01)
    assert maps["boxes"] > 0.8
    assert maps["kernels of one frame"] < 0.5
    assert maps["one frame"] < 0.35
    assert 0.125 < maps["whole frame"] < 0.35
    assert maps["shifted"] < 0.02
