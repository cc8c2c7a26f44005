"""What is derived from a search: a network in the budget's window, the mode, a front, a line."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import ARCHITECTURES, ROOT

from autox3d.core import settings
from autox3d.core.decided import beside_target, terminal
from autox3d.core.errors import Refused
from autox3d.core.scores import Metrics
from autox3d.core.search_records import Alpha, Choice, Derived
from autox3d.planning.plan import searches
from autox3d.search.costs import SpaceCosts, of_budget
from autox3d.search.derive import Chosen, Outcome, check, choose, load_prior, report
from autox3d.search.ranking import Ranked
from autox3d.search.space import Draw, Space

CLASSES = 8
SPACE = Space.load(ARCHITECTURES / "space_demo.yaml")
UNIT = next(n for n, c in enumerate(SPACE.choices) if "glore" in c.candidates)
DRAWS = list(itertools.product(*(range(len(choice.candidates)) for choice in SPACE.choices)))


def alpha(seed: int, *, glore: float = 2.0, evidence: float | None = None) -> Alpha:
    """A distribution that likes large networks, and GloRe by `glore` nats.

    The clips tell nothing of any choice but that of attention, whose t is about `evidence`.
    """
    rng, rows = np.random.default_rng(seed), []
    for number, choice in enumerate(SPACE.choices):
        count = len(choice.candidates)
        logits = rng.normal(0, 0.3, count) + np.arange(count)
        if number == UNIT:
            logits = np.array([0.0, glore])
        t = evidence if number == UNIT and evidence is not None else 0.0
        known = {
            "clips": (-t / 2, t / 2) if count == 2 else (0.0,) * count,
            "budget": (0.0,) * count,
            "products": tuple(map(tuple, (np.eye(count) / 2).tolist())),
        }
        rows.append(
            Choice(
                group=choice.group + 1,
                column=choice.column,
                candidates=choice.candidates,
                probabilities=(),
                logits=tuple(logits.tolist()),
                **(known if evidence is not None else {}),
            )
        )
    return Alpha(space=SPACE.name, choices=tuple(rows))


def asked(**changes: object) -> settings.Search:
    """A budget of 6 M multiply-adds."""
    search = settings.load(ROOT / "params.yaml").search
    return replace(search, **{"floor": None, "target": 0.006, **changes})


def wanted(**changes: object) -> settings.Derive:
    """The usual window, and two runners-up."""
    known = {"window": (0.9, 1.0), "budgets": (), "runners_up": 2, "calibration": 4}
    return settings.Derive(**{**known, **changes})


def outcome(folder: Path, search: settings.Search, of: Alpha) -> Outcome:
    """What such a search leaves behind."""
    of.write(folder / "alpha.json")
    costs = of_budget(SPACE, CLASSES, search)
    prior = load_prior(folder / "alpha.json", SPACE, costs.excluded)
    return Outcome(SPACE, of, prior, costs, SpaceCosts(SPACE, CLASSES))


def chosen_of(found: Outcome, search: settings.Search, derive: settings.Derive) -> Chosen:
    return choose(found, found.prior.mode(), search, derive)


def by_probability(found: Outcome, least: float, most: float) -> list[Draw]:
    """All networks of a window in order, by enumeration."""
    within = [draw for draw in DRAWS if least <= found.costs.of(draw) <= most]
    return sorted(within, key=lambda draw: -found.prior.log_prob([draw]).item())


def recorded(found: Outcome, chosen: Chosen, search: settings.Search) -> Derived:
    """The record, with likelihoods that the networks' numbers give."""
    rng = np.random.default_rng(0)
    ranked = {}
    for draw in chosen.draws:
        likelihoods = rng.normal(-1, 0.1, 20)
        metrics: Metrics = {"top1": 0.5, "log_likelihood": float(likelihoods.mean())}
        ranked[draw] = Ranked(likelihoods, metrics)
    return report(found, chosen, search, ranked)


