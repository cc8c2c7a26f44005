"""Derives the most probable network of a search, and ranks the next ones under the target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from autox3d.core.errors import Refused
from autox3d.core.records import Metrics
from autox3d.core.search_records import Alpha, Decision, Derived, DerivedNetwork
from autox3d.core.settings import Supernet as Shared
from autox3d.runtime.distributed import World
from autox3d.search.costs import SpaceCosts
from autox3d.search.prior import Prior
from autox3d.search.space import Draw, Space
from autox3d.search.supernet import Supernet, calibrate, load_weights
from autox3d.vision.clips.augment import chunks
from autox3d.vision.clips.loader import TrainLoader
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import centre_clips
from autox3d.vision.learning.scoring import scores_of
from autox3d.vision.models.network import VideoNet, set_training

TRIED = 100_000  # most probable networks that are searched for some under the target


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


def ranked(
    draws: Sequence[Draw],
    supernet: Supernet,
    clips: RankingClips,
    shared: Shared,
    calibration: int,
    world: World,
) -> list[Metrics]:
    """Measures the headline of each network with the supernet's weights.

    Each validation video is tested on its centre clip.

    Args:
        calibration: number of training clips that recalibrate the batch norm of each network
    """
    nets = calibrated(supernet, draws, clips.train, shared, calibration, world)
    spec = supernet.space.input
    videos = centre_clips(clips.val, spec, shared.sampling.rule, world.place).videos()
    task, count = clips.val.task, len(clips.val)
    all_scores = scores_of(nets, task, videos, count, world.device, world.gather)
    headline = task.headline.name
    return [{headline: task.measure(scores, clips.val.labels)[headline]} for scores in all_scores]


def load_prior(path: Path, space: Space) -> Prior:
    """Loads the architecture distribution at the end of the search.

    Raises:
        Refused: the file is missing or damaged, or belongs to another space.
    """
    logits = [choice.logits for choice in Alpha.read(path).choices]
    prior = Prior([len(choice.candidates) for choice in space.choices])
    if [len(row) for row in logits] != list(prior.candidates):
        raise Refused(f"{path}: its choices are not those of {space.name}. Run `search` again.")
    with torch.no_grad():
        for row, values in zip(prior.alpha, logits, strict=True):
            row[: len(values)] = torch.tensor(values, dtype=row.dtype)
    return prior


def load_supernet(path: Path, space: Space, classes: int, shared: Shared) -> Supernet:
    """Loads the supernet with its weights at the end of the search.

    Raises:
        Refused: the file is missing or damaged, or belongs to another space.
    """
    net = Supernet(space, classes, shared.selection)
    set_training(net, bn_clips=shared.bn_clips, dropout=shared.dropout)
    load_weights(net, path, "search")
    return net


def runners_up(
    prior: Prior, chosen: Draw, costs: SpaceCosts, target: float, count: int
) -> list[Draw]:
    """Returns up to `count` of the most probable networks under the target, without `chosen`."""
    best = itertools.islice(prior.descending(), TRIED)
    under = (draw for _, draw in best if draw != chosen and costs.of(draw) <= target)
    return list(itertools.islice(under, count))


def calibrated(
    supernet: Supernet,
    draws: Sequence[Draw],
    clips: Clips,
    shared: Shared,
    count: int,
    world: World,
) -> list[VideoNet]:
    """Extracts the networks, with batch-norm statistics of `count` training clips."""
    loader = TrainLoader(
        clips=clips,
        spec=supernet.space.input,
        sampling=shared.sampling,
        seed=shared.seed,
        batch=min(count, len(clips)),
        chunk=shared.bn_clips,
    )
    batch = next(loader.epoch(0))
    parts = [part for _, part, _ in chunks(batch, world.device)]
    nets = [supernet.network(draw) for draw in draws]
    for net in nets:
        calibrate(net, parts)
    return nets


def report(
    space: Space,
    prior: Prior,
    costs: SpaceCosts,
    target: float,
    draws: Sequence[Draw],
    measured: Sequence[Metrics],
) -> Derived:
    """Makes the record: the first network is the derived one, the others are runners-up."""
    rows = [
        describe(space, prior, costs, draw, metrics)
        for draw, metrics in zip(draws, measured, strict=True)
    ]
    return Derived(
        space=space.name,
        networks=f"{space.size:.3g}",
        target_gmacs=target,
        found=replace(rows[0], choices=decided(space, prior, draws[0])),
        runners_up=tuple(sorted(rows[1:], key=lambda row: -headline(row))),
    )


def headline(network: DerivedNetwork) -> float:
    """The first metric of the network with the supernet's weights."""
    return next(iter(network.supernet.values())) or 0.0


def describe(
    space: Space, prior: Prior, costs: SpaceCosts, draw: Draw, metrics: Metrics
) -> DerivedNetwork:
    """Makes the record of one network."""
    groups = space.genotype(draw, space.name).groups
    return DerivedNetwork(
        gmacs=costs.of(draw),
        probability=math.exp(prior.log_prob([draw]).item()),
        supernet=metrics,
        groups=tuple(f"{g.kernel} {g.expansion:g} {g.channels} {g.attention}" for g in groups),
    )


def decided(space: Space, prior: Prior, chosen: Draw) -> tuple[Decision, ...]:
    """Lists each choice with the chosen candidate and the probabilities of all."""
    rows = zip(space.choices, chosen, prior.probabilities(), strict=True)
    return tuple(
        Decision(
            group=choice.group + 1,
            column=choice.column,
            taken=choice.candidates[taken],
            probabilities=dict(zip(map(str, choice.candidates), chances, strict=True)),
        )
        for choice, taken, chances in rows
    )
