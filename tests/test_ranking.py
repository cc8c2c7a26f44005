"""Networks are ranked by likelihood over clips, with batch-norm statistics of pooled clips."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.spaces import SPACE

from autox3d.core import settings
from autox3d.runtime.distributed import World
from autox3d.search import ranking
from autox3d.search.ranking import (
    CLIPS,
    Ranked,
    RankingClips,
    calibrated,
    kendall,
    kendall_interval,
    paired,
    ranked,
)
from autox3d.search.space import Space
from autox3d.search.supernet import Supernet
from autox3d.vision.clips import views
from autox3d.vision.clips.loader import Batch
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.videos import frames_at
from autox3d.vision.models.network import set_training

ALONE = World(0, 1, torch.device("cpu"))
SHARED = settings.load().supernet
DRAW = (1, 0, 1, 0, 0, 0, 1, 0)


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Supernet:
    """Of the tests' space, with 8 clips to a chunk and random weights."""
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE)
    torch.manual_seed(0)
    net = Supernet(Space.load(path), 8, "fair")
    set_training(net, bn_clips=8, dropout=0.0)
    return net


def test_calibration_pools_the_variance_between_clips(supernet, monkeypatch):
    """Half of the variance is between clips: a mean over chunks of 8 has 15/16 of it."""
    rng = np.random.default_rng(0)
    between = rng.normal(0, 30, (64, 1, 1, 1, 1))
    pixels = 128 + between + rng.normal(0, 30, (64, 4, 32, 32, 3))
    clips = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    batch = Batch(clips, torch.zeros(64), torch.arange(64), range(8), [8] * 8, [()] * 64)
    loader = SimpleNamespace(epoch=lambda _: iter([batch]))
    monkeypatch.setattr(ranking, "TrainLoader", lambda **_: loader)
    (net,) = calibrated(supernet, [DRAW], range(64), SHARED, 64, ALONE)  # type: ignore[arg-type]

    with torch.no_grad():
        inside = net.stem.time(net.stem.space(normalise(clips))).double()
    true = inside.var((0, 2, 3, 4), correction=0)
    chunks = torch.stack([c.var((0, 2, 3, 4), correction=0) for c in inside.split(8)]).mean(0)
    found = net.stem.norm.running_var.double()

    torch.testing.assert_close(found, true, rtol=0.001, atol=0)
    assert (chunks / true).mean() < 0.95  # the control: what the mean over chunks would be


def test_likelihoods_are_means_over_the_clips_of_a_video(supernet, clips):
    """Of two networks and a video, against one clip after another; top-1 is of all clips."""
    table = RankingClips.load(clips / "clips.parquet", clips / "shards")
    other = tuple(
        1 - taken if len(choice.candidates) > 1 else taken
        for choice, taken in zip(supernet.space.choices, DRAW, strict=True)
    )
    draws = [DRAW, other]
    found = ranked(draws, supernet, table, SHARED, 8, ALONE)
    nets = calibrated(supernet, draws, table.train, SHARED, 8, ALONE)
    spec, row = supernet.space.input, 3
    places = views.test_places(CLIPS, "ends")
    times, frames = frames_at(table.val.video(row), places, spec, SHARED.sampling.rule)
    height, width = frames.shape[1:3]
    box = views.test_box(height, width, "center", spec.crop)
    cut = frames[:, box.top : box.top + box.side, box.left : box.left + box.side]
    label = int(table.val.labels[row])
    for net, one in zip(nets, found, strict=True):
        net.eval()
        with torch.no_grad():
            each = [net(normalise(cut[time][None])).mean(1).log_softmax(1)[0] for time in times]
        assert one.likelihoods[row] == pytest.approx(np.mean([e[label].item() for e in each]), 1e-4)
        assert one.mean == pytest.approx(one.likelihoods.mean())
        assert list(one.metrics) == ["top1", "log_likelihood"]
    assert not np.allclose(found[0].likelihoods, found[1].likelihoods)


def test_several_videos_a_pass_are_ranked_as_they_are_alone(supernet, clips, monkeypatch):
    """As on a GPU: to rounding, the last pass with fewer videos."""
    table = RankingClips.load(clips / "clips.parquet", clips / "shards")
    (alone,) = ranked([DRAW], supernet, table, SHARED, 8, ALONE)
    monkeypatch.setattr(ranking, "at_once", lambda *_: 3)
    (found,) = ranked([DRAW], supernet, table, SHARED, 8, ALONE)

    assert len(table.val) % 3
    np.testing.assert_allclose(found.likelihoods, alone.likelihoods, rtol=1e-5)
    assert found.metrics == pytest.approx(alone.metrics, rel=1e-5)


def of(likelihoods: np.ndarray) -> Ranked:
    """A network that finds the videos so likely."""
    return Ranked(likelihoods, {})


def test_a_difference_is_taken_video_by_video():
    """What is hard for both networks cancels out: 0.1 nats show where videos differ by 2."""
    rng = np.random.default_rng(1)
    hard = rng.normal(-2, 2, 200)
    worse = of(hard + rng.normal(0, 0.3, 200))
    better = of(hard + 0.1 + rng.normal(0, 0.3, 200))
    found, back = paired(better, worse), paired(worse, better)

    assert 0 < found.low < found.mean < found.high
    assert (back.mean, back.low, back.high) == pytest.approx(
        (-found.mean, -found.high, -found.low), abs=0.01
    )
    apart = paired(better, of(rng.permutation(worse.likelihoods)))
    assert apart.low < 0 < apart.high  # the control: of other videos


def test_a_video_without_a_label_is_left_out():
    """Of the mean, and of the difference."""
    one, two = of(np.array([-1.0, np.nan, -3.0])), of(np.array([-2.0, np.nan, -4.0]))

    assert one.mean == -2
    assert paired(one, two) == (1, 1, 1)


def test_kendalls_tau_is_the_textbooks():
    """1 in the same order, -1 in the other; ties as tau-b discounts them."""
    assert kendall([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall([1, 2, 2], [1, 2, 3]) == pytest.approx(2 / 6**0.5)
    assert kendall([1, 1, 1], [1, 2, 3]) == 0


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_the_interval_of_tau_covers_it(truth):
    """Of 40 studies of 24 networks most intervals hold the tau of all networks, 0 or 1/3."""
    rng = np.random.default_rng(2)
    tau = 2 / np.pi * np.arcsin(truth / (truth + 1))  # of two normal values so correlated
    hits = 0
    for _ in range(40):
        quality = truth**0.5 * rng.normal(size=(24, 1))
        one, two = (quality + rng.normal(size=(24, 1)) for _ in range(2))
        _, low, high = kendall_interval(one, two, resamples=200)
        hits += low <= tau <= high
    assert hits >= 35


def test_seeds_that_disagree_widen_the_interval_of_tau():
    """The same means from three seeds: equal ones, and ones that are far apart."""
    level = np.arange(12.0)[:, None]
    apart = np.array([[-6.0, 0.0, 6.0]])
    _, sure, _ = kendall_interval(level, level + 0 * apart, resamples=200)
    tau, unsure, _ = kendall_interval(level, level + apart, resamples=200)

    assert tau == pytest.approx(1)
    assert sure == pytest.approx(1)
    assert unsure < 0.8
