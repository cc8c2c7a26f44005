"""How many kernels a GPU is asked for by the views of a video: counted without one.

Operations are counted as they are dispatched, on tensors without data, which take the way of
every device that is no CPU. An operation that only gives another view of a tensor starts no kernel.
A library may start two kernels for one operation (a convolution and its bias).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from support import ARCHITECTURES
from torch.utils._python_dispatch import TorchDispatchMode

from autox3d.core.values import ClipSpec
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips import views
from autox3d.vision.clips.augment import augmented
from autox3d.vision.clips.augment_policy import draw
from autox3d.vision.clips.videos import Decoded
from autox3d.vision.learning.scoring import Scorer, at_once
from autox3d.vision.models.fold import folded
from autox3d.vision.models.network import VideoNet
from autox3d.vision.tasks.classify import TASK

META = torch.device("meta")
STARTS_NONE = {"aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty"}
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"}
SPEC = ClipSpec(frames=13, stride=6, crop=160, short=182)
PLACES = views.test_places(10, "ends")
VIDEOS, BATCH = 3, 90  # as params/kinetics400.yaml has it


class Counted(TorchDispatchMode):
    """Counts the kernels that a GPU would be asked for, by operation, and the waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.waits: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name, named = func._schema.name, kwargs or {}
        with self:  # an operation that is made of others counts as these
            parts = func.decompose(*args, **named)
        if parts is not NotImplemented:
            return parts
        copied = name == "aten::_to_copy" and named.get("device") == torch.device("cpu")
        if name in WAITS or copied:
            self.waits.append(name)
        if not func.is_view and name not in STARTS_NONE:
            self.kernels[name] += 1
        return func(*args, **named)


def x3d_s() -> VideoNet:
    return VideoNet(Genotype.load(ARCHITECTURES / "x3d_s.yaml"), 400).eval()


def decoded(row: int) -> Decoded:
    """A video of 182 x 242 px whose 10 clips have 100 different frames."""
    times = torch.zeros((len(PLACES), SPEC.frames), dtype=torch.int64, device=META)
    frames = torch.zeros((100, 182, 242, 3), dtype=torch.uint8, device=META)
    return Decoded(row, PLACES, times, frames)


def counted(work: Callable[[], object]) -> Counted:
    with Counted() as counts:
        work()
    return counts


def test_thirty_views_and_the_centre_start_few_kernels():
    """At most 400 a video, cut on the device; and nothing waits for it on the way."""
    net = folded(x3d_s()).to(META, torch.bfloat16)
    scorer = Scorer(net, TASK, META, BATCH)
    size = at_once(30, BATCH, META)

    def work() -> None:
        videos = [decoded(row) for row in range(size)]
        groups = [[video.views(crops, SPEC) for video in videos] for crops in ("center", "lcr")]
        scores = torch.cat([scorer.videos(group) for group in groups])
        assert scores.shape == (VIDEOS * 40, 400)
        assert scores.device == META

    found = counted(work)
    assert size == VIDEOS
    assert found.waits == []
    assert found.kernels["aten::convolution"] == 2 * 85  # the network is in the count
    assert found.kernels.total() / size <= 400


def test_a_pass_of_any_size_starts_as_many():
    """So that a video alone, in two passes, starts fewer than a plain network in one."""
    scorer = Scorer(folded(x3d_s()).to(META, torch.bfloat16), TASK, META, 30)
    plain = Scorer(x3d_s().to(META), TASK, META, 30)
    alone = decoded(0).views("lcr", SPEC)

    one = counted(lambda: scorer.videos([alone])).kernels.total()
    three = counted(lambda: scorer.videos([alone] * 3)).kernels.total()
    before = counted(lambda: plain.videos([alone])).kernels.total()
    assert one <= 340
    assert 3 * one - 10 <= three <= 3 * one + 10
    assert before > 2.5 * one


def test_a_batch_is_augmented_by_few_kernels():
    """64 clips as the policy samples them, at most 6 kernels a clip; and none of them waits."""
    drawn = [draw(np.random.default_rng(seed)) for seed in range(64)]
    clips = torch.zeros((64, 13, 160, 160, 3), dtype=torch.uint8, device=META)

    def alone() -> None:
        for clip, operations in zip(clips, drawn, strict=True):
            augmented(clip[None], [operations])

    together, one_by_one = counted(lambda: augmented(clips, drawn)), counted(alone)
    assert together.waits == []
    assert together.kernels.total() <= 6 * 64
    assert one_by_one.kernels.total() > 3 * together.kernels.total()
