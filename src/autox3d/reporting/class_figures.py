"""The report's figures of classes: the accuracy of each, and which ones are confused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autox3d.core.curves import Pair
from autox3d.core.scores import PrecisionRecall
from autox3d.reporting.svg import BLUE, COLOURS, INK, MUTED, ORANGE, axes, drawing, legend, percents
from autox3d.vision.tasks.metric import Metric

FEW = 30  # classes that one figure can show
NAMES = 24  # characters of a class name that are drawn

Shares = Mapping[str, float | None]  # a metric of each class; None where it has no video


def per_class(shares: Mapping[str, Shares], order: Sequence[str], metric: Metric) -> str:
    """The metric of each class, one dot per network; classes in `order` from the top."""
    alt = f"{metric.title} accuracy of each class: " + ", ".join(
        f"{name} " + " / ".join(f"{of.get(name) or 0:.0%}" for of in shares.values())
        for name in order
    )
    with drawing(f"{alt}.", height=1.0 + 0.3 * len(order)) as drawn:
        plot = axes(drawn, metric.label, "")
        rows = np.arange(len(order))[::-1]
        plot.hlines(rows, 0, 1, color="#f0f3f6", linewidth=14)
        apart = np.linspace(0.27, -0.27, len(shares)) if len(shares) > 1 else [0]
        for index, (network, of) in enumerate(shares.items()):
            values = [np.nan if (share := of.get(name)) is None else share for name in order]
            style = {"color": COLOURS[index % len(COLOURS)], "markersize": 4.5}
            plot.plot(values, rows + apart[index], "o", label=network, **style)
        plot.set_yticks(rows, [short(name) for name in order])
        plot.grid(visible=False, axis="y")
        plot.spines["left"].set_visible(False)
        plot.set_xlim(-0.03, 1.03)
        plot.set_ylim(-0.8, len(order) - 0.2)
        percents(plot, x=True)
        if len(shares) > 1:
            drawn.figure.legend(
                loc="outside upper center", ncols=5, columnspacing=0.8, handlelength=1
            )
    return drawn.svg


def gained(ours: Shares, theirs: Shares) -> dict[str, float]:
    """The metric of one network less that of another, by class that both were tested on."""
    both = ((name, ours[name], theirs.get(name)) for name in ours)
    gains = {name: a - b for name, a, b in both if a is not None and b is not None}
    return dict(sorted(gains.items(), key=lambda row: (-row[1], row[0])))


def extremes(gains: Mapping[str, float]) -> tuple[dict[str, float], str]:
    """All gains if they are few, else the largest and smallest, and a sentence that says so."""
    rows = list(gains.items())
    if len(rows) <= 2 * FEW:
        return dict(rows), ""
    sentence = f" Of {len(rows)} classes, the {FEW} that gain most and the {FEW} that lose most."
    return dict(rows[:FEW] + rows[-FEW:]), sentence


def gains(by_class: Mapping[str, float], ours: str, theirs: str, metric: Metric) -> str:
    """Bars from the class that gains most to the one that loses most, in points of the metric."""
    values = ", ".join(f"{name} {100 * gain:+.1f}" for name, gain in by_class.items())
    alt = f"{metric.title} of {ours} less that of {theirs}, points, by class: {values}."
    with drawing(alt, height=1.0 + 0.24 * len(by_class)) as drawn:
        plot = axes(drawn, f"points of {metric.label}, {ours} less {theirs}", "")
        points = [100 * gain for gain in by_class.values()]
        rows = np.arange(len(points))[::-1]
        plot.barh(rows, points, 0.62, color=[BLUE if x >= 0 else ORANGE for x in points])
        plot.axvline(0, color=INK, linewidth=0.8)
        plot.set_yticks(rows, [short(name) for name in by_class])
        plot.grid(visible=False, axis="y")
        plot.spines["left"].set_visible(False)
        plot.set_ylim(-0.8, len(points) - 0.2)
    return drawn.svg


def confusion(pairs: Sequence[Pair], classes: Sequence[str], name: str) -> str:
    """Videos by actual and predicted class, shaded by their share of the actual class."""
    number, size = {label: row for row, label in enumerate(classes)}, len(classes)
    counts = np.zeros((size, size), dtype=int)
    for pair in pairs:
        counts[number[pair.actual], number[pair.predicted]] += 1
    totals = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    correct = np.trace(counts) / max(totals.sum(), 1)
    alt = f"Confusion of {name} over {size} classes; {correct:.1%} lie on the diagonal."
    with drawing(alt, height=4.6) as drawn:
        plot = axes(drawn, "predicted", "actual")
        # cells, not an image: an image would be a raster inside the SVG
        edges = np.arange(size + 1) - 0.5
        plot.pcolormesh(edges, edges, shares, cmap="Blues", vmin=0, vmax=1.15, edgecolors="white")
        plot.set_aspect("equal")
        plot.invert_yaxis()
        plot.grid(visible=False)
        plot.set_xticks(range(size), [short(c) for c in classes], rotation=90)
        plot.set_yticks(range(size), [short(c) for c in classes])
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.55 else INK
            text = str(counts[row, column])
            plot.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                color=colour,
                fontsize=min(9, 110 / size),
            )
        for spine in plot.spines.values():
            spine.set_visible(False)
    return drawn.svg


def precision_over_recall(curves: Sequence[PrecisionRecall], name: str) -> str:
    """Precision over recall, a line for each class."""
    ends = ", ".join(f"{one.name} {one.precision[-1]:.0%} at its last positive" for one in curves)
    with drawing(f"Precision over recall of {name}: {ends}.") as drawn:
        plot = axes(drawn, "recall", "precision")
        for one in curves:
            label = f"{short(one.name)} ({one.positives})"
            plot.plot(one.recall, one.precision, "o-", markersize=3, label=label)
        plot.set_xlim(-0.03, 1.03)
        plot.set_ylim(-0.03, 1.03)
        percents(plot, x=True)
        percents(plot)
        legend(plot, 2)
    return drawn.svg


def when(evidence: Mapping[str, Sequence[float]]) -> str:
    """The evidence along a clip, one line per network; 1 if it is evenly distributed.

    Args:
        evidence: each frame's share; networks may see different numbers of frames
    """
    peaks = ", ".join(
        f"{name} most in frame {1 + int(np.argmax(shares))} of {len(shares)}"
        for name, shares in evidence.items()
    )
    with drawing(f"Evidence along the clip: {peaks}.") as drawn:
        plot = axes(drawn, "place in the clip, from its first frame to its last", "evidence")
        for name, shares in evidence.items():
            places = np.linspace(0, 1, len(shares))
            plot.plot(places, np.array(shares) * len(shares), "o-", markersize=4, label=name)
        plot.axhline(1, color=MUTED, linewidth=1, linestyle=":", label="even")
        plot.set_ylim(bottom=0)
        percents(plot, x=True)
        legend(plot)
    return drawn.svg


def short(name: str) -> str:
    """The name of a class, cut off if it is long."""
    return name if len(name) <= NAMES else name[: NAMES - 1] + "…"