@pytest.mark.parametrize("budget", ["gmacs", "params"])
def test_the_derived_network_is_the_most_probable_of_the_window(tmp_path, budget):
    """And the runners-up are the next ones; the nats are those of the distribution."""
    target = {"gmacs": 0.006, "params": 0.13}[budget]
    search = asked(budget=budget, target=target)
    found = outcome(tmp_path, search, alpha(1))
    chosen = chosen_of(found, search, wanted())
    best = by_probability(found, 0.9 * target, target)

    assert [chosen.found, *chosen.runners_up] == best[:3]
    assert chosen.mode == found.prior.mode() != chosen.found
    nats = (found.prior.log_prob([chosen.mode]) - found.prior.log_prob([chosen.found])).item()
    assert nats > 0
    assert chosen.window_nats == pytest.approx(nats)
    assert chosen.attention_nats == 0


def test_undecided_attention_is_left_out(tmp_path):
    """The clips' evidence is what keeps a unit, however probable it is."""
    search = asked()
    for evidence, unit in ((0.5, "none"), (9.0, "glore")):
        found = outcome(tmp_path, search, alpha(1, glore=6.0, evidence=evidence))
        chosen = chosen_of(found, search, wanted())
        taken = SPACE.choices[UNIT].candidates[chosen.found[UNIT]]
        assert SPACE.choices[UNIT].candidates[chosen.mode[UNIT]] == "glore"
        assert taken == unit
        lost = 6.0 if unit == "none" else 0.0
        assert chosen.attention_nats == pytest.approx(lost)
        decided = recorded(found, chosen, search).found.choices[UNIT]
        assert (decided.by, decided.taken) == ("undecided" if lost else "clips", unit)


def test_without_a_window_the_mode_is_derived(tmp_path):
    """As in the papers: whatever it costs, with undecided attention; and it says by how much."""
    search = asked()
    found = outcome(tmp_path, search, alpha(1, evidence=0.5))
    chosen = chosen_of(found, search, wanted(window=None))
    derived = recorded(found, chosen, search)

    assert chosen.found == chosen.mode == found.prior.mode()
    assert (derived.window, derived.mode and derived.mode.gain) == (None, None)
    assert derived.found.cost > search.target
    over = beside_target(derived.found.cost, 0.006)
    line = f"found: the mode, {over} the budget of 0.006 G multiply-adds; clips decided 0 of 10"
    assert over.endswith("over")
    assert terminal(derived, 2).startswith(line)
    assert all(row.cost <= search.target for row in derived.runners_up)


def test_the_mode_must_fit_into_memory(tmp_path):
    """One line names both settings; in a window there are only networks that fit."""
    search = asked(memory_mb=0.71)
    found = outcome(tmp_path, search, alpha(1))
    mode, best = found.prior.mode(), chosen_of(found, search, wanted()).found
    for draw in (mode, best):
        found.costs.fits[0][0, *draw[:4]] = False
    assert found.costs.has(chosen_of(found, search, wanted()).found)
    with pytest.raises(Refused) as refused:
        choose(found, mode, search, wanted(window=None))
    assert str(refused.value) == (
        "params.yaml: 'search.memory_mb' is 0.71, but the most probable network needs more."
        " Give a 'derive.window', such as [0.9, 1.0]."
    )


def test_each_budget_of_the_front_has_its_network(tmp_path):
    """The most probable one in the same shares of it."""
    search = asked()
    found = outcome(tmp_path, search, alpha(2))
    chosen = chosen_of(found, search, wanted(budgets=(0.004, 0.008)))

    for budget in (0.004, 0.008):
        assert chosen.front[budget] == by_probability(found, 0.9 * budget, budget)[0]
    derived = recorded(found, chosen, search)
    derived.write(tmp_path / "derive.json")
    assert Derived.read(tmp_path / "derive.json") == derived
    assert [row.budget for row in derived.front] == [0.004, 0.008]


