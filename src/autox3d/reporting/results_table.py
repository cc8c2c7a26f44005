"""The table of results: one row per network and test protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autox3d.core.records import Crops
from autox3d.reporting.results import Network
from autox3d.vision.tasks.metric import Metric

BEFORE = ("network", "views")  # columns left and right of the metrics
AFTER = ("GMACs a view", "parameters", "trained on", "hours", "commit")
WORDS = ("network", "trained on", "commit")  # columns that are set to the left


def head(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """The names of the columns."""
    return (*BEFORE, *(metric.head for metric in metrics), *AFTER)


def rows(
    networks: Iterable[Network], metrics: Sequence[Metric], tests: Sequence[Crops] = ("lcr",)
) -> list[list[str]]:
    """The rows of all evaluated networks, for each of the tests (one crop a clip, or three)."""
    return [
        row(network, metrics, crops)
        for network in networks
        if network.evaluation
        for crops in tests
    ]


def row(network: Network, metrics: Sequence[Metric], crops: Crops) -> list[str]:
    """One evaluated network; a metric that its task does not have is a dash."""
    evaluation, made = network.evaluation, network.made
    assert evaluation
    score = evaluation.score(crops)
    return [
        network.name,
        str(score.views),
        *(metric.cell(score.metrics.get(metric.name)) for metric in metrics),
        f"{evaluation.gmacs(crops):.3g}",
        f"{evaluation.params:,}",
        made.device if made else "",
        f"{made.hours:.2f}" if made else "",
        made.commit if made else "",
    ]


def markdown(networks: Iterable[Network], metrics: Sequence[Metric]) -> str:
    """The table in GitHub's Markdown, for README.md; one sentence if there is no row."""
    body = rows(networks, metrics)
    if not body:
        return "No network has been evaluated yet.\n"
    names = head(metrics)
    cells = [list(names), *([cell.replace("|", "\\|") for cell in row] for row in body)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = [
        "-" * width if name in WORDS else "-" * (width - 1) + ":"
        for name, width in zip(names, widths, strict=True)
    ]
    lines = [cells[0], rule, *cells[1:]]
    padded = ([cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in padded)
