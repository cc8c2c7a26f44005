"""Derives the most probable network of a search, and ranks the next ones under the target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from autox3d.core.errors import Refused
from autox3d.core.records import Metrics
from autox3d.core.search_records import Alpha, Decision, Derived, DerivedNetwork
from autox3d.core.settings import Supernet as Shared
from autox3d.search.costs import SpaceCosts
from autox3d.search.prior import Prior
from autox3d.search.ranking import LIKELIHOOD
from autox3d.search.space import Draw, Space
from autox3d.search.supernet import Supernet, load_weights
from autox3d.vision.models.network import set_training

TRIED = 100_000  # most probable networks that are searched for some under the target


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
        runners_up=tuple(sorted(rows[1:], key=lambda row: -(row.supernet[LIKELIHOOD] or 0.0))),
    )


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
