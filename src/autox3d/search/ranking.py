"""Ranks networks with the weights of a supernet, by the likelihood of held-out videos.

    N videos, K clips of each, C classes

The log-likelihood of a video tells two networks apart where both are right or both are wrong, which
top-1 cannot. Networks are compared video by video: what is hard for all of them cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autox3d.core.intervals import bootstrap
from autox3d.core.scores import Metrics
from autox3d.core.settings import Supernet as Shared
from autox3d.runtime.distributed import World
from autox3d.search.space import Draw
from autox3d.search.supernet import Supernet
from autox3d.vision.clips.augment import chunks
from autox3d.vision.clips.loader import TrainLoader
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import VideoViews, ViewLoader
from autox3d.vision.learning.scoring import at_once, grouped
from autox3d.vision.learning.statistics import recalibrate_batch_norm
from autox3d.vision.models.network import VideoNet
from autox3d.vision.tasks.task import Task

CLIPS = 3  # K, of each validation video: its beginning, middle and end
BATCH = 96  # clips of a pass on a GPU, at most
LIKELIHOOD = "log_likelihood"  # the name in records: nats, mean over the labelled videos


class RankingClips(NamedTuple):
    """The clips on which networks of a supernet are calibrated and ranked."""

    train: Clips
    val: Clips

    @classmethod
    def load(cls, table: Path, shards: Path | None = None) -> RankingClips:
        """Loads the weights' half of the training clips, and the validation videos.

        Raises:
            Refused: the table is missing, or has no such clips.
        """
        val = Clips.load(table, split="val", shards=shards)
        return cls(Clips.load(table, split="train", half="weights", shards=shards), val)


class Ranked(NamedTuple):
    """What a network of the supernet makes of the validation videos."""

    likelihoods: np.ndarray  # (N,) log-likelihood of each video's label, nats; NaN without a label
    metrics: Metrics  # the headline of the task, and the mean log-likelihood

    @property
    def mean(self) -> float:
        """The mean log-likelihood of the labelled videos, nats; NaN without any."""
        known = self.likelihoods[~np.isnan(self.likelihoods)]
        return float(known.mean()) if known.size else math.nan


class Difference(NamedTuple):
    """How much likelier one network finds the videos than another one, nats a video."""

    mean: float
    low: float  # of the 95 % interval over videos
    high: float


def paired(one: Ranked, two: Ranked) -> Difference:
    """The difference of two networks on the same videos, `one` less `two`.

    Raises:
        ValueError: no video has a label.
    """
    differences = one.likelihoods - two.likelihoods
    known = differences[~np.isnan(differences)]
    return Difference(float(known.mean()), *bootstrap(known, seed=0))


def ranked(
    draws: Sequence[Draw],
    supernet: Supernet,
    clips: RankingClips,
    shared: Shared,
    calibration: int,
    world: World,
) -> list[Ranked]:
    """Measures each network with the supernet's weights, on `CLIPS` clips of each video.

    Args:
        calibration: number of training clips that recalibrate the batch norm of each network

    Returns:
        One for each draw, the same in every process.
    """
    nets = calibrated(supernet, draws, clips.train, shared, calibration, world)
    task, labels = clips.val.task, clips.val.labels
    known = task.labelled(labels)
    loader = ViewLoader(
        clips=clips.val,
        spec=supernet.space.input,
        counts=[CLIPS],
        rule="ends",
        sampling=shared.sampling.rule,
        crops=["center"],
        world=world.place,
    )
    mine = []
    for some in grouped(loader.videos(), at_once(CLIPS, BATCH, world.device)):
        truth = [labels[video.row] if known[video.row] else None for video in some]
        found = zip(*(_measured(net, task, some, truth, world) for net in nets), strict=True)
        mine += [(video.row, list(each)) for video, each in zip(some, found, strict=True)]
    every = dict(pair for part in world.gather(mine) for pair in part)
    by_network = zip(*(every[row] for row in range(len(clips.val))), strict=True)
    return [_ranked(list(videos), task, labels) for videos in by_network]


def calibrated(
    supernet: Supernet,
    draws: Sequence[Draw],
    clips: Clips,
    shared: Shared,
    count: int,
    world: World,
) -> list[VideoNet]:
    """Extracts the networks, with batch-norm statistics pooled over `count` training clips."""
    loader = TrainLoader(
        clips=clips,
        spec=supernet.space.input,
        sampling=shared.sampling,
        seed=shared.seed,
        batch=min(count, len(clips)),
        chunk=shared.bn_clips,
    )
    parts = list(chunks(next(loader.epoch(0)), world.device))
    nets = [supernet.network(draw) for draw in draws]
    for net in nets:  # every process has all clips, so that there is nothing to add up
        recalibrate_batch_norm(net, [parts], len(parts), lambda _: None)
    return nets


@torch.inference_mode()
def _measured(
    net: VideoNet,
    task: Task,
    videos: Sequence[VideoViews],
    labels: Sequence[np.ndarray | None],
    world: World,
) -> list[tuple[np.ndarray, float]]:
    """Of each video the scores (C,), and the mean log-likelihood of its label over the clips."""
    net.eval()
    device = world.device
    clips = [video.clips for video in videos]
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        logits = net(normalise((clips[0] if len(clips) == 1 else torch.cat(clips)).to(device)))
    parts = logits.float().cpu().split(list(map(len, clips)))  # the one wait of a pass
    return [_of_video(task, *one) for one in zip(parts, labels, strict=True)]


def _of_video(task: Task, logits: Tensor, label: np.ndarray | None) -> tuple[np.ndarray, float]:
    """The scores of a video and the log-likelihood of its label, from the logits of its clips."""
    scores = task.merge(task.scores(logits).numpy())
    if label is None:
        return scores, math.nan
    target: Tensor = torch.as_tensor(np.stack([label] * len(logits)))
    return scores, -task.loss(logits, target).item() / len(logits)


def _ranked(videos: list[tuple[np.ndarray, float]], task: Task, labels: np.ndarray) -> Ranked:
    scores, likelihoods = zip(*videos, strict=True)
    headline = task.headline.name
    measured = task.measure(np.stack(scores), labels)[headline]
    found = Ranked(np.array(likelihoods), {})
    return found._replace(metrics={headline: measured, LIKELIHOOD: found.mean})


def kendall(one: Sequence[float], two: Sequence[float]) -> float:
    """Kendall's tau-b: concordant less discordant pairs, normalised with a correction for ties."""
    signs = [np.sign(np.subtract.outer(values, values)) for values in (one, two)]
    norm = math.sqrt(np.square(signs[0]).sum() * np.square(signs[1]).sum())
    return float((signs[0] * signs[1]).sum() / norm) if norm > 0 else 0.0


