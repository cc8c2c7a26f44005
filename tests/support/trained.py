"""A small network that has seen a little training, so that every layer says something."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from autox3d.core.values import ClipSpec
from autox3d.runtime import tracking
from autox3d.runtime.checkpoint import fingerprint
from autox3d.sizing.scaling import thinned
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet, open_branches
from support import ARCHITECTURES

CLASSES = ["bowling", "crème brûlée", "yoga", "zorbing", "archery", "knitting"]


def trained(name: str = "autox3d_s") -> tuple[VideoNet, Genotype, list[str]]:
    """Four frames of 32 px, 40 px in tests; running statistics and scales of their own."""
    torch.manual_seed(1)
    clip = ClipSpec(frames=4, stride=2, crop=32, short=40)
    genotype = thinned(Genotype.load(ARCHITECTURES / f"{name}.yaml"), "tiny", clip, 0.25, 0.3)
    return ready(genotype), genotype, CLASSES


def ready(genotype: Genotype) -> VideoNet:
    """A network of the genotype whose scores differ from clip to clip."""
    net = VideoNet(genotype, len(CLASSES))
    open_branches(net, 0.5)
    nn.init.normal_(net.head.classify.weight, std=0.5)
    clip = genotype.input
    for _ in range(5):
        net(torch.randn(2, 3, clip.frames, clip.crop, clip.crop))
    return net.eval()


def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights of `trained`."""
    net, genotype, classes = trained()
    folder = tmp_path_factory.mktemp("weights") / "net"
    weights.save(folder, net, genotype, classes, {})
    return folder


def passed(folder: Path) -> tuple[Path, Path]:
    """Tracks a training and its test, which end at once; their journals."""
    net, genotype, classes = trained()
    weights.save(folder / "weights/s", net, genotype, classes, {})
    key = fingerprint(w=folder / "weights/s")
    with tracking.run("train", "s", {"lr": 0.1}, {"data": "8f3a"}) as training:
        training.params({"gmacs": 0.25, "network": "s"})
        training.model(folder / "weights/s", key)
    with tracking.run("evaluate", "s", {"clips": 10}, {"data": "8f3a", "weights": key}) as test:
        test.log(0, {"lcr.top1": 0.75})
    assert training.journal
    assert test.journal
    return training.journal, test.journal
