"""What a search has found: its most probable network, and how others under the target compare."""

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
from autox3d.search.prior import Prior
from autox3d.search.space import Draw, Space, SpaceCosts
from autox3d.search.supernet import Supernet, calibrate, load_weights
from autox3d.vision.clips.augment import chunks
from autox3d.vision.clips.loader import TrainLoader
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import centre_clips
from autox3d.vision.learning.scoring import scores_of
from autox3d.vision.models.network import VideoNet, set_training

TRIED = 100_000  # most probable draws that are looked at for some under the target


class RankingClips(NamedTuple):
    """What networks of a supernet are calibrated and ranked on."""

    train: Clips
    val: Clips

    @classmethod
    def load(cls, table: Path, shards: Path | None = None) -> RankingClips:
        """The weights' half of the training clips, and the validation videos.

        Raises:
            Refused: there is no such table, or it has no such clips.
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
    """The headline of each draw's network in the supernet, one centre clip a validation video.

    Args:
        calibration: training clips that give each network its batch-norm statistics
    """
    nets = calibrated(supernet, draws, clips.train, shared, calibration, world)
    spec = supernet.space.input
    videos = centre_clips(clips.val, spec, shared.sampling.rule, world.place).videos()
    task, count = clips.val.task, len(clips.val)
    found = scores_of(nets, task, videos, count, world.device, world.gather)
    headline = task.headline.name
    return [{headline: task.measure(scores, clips.val.labels)[headline]} for scores in found]


def load_prior(path: Path, space: Space) -> Prior:
    """The prior as the search left it.

    Raises:
        Refused: no such file, or the choices of another space.
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
    """The shared weights as the search left them.

    Raises:
        Refused: no such file, or the weights of another space.
    """
    net = Supernet(space, classes, shared.selection)
    set_training(net, bn_clips=shared.bn_clips, dropout=shared.dropout)
    load_weights(net, path, "search")
    return net


def runners_up(
    prior: Prior, chosen: Draw, costs: SpaceCosts, target: float, count: int
) -> list[Draw]:
    """The most probable draws under the target, `chosen` left out; fewer where they are rare."""
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
    """The networks of the draws, with batch-norm statistics of `count` training clips."""
    loader = TrainLoader(
        clips=clips,
        spec=supernet.space.input,
        sampling=shared.sampling,
        seed=shared.seed,
        batch=min(count, len(clips)),
        chunk=shared.bn_clips,
    )
    batch = next(loader.epoch(0))
    parts = [part for _, part, _ in chunks(batch, shared.bn_clips, world.device)]
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
    """The first of the draws as the network that was found, the others as runners-up."""
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
    """The first of its metrics in the supernet."""
    return next(iter(network.supernet.values())) or 0.0


def describe(
    space: Space, prior: Prior, costs: SpaceCosts, draw: Draw, metrics: Metrics
) -> DerivedNetwork:
    """One network in numbers and in words."""
    groups = space.genotype(draw, space.name).groups
    return DerivedNetwork(
        gmacs=costs.of(draw),
        probability=math.exp(prior.log_prob([draw]).item()),
        supernet=metrics,
        groups=tuple(f"{g.kernel} {g.expansion:g} {g.channels} {g.attention}" for g in groups),
    )


def decided(space: Space, prior: Prior, chosen: Draw) -> tuple[Decision, ...]:
    """Each choice, what was taken, and how probable each candidate is."""
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
