"""What a training says first: what it will do, and where its batches leave too few steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support import ROOT

from autox3d.core.settings import load
from autox3d.runtime.distributed import World
from autox3d.training import announcement
from autox3d.vision.arch.genotype import Genotype


def announced(count: int, batch: int, epochs: int) -> list[str]:
    usual = load(ROOT / "params.yaml").train["s"]
    recipe = replace(usual, batch=batch, bn_clips=8, epochs=epochs)
    clips = type("Few", (), {"__len__": lambda _: count, "classes": ("a", "b", "c")})()
    world = World(0, 1, torch.device("cpu"))
    network = Genotype.load(ROOT / "architectures/x3d_s.yaml")
    return list(announcement.announced(network, clips, recipe, world))  # type: ignore[arg-type]


def test_a_training_says_what_it_will_do() -> None:
    """Device, clips, classes, steps and memory; the memory grows with the clips of a chunk."""
    (line,) = announced(count=1000, batch=8, epochs=10)
    assert line.startswith("x3d_s on ")
    assert ": 1000 clips of 3 classes, 10 epochs of 125 steps of 8 clips; about " in line
    assert line.endswith(" GB")
    network = Genotype.load(ROOT / "architectures/x3d_s.yaml")
    two, four, eight = (announcement.training_bytes(network, 3, n) for n in (2, 4, 8))
    assert eight - four == pytest.approx(2 * (four - two))
    assert eight > four
    assert f"about {eight / 1e9:.1f} GB" in line


def test_few_steps_are_a_warning() -> None:
    """An epoch of few steps says which batch would have more; a short training says so."""
    assert announced(count=100, batch=64, epochs=200)[1:] == [
        "warning: an epoch has only 1 step, 100 clips in batches of 64. With a batch of 16 it "
        "would have 6."
    ]
    assert announced(count=80, batch=8, epochs=9)[1:] == [
        "warning: the training has only 90 steps in all. Raise 'train.x3d_s.epochs', unless this "
        "is a trial."
    ]
    assert announced(count=80, batch=8, epochs=10)[1:] == []
