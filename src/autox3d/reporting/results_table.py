"""The table of results: one row per network and test protocol, with intervals.

The interval of a headline is that of a share of videos, so it is given where the headline is one:
the share of videos that the network gets right. Differences are paired, video by video.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autox3d.core.intervals import bootstrap, wilson
from autox3d.core.scores import Crops, Evaluation
from autox3d.reporting.results import Network, Results
from autox3d.vision.tasks import task as tasks
from autox3d.vision.tasks.metric import Metric

BEFORE = ("network", "views")  # columns left and right of the metrics
INTERVAL, LESS = "95 %", "less {}, points"
AFTER = ("GMACs a view", "parameters", "trained on", "hours", "commit")
WORDS = ("network", "trained on", "commit")  # columns that are set to the left
SEED = 1  # of the bootstrap
UNKNOWN = "-"
NOTE = (
    "95 %: Wilson's interval. {less}: the difference on the same videos, with its bootstrapped "
    "95 % interval. Both are about the choice of videos, not about the seed of the training."
)


def head(results: Results) -> tuple[str, ...]:
    """The names of the columns."""
    headline, *others = (metric.head for metric in shown(results))
    less = LESS.format(first.name) if (first := found(results)) else LESS.format("the first")
    return (*BEFORE, headline, INTERVAL, less, *others, *AFTER)


def shown(results: Results) -> list[Metric]:
    """The metrics that have a column: not the top-5 of five classes, which is always 100 %."""
    known = [len(n.evaluation.per_class) for n in results.networks if n.evaluation]
    most = max(known, default=0)
    return [metric for metric in results.task.shown if metric.of_best < most or not most]


def rows(results: Results, *, center: bool = False) -> list[list[str]]:
    """The rows of all evaluated networks; perhaps one more each, with the centre crop alone."""
    found: list[list[str]] = []
    for network in results.networks:
        if evaluation := network.evaluation:
            found.append(row(network, evaluation, results, evaluation.crops))
            if center and evaluation.crops != "center":
                found.append(row(network, evaluation, results, "center"))
    return found


def row(network: Network, evaluation: Evaluation, results: Results, crops: Crops) -> list[str]:
    """One evaluated network; a metric that its task does not have is a dash."""
    made, main = network.made, crops == evaluation.crops
    score = evaluation.headline if main else evaluation.center
    headline, *others = (metric.cell(score.metrics.get(metric.name)) for metric in shown(results))
    certain = (interval(network, results), less(network, results)) if main else ("", "")
    return [
        network.name,
        str(score.views),
        headline,
        *certain,
        *others,
        f"{evaluation.gmacs(crops):.3g}",
        f"{evaluation.params:,}",
        made.device if made else "",
        f"{made.hours:.2f}" if made else "",
        made.commit if made else "",
    ]


def found(results: Results) -> Network | None:
    """The first searched network that was evaluated: with three sizes, S."""
    return next((n for n in results.networks if n.searched and n.evaluation), None)


def hits(network: Network, metric: Metric) -> list[bool] | None:
    """Whether each labelled video is right, by key; None where the metric is not their share."""
    if (
        not (network.evaluation and network.confusion)
        or tasks.named(network.evaluation.task).several
    ):
        return None
    right = [pair.actual == pair.predicted for pair in network.confusion]
    share = network.evaluation.headline.metrics.get(metric.name)
    same = share is not None and abs(sum(right) / len(right) - share) < 1e-9
    return right if same else None


def interval(network: Network, results: Results) -> str:
    """Wilson's interval of the headline, in percent: "84.9 to 90.7"."""
    right = hits(network, results.task.headline)
    if right is None:
        return UNKNOWN
    low, high = wilson(sum(right), len(right))
    return f"{100 * low:.1f} to {100 * high:.1f}"


def less(network: Network, results: Results) -> str:
    """The headline less that of the found network, in points, paired: "+1.2 (-0.8 to +3.1)".

    A dash where the two were tested on different videos.
    """
    first = found(results)
    if first is None or first.name == network.name:
        return ""
    differences = paired(network, first, results.task.headline)
    if differences is None:
        return UNKNOWN
    low, high = bootstrap(differences, SEED)
    return f"{sum(differences) / len(differences):+.1f} ({low:+.1f} to {high:+.1f})"


def paired(one: Network, two: Network, metric: Metric) -> list[float] | None:
    """For each video, the hit of a network less that of another, in points of percent.

    None where the metric is no share of hits, or the two were tested on different videos.
    """
    ours, theirs = hits(one, metric), hits(two, metric)
    if ours is None or theirs is None or not _same_videos(one, two):
        return None
    return [100.0 * (a - b) for a, b in zip(ours, theirs, strict=True)]


def _same_videos(one: Network, two: Network) -> bool:
    """Whether the true classes agree, video by video."""
    return [p.actual for p in one.confusion or ()] == [p.actual for p in two.confusion or ()]


def markdown(results: Results) -> str:
    """The table in GitHub's Markdown, for README.md; one sentence if there is no row."""
    body = rows(results)
    if not body:
        return "No network has been evaluated yet.\n"
    names = head(results)
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (names, *body)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = [
        "-" * width if name in WORDS else "-" * (width - 1) + ":"
        for name, width in zip(names, widths, strict=True)
    ]
    lines = [cells[0], rule, *cells[1:]]
    padded = ([cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines)
    table = "".join(f"| {' | '.join(line)} |\n" for line in padded)
    return f"{table}\n{legend(results)}\n"


def legend(results: Results) -> str:
    """What the networks are, by the settings, and what the intervals are; one paragraph."""
    evaluated = [network.name for network in results.networks if network.evaluation]
    known = described(results)
    lines = [f"{name}: {known[name]}." for name in evaluated if name in known]
    return " ".join([*lines, NOTE.format(less=head(results)[4].partition(",")[0].capitalize())])


def described(results: Results) -> dict[str, str]:
    """What each network is, by the settings; those that the settings do not name are left out."""
    tables = {what: results.settings.get(what) or {} for what in ("scale", "baseline")}
    known = {name: scaled(of) for name, of in tables["scale"].items()}
    return known | {name: compared(of) for name, of in tables["baseline"].items()}


def scaled(size: Mapping[str, Any]) -> str:
    """A size of the found network, from its entry of `scale`."""
    words = "the found network"
    if "crop" in size:
        words += f" at {size['crop']} px"
    if (depth := size.get("depth", 1)) != 1:
        words += f", {depth:g} times its blocks"
    return words


def compared(baseline: Mapping[str, Any]) -> str:
    """A network to compare with, from its entry of `baseline`."""
    words = str(baseline.get("of", "a given network"))
    factors = {"width": "channels", "depth": "blocks"}
    parts = [
        f"{baseline[key]:g} times its {what}"
        for key, what in factors.items()
        if baseline.get(key, 1) != 1
    ]
    words += f" with {' and '.join(parts)}" if parts else ""
    words += "" if baseline.get("attention", True) else ", without attention"
    return words if baseline.get("temporal", True) else f"{words}, each kernel over one frame"