def test_the_line_tells_the_budget_and_what_the_window_cost(tmp_path):
    """And that there are fewer runners-up than were asked for."""
    search = asked()
    found = outcome(tmp_path, search, alpha(1, evidence=0.5))
    chosen = chosen_of(found, search, wanted(runners_up=3000))
    derived = recorded(found, chosen, search)
    under = beside_target(found.costs.of(chosen.found), 0.006)
    count = len(chosen.runners_up)

    assert 2 < count < 3000
    assert under.endswith("under")
    assert terminal(derived, 3000) == (
        f"found: {under} the budget of 0.006 G multiply-adds; the window cost"
        f" {chosen.window_nats:.2g} nats against the mode, undecided attention 2; clips decided"
        f" 0 of 10, budget 0; control 0; {count} of 3000 runners-up, as there are no more"
    )


def test_the_gain_over_the_mode_is_paired(tmp_path):
    """Found less mode, on the same videos, with an interval that holds the mean."""
    search = asked()
    found = outcome(tmp_path, search, alpha(1))
    chosen = chosen_of(found, search, wanted())
    likelihoods = {draw: np.full(20, -1.0) for draw in chosen.draws}
    likelihoods[chosen.found] = np.linspace(-0.9, -0.5, 20)
    ranked = {draw: Ranked(row, {"top1": 0.5}) for draw, row in likelihoods.items()}
    mode = report(found, chosen, search, ranked).mode

    assert mode is not None
    assert mode.gain is not None
    mean, low, high = mode.gain
    assert mean == pytest.approx(0.3)
    assert 0 < low < mean < high


BAD = {
    "search.target": (
        {"target": 0.00855},
        {"window": (0.99, 1.0)},
        "params.yaml: 'search.target' 0.00855: no network that may be derived costs 0.008464 to"
        " 0.00855 G multiply-adds; the nearest cost BELOW and ABOVE. Change it, or widen"
        " 'derive.window'.",
    ),
    "derive.budgets": (
        {},
        {"budgets": (0.006, 9.0)},
        "params.yaml: 'derive.budgets' 9: no network that may be derived costs 8.1 to 9"
        " G multiply-adds; the nearest costs BELOW. Change it, or widen 'derive.window'.",
    ),
}


@pytest.mark.parametrize("key", BAD)
def test_a_window_without_a_network_is_one_line(key):
    """Before anything is searched, with the nearest costs."""
    search, derive = asked(**BAD[key][0]), wanted(**BAD[key][1])
    costs = sorted(map(SpaceCosts(SPACE, CLASSES).of, DRAWS))
    budget = derive.budgets[-1] if derive.budgets else search.target
    low, high = derive.window or (0.0, 1.0)
    below = [cost for cost in costs if cost < low * budget]
    above = [*(cost for cost in costs if cost > high * budget), math.nan]
    line = BAD[key][2].replace("BELOW", f"{below[-1]:.4g}").replace("ABOVE", f"{above[0]:.4g}")
    with pytest.raises(Refused) as refused:
        check(SPACE, CLASSES, search, derive)

    assert str(refused.value) == line


def test_a_record_of_an_earlier_version_can_be_read(tmp_path):
    """It knew multiply-adds and no window."""
    network = '{"gmacs": 0.005, "probability": 0.5, "supernet_top1": 0.8, "groups": ["t1_s3"]}'
    (tmp_path / "derive.json").write_text(
        '{"space": "demo", "networks": "1e+03", "target_gmacs": 0.006,'
        f' "found": {network}, "runners_up": [{network}]}}'
    )
    found = Derived.read(tmp_path / "derive.json")

    assert (found.unit, found.target, found.window) == ("G multiply-adds", 0.006, None)
    assert [row.cost for row in (found.found, *found.runners_up)] == [0.005, 0.005]


@pytest.mark.parametrize("path", sorted([ROOT / "params.yaml", *(ROOT / "params").glob("*.yaml")]))
def test_the_shipped_windows_have_networks(path, monkeypatch):
    """For as many classes as the file keeps, or ten where it keeps all; each part of a search."""
    monkeypatch.chdir(ROOT)
    params = settings.load(path)
    classes = params.subset.classes or 10
    for _, own, space in searches(params, classes):
        check(space, classes, own.search, own.derive)
