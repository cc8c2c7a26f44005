"""What a run has shown, in a few sentences: the first screen of the report.

Each says how sure it is. A difference whose interval has zero in it is not told apart; an interval
is about the choice of test videos, not about the seed of a training.
"""

from __future__ import annotations

from autox3d.core import decided
from autox3d.core.intervals import bootstrap, wilson
from autox3d.reporting import expansion, results_table
from autox3d.reporting.results import Network, Results, Tested
from autox3d.reporting.worth import sentences


def verdicts(results: Results) -> list[str]:
    """The sentences that the results allow; empty before there is any."""
    lines = [*_accuracy(results), *_search(results), *sentences(results)]
    return [*lines, *expansion.verdicts(results)]


def _accuracy(results: Results) -> list[str]:
    """How good the first network is, and whether it differs from those to compare with."""
    tested = results.tested
    first = results_table.found(results) or (tested[0].network if tested else None)
    one = next((n for n in tested if first is not None and n.name == first.name), None)
    if one is None:
        return []
    lines = [_alone(one, results)]
    others = [n for n in tested if n.name != one.name]
    judged = [words for n in others if (words := _beside(one.network, n.network, results))]
    return [*lines, f"{one.name} less others: {'; '.join(judged)}."] if judged else lines


def _alone(one: Tested, results: Results) -> str:
    """A network's headline, its interval, and chance."""
    metric, evaluation = results.task.headline, one.evaluation
    what = ", the network found," if one.network.searched else ""
    text = f"{one.name}{what} has {metric.label} {metric.text(one.headline)}"
    chance = one.chance
    right = results_table.hits(one.network, metric)
    what = "moments" if results.task.boxed else "videos"
    videos = f"{evaluation.labelled} {evaluation.split} {what}"
    if right is None:
        guess = f" (chance: {100 * chance:.1f})" if results.task.several else ""
        return f"{text} on {videos}{guess}."
    low, high = wilson(sum(right), len(right))
    clear = "" if low > chance else ": not clear of chance"
    return (
        f"{text} on {videos} (95 %: {100 * low:.1f} to {100 * high:.1f}; chance: "
        f"{100 * chance:.1f}){clear}."
    )


def _beside(one: Network, other: Network, results: Results) -> str:
    """The paired difference to another network; empty where their videos differ."""
    differences = results_table.paired(one, other, results.task.headline)
    if differences is None:
        return ""
    low, high = bootstrap(differences, results_table.SEED)
    mean = sum(differences) / len(differences)
    apart = "" if low > 0 or high < 0 else ", not told apart"
    return f"{other.name} {mean:+.1f} points ({low:+.1f} to {high:+.1f}{apart})"


def _search(results: Results) -> list[str]:
    """What the network found costs beside its budget, and what decided its choices."""
    if (derived := results.derived) is None:
        return []
    found, target = derived.found, derived.target
    side = decided.beside_target(found.cost, target)
    lines = [f"The search found a network of {found.cost:.3g} {derived.unit}, {side} its budget."]
    if counts := decided.counts(found.choices):
        of = sum(counts.values())
        lines.append(
            f"Of its {of} open choices the clips decided {counts[decided.CLIPS]}, the budget "
            f"{counts[decided.BUDGET]}; {counts[decided.UNDECIDED]} are undecided."
        )
    return lines
