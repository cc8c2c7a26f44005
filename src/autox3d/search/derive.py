"""Derives networks from a search: the most probable one in a window of the budget, and others.

Beside the derived network stand the mode, which is the most probable network whatever it costs,
the next most probable ones in the window, and a front: the same for other budgets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from autox3d.core.errors import Refused
from autox3d.core.search_records import (
    Alpha,
    Decision,
    Derived,
    DerivedNetwork,
    FrontNetwork,
    Mode,
)
from autox3d.core.settings import PARAMS, Derive, Search
from autox3d.core.settings import Supernet as Shared
from autox3d.search.costs import SpaceCosts, of_budget
from autox3d.search.decisions import decided_by_noise, states, threshold, undecided_attention
from autox3d.search.prior import Prior
from autox3d.search.ranking import Ranked, paired
from autox3d.search.space import Draw, Space
from autox3d.search.supernet import Supernet, load_weights
from autox3d.search.window import NoNetwork, descending, most_probable
from autox3d.vision.models.network import set_training

Logs = list[list[float]]  # log-probabilities of each choice's candidates, nats


class Chosen(NamedTuple):
    """The networks that a search leads to."""

    found: Draw
    mode: Draw
    window: tuple[float, float] | None  # costs of `found`, if it was not free to cost anything
    attention_nats: float  # log-probability that `found` lost by leaving out undecided attention
    window_nats: float  # ... and by the window
    runners_up: list[Draw]  # the most probable first
    front: dict[float, Draw]  # by budget

    @property
    def draws(self) -> list[Draw]:
        """All of them, each once."""
        return list(dict.fromkeys([self.found, self.mode, *self.runners_up, *self.front.values()]))


class Outcome(NamedTuple):
    """What a search has left behind, and what its networks cost."""

    space: Space
    alpha: Alpha
    prior: Prior
    costs: SpaceCosts  # in the unit of the budget
    gmacs: SpaceCosts

    @property
    def undecided(self) -> set[int]:
        """The numbers of the choices whose attention the clips do not ask for."""
        return undecided_attention(self.alpha) if evident(self.alpha) else set()


def evident(alpha: Alpha) -> bool:
    """Whether a search has recorded what the clips asked for; an earlier version did not."""
    return any(choice.clips for choice in alpha.choices)


def load_prior(path: Path, space: Space, excluded: Iterable[tuple[int, int]] = ()) -> Prior:
    """Loads the architecture distribution at the end of the search.

    Args:
        excluded: (choice, candidate) pairs that were never drawn

    Raises:
        Refused: the file is missing or damaged, or belongs to another space.
    """
    logits = [choice.logits for choice in Alpha.read(path).choices]
    prior = Prior([len(choice.candidates) for choice in space.choices], excluded)
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


def check(space: Space, classes: int, search: Search, derive: Derive) -> None:
    """Checks that there are networks for every budget, before anything is searched.

    Raises:
        Refused: there is none; the message has the nearest costs.
    """
    costs = of_budget(space, classes, search)
    equal = [[0.0] * len(choice.candidates) for choice in space.choices]
    if derive.window is not None:
        in_window(equal, costs, search.target, derive, "search.target")
    for budget in derive.budgets:
        in_window(equal, costs, budget, derive, "derive.budgets")


def choose(outcome: Outcome, mode: Draw, search: Search, derive: Derive) -> Chosen:
    """Chooses the networks to derive.

    Without a window the mode is derived, as in the papers: undecided attention stays.

    Args:
        mode: the most probable network, or what else the strategy takes for it

    Raises:
        Refused: a window has no network, or the mode needs too much memory.
    """
    prior, costs, asked = outcome.prior, outcome.costs, derive.window
    logs = _logs(prior)
    plain = list(mode)  # without undecided attention
    for number in outcome.undecided if asked else ():
        plain[number] = outcome.space.choices[number].candidates.index("none")
        logs[number] = [
            log if i == plain[number] else -math.inf for i, log in enumerate(logs[number])
        ]
    if asked:
        found = in_window(logs, costs, search.target, derive, "search.target")
    elif costs.has(mode):
        found = mode
    else:
        raise Refused(
            f"{PARAMS}: 'search.memory_mb' is {search.memory_mb:g}, but the most probable network"
            " needs more. Give a 'derive.window', such as [0.9, 1.0]."
        )
    least, most = _window(search.target, derive)
    others = (draw for _, draw in descending(logs, costs, least, most) if draw != found)
    nats = prior.log_prob([mode, tuple(plain), found]).tolist()
    return Chosen(
        found=found,
        mode=mode,
        window=(least, most) if asked else None,
        attention_nats=nats[0] - nats[1],
        window_nats=nats[1] - nats[2],
        runners_up=list(itertools.islice(others, derive.runners_up)),
        front={
            one: in_window(logs, costs, one, derive, "derive.budgets") for one in derive.budgets
        },
    )


def report(
    outcome: Outcome, chosen: Chosen, search: Search, ranked: Mapping[Draw, Ranked]
) -> Derived:
    """Makes the record.

    Args:
        ranked: what the validation videos say of each network
    """
    space, costs = outcome.space, outcome.costs
    networks = {draw: describe(outcome, draw, one) for draw, one in ranked.items()}
    found, mode = chosen.found, chosen.mode
    others = sorted(chosen.runners_up, key=lambda draw: -ranked[draw].mean)
    gain = None
    if found != mode and not math.isnan(ranked[found].mean):
        mean, low, high = paired(ranked[found], ranked[mode])
        gain = (mean, low, high)
    return Derived(
        space=space.name,
        networks=f"{space.size:.3g}",
        unit=costs.unit,
        target=search.target,
        window=chosen.window,
        found=replace(networks[found], choices=decided(outcome, found)),
        mode=Mode(
            network=networks[mode],
            attention_nats=chosen.attention_nats,
            window_nats=chosen.window_nats,
            gain=gain,
        ),
        runners_up=tuple(networks[draw] for draw in others),
        front=tuple(FrontNetwork(budget=b, network=networks[d]) for b, d in chosen.front.items()),
        threshold=threshold(outcome.alpha) if evident(outcome.alpha) else None,
        control_decided=decided_by_noise(outcome.alpha) if evident(outcome.alpha) else None,
    )


def describe(outcome: Outcome, draw: Draw, ranked: Ranked) -> DerivedNetwork:
    """Makes the record of one network."""
    return DerivedNetwork(
        gmacs=outcome.gmacs.of(draw),
        cost=outcome.costs.of(draw),
        probability=math.exp(outcome.prior.log_prob([draw]).item()),
        supernet=ranked.metrics,
        groups=outcome.space.genotype(draw, outcome.space.name).choices,
    )


def decided(outcome: Outcome, found: Draw) -> tuple[Decision, ...]:
    """Lists each choice with the candidate taken, what decided it, and all probabilities."""
    found_by = states(outcome.alpha, found)
    rows = zip(outcome.space.choices, found, outcome.prior.probabilities(), found_by, strict=True)
    return tuple(
        Decision(
            group=choice.group + 1,
            column=choice.column,
            taken=choice.candidates[taken],
            probabilities=dict(zip(map(str, choice.candidates), chances, strict=True)),
            by=state.by if evident(outcome.alpha) else "",
            t=state.t if evident(outcome.alpha) else None,
        )
        for choice, taken, chances, state in rows
    )


def _logs(prior: Prior) -> Logs:
    """The log-probabilities of each choice's candidates."""
    rows = prior.log_probabilities().tolist()
    return [row[:count] for row, count in zip(rows, prior.candidates, strict=True)]


def _window(budget: float, derive: Derive) -> tuple[float, float]:
    """The window of costs for a budget; without one, everything under it."""
    low, high = derive.window or (0.0, 1.0)
    return low * budget, high * budget


def in_window(logs: Logs, costs: SpaceCosts, budget: float, derive: Derive, key: str) -> Draw:
    """The most probable network for a budget, which `key` of the settings gives.

    Raises:
        Refused: there is none in the budget's window; the message has the nearest costs.
    """
    least, most = _window(budget, derive)
    try:
        return most_probable(logs, costs, least, most)
    except NoNetwork as error:
        near = [f"{cost:.4g}" for cost in (error.below, error.above) if cost is not None]
        raise Refused(
            f"{PARAMS}: '{key}' {budget:g}: no network that may be derived costs {least:.4g} to"
            f" {most:.4g} {costs.unit}; the nearest {'costs' if len(near) == 1 else 'cost'}"
            f" {' and '.join(near)}. Change it, or widen 'derive.window'."
        ) from error