def kendall_interval(
    one: np.ndarray, two: np.ndarray, seed: int = 0, resamples: int = 2_000
) -> tuple[float, float, float]:
    """Kendall's tau of two ways to measure networks, with its 95 % interval.

    Networks are resampled with replacement, and so are, for each of them, the seeds of its
    measurements, whose mean counts. Two copies of a network are no pair.

    Args:
        one, two: (networks, seeds), such as (24, 1) in the supernet and (24, 3) trained
    """
    rng, count = np.random.default_rng(seed), len(one)
    found = []
    for _ in range(resamples):
        taken = rng.integers(count, size=count)
        means = []
        for values in (one, two):
            seeds = rng.integers(values.shape[1], size=(count, values.shape[1]))
            means.append(values[taken[:, None], seeds].mean(1))
        signs = [np.sign(np.subtract.outer(mean, mean)) for mean in means]
        pairs = np.not_equal.outer(taken, taken)
        norm = math.sqrt(np.square(signs[0][pairs]).sum() * np.square(signs[1][pairs]).sum())
        found.append((signs[0] * signs[1])[pairs].sum() / norm if norm else 0.0)
    low, high = np.quantile(found, (0.025, 0.975))
    return kendall(one.mean(1).tolist(), two.mean(1).tolist()), float(low), float(high)
