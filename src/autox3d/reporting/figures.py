"""The report's figures: each takes records of the stages and returns an SVG element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from autox3d.core.curves import Curve
from autox3d.core.scores import Crops
from autox3d.reporting.drawing import paint
from autox3d.reporting.layout import digits
from autox3d.reporting.published import Published
from autox3d.reporting.results import Tested
from autox3d.reporting.svg import (
    BLUE,
    COLOURS,
    DASHES,
    GREEN,
    GREY,
    MUTED,
    ORANGE,
    SKY,
    WIDTH,
    axes,
    costs,
    drawing,
    labels,
    legend,
    percents,
)
from autox3d.vision.arch.cost import Cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.tasks.metric import Metric


class Point(NamedTuple):
    """A tested network in a plot of accuracy over cost."""

    name: str
    searched: bool
    cost: float
    accuracy: float  # the task's headline
    spread: tuple[float, float] | None = None  # quartiles of a cost that was measured


def accuracy_over(points: Sequence[Point], metric: Metric, chance: float, label: str) -> str:
    """The headline over a cost; networks that the search found against the baselines."""
    values = ", ".join(f"{p.name} {share(p.accuracy, metric)} at {digits(p.cost)}" for p in points)
    with drawing(f"{metric.title} accuracy over {label}: {values}.") as drawn:
        plot = axes(drawn, label, metric.label)
        for searched, colour, what in ((True, BLUE, "found"), (False, ORANGE, "baseline")):
            family = sorted((p.cost, p.accuracy) for p in points if p.searched == searched)
            if family:
                x, y = zip(*family, strict=True)
                joined = "o-" if searched else "o"
                plot.plot(x, y, joined, color=colour, markersize=6, linewidth=1, label=what)
        plot.axhline(chance, color=MUTED, linewidth=1, linestyle=":", label="chance")
        for point in points:
            if point.spread:
                plot.hlines(point.accuracy, *point.spread, color=MUTED, linewidth=1)
        plot.set_ylim(0, 1.05)
        plot.margins(x=0.15)
        costs(plot)
        if metric.percent:
            percents(plot)
        legend(plot)
        labels(plot, {point.name: (point.cost, point.accuracy) for point in points})
    return drawn.svg


def share(value: float, metric: Metric) -> str:
    """0.96 -> "96.0%", as the texts of figures have it."""
    return f"{value:.1%}" if metric.percent else metric.cell(value)


def published_over_cost(
    rows: Sequence[Published], metric: Metric, ours: Sequence[Point] = ()
) -> str:
    """Accuracy over cost in the papers (Auto-X3D, Figure 1), each network with its name.

    Args:
        ours: networks tested on the same data set, in percent
    """
    points = [
        Point(row.network + "*" * (row.pretrain is not None), False, row.gmacs, row.top1)
        for row in rows
        if row.gmacs is not None and row.top1 is not None
    ]
    every = [*points, *ours]
    values = ", ".join(f"{p.name} {p.accuracy:.4g} at {p.cost:.4g}" for p in every)
    alt = f"Published {metric.label} accuracy on Kinetics-400 over G multiply-adds a view: "
    alt += f"{values}."
    families = {"AutoX3D": BLUE, "AutoX3D w/o attention": SKY, "X3D": ORANGE}
    with drawing(alt, height=4.4, width=9.6) as drawn:
        plot = axes(drawn, "G multiply-adds a view", f"{metric.label}, percent")
        for family, colour in families.items():
            own = [point for point in points if _family(point.name) == family]
            x, y = [point.cost for point in own], [point.accuracy for point in own]
            plot.plot(x, y, "o-", color=colour, markersize=5, linewidth=1, label=family)
        others = [point for point in points if _family(point.name) not in families]
        x, y = [point.cost for point in others], [point.accuracy for point in others]
        plot.plot(x, y, "o", color=GREY, markersize=5, label="others")
        if ours:
            x, y = [point.cost for point in ours], [point.accuracy for point in ours]
            plot.plot(x, y, "D", color=GREEN, markersize=6, label="here")
        plot.margins(x=0.15, y=0.15)
        costs(plot)
        legend(plot, columns=4)
        named = [point for point in every if "w/o" not in point.name]
        labels(plot, {point.name: (point.cost, point.accuracy) for point in named})
    return drawn.svg


def _family(network: str) -> str:
    """AutoX3D-S w/o attention -> AutoX3D w/o attention."""
    name, _, rest = network.rpartition("-")
    return f"{name}{rest[rest.index(' ') :]}" if " " in rest else name


def architecture(genotype: Genotype, cost: Cost) -> str:
    """The network block by block (Auto-X3D, Figure 5); twice as wide as the other figures."""
    rows = ", ".join(f"{g.blocks} of {g.kernel} with {g.channels} channels" for g in genotype.rows)
    alt = f"{genotype.name}, groups of blocks from first to last: {rows}."
    with drawing(alt, height=4.4, width=9.6) as drawn:
        paint(drawn.figure, genotype, cost)
    return drawn.svg


def clips_over_cost(networks: Sequence[Tested], crops: Crops) -> str:
    """The headline over the cost of a whole video, for each number of clips (X3D, Figure 3).

    Drawn twice, as in Figure A.4: over a linear and over a logarithmic axis.
    """
    metric = networks[0].task.headline
    curves = {
        network.name: [
            (row.clips, row.views * network.evaluation.gmacs(crops), row.metrics[metric.name] or 0)
            for row in network.evaluation.k_clips
            if row.crops == crops
        ]
        for network in networks
    }
    values = "; ".join(
        f"{name} " + ", ".join(f"{share(value, metric)} with {clips}" for clips, _, value in rows)
        for name, rows in curves.items()
    )
    alt = f"{metric.title} accuracy over G multiply-adds a video, a point for each number of clips:"
    alt += f" {values}."
    with drawing(alt, height=3.4, width=2 * WIDTH) as drawn:
        linear, logarithmic = plots = drawn.figure.subplots(1, 2, sharey=True)
        for plot in plots:
            plot.set_xlabel("G multiply-adds a video")
            for index, (name, rows) in enumerate(curves.items()):
                _, x, y = zip(*rows, strict=True)
                colour = COLOURS[index % len(COLOURS)]
                plot.plot(x, y, "o-", label=name, color=colour, markersize=4)
        for clips, x, y in next(iter(curves.values())):
            linear.annotate(
                f"{clips}", (x, y), (0, 5), textcoords="offset points", ha="center", fontsize=8
            )
        linear.set_ylabel(metric.label)
        linear.set_xlim(left=0)
        costs(logarithmic)
        if metric.percent:
            low, high = linear.get_ylim()
            linear.set_ylim(max(0, min(low, high - 0.2)), min(1.03, high))
            percents(linear)
        drawn.figure.legend(
            *linear.get_legend_handles_labels(), loc="outside upper center", ncols=8
        )
    return drawn.svg


def search_cost(trace: Curve, target: float | None) -> str:
    """Cost of the most probable network by epoch (Auto-X3D, Figure 4)."""
    last = trace["mode_gmacs"][-1]
    alt = f"Cost of the most probable network by epoch; {last:.3g} G multiply-adds at the end."
    with drawing(alt) as drawn:
        plot = axes(drawn, "epoch", "G multiply-adds")
        if "expected_gmacs" in trace:
            plot.plot(trace["epoch"], trace["expected_gmacs"], color=SKY, label="a draw, expected")
        plot.plot(trace["epoch"], trace["mode_gmacs"], color=BLUE, label="most probable network")
        if target:
            plot.axhline(target, color=ORANGE, linewidth=1, linestyle="--", label="target")
        plot.set_ylim(bottom=0)
        legend(plot)
    return drawn.svg


def by_epoch(trace: Curve, columns: Mapping[str, str], label: str, top: float | None) -> str:
    """Plots those of the columns that the curve has, by epoch; the axis goes from 0 to `top`.

    Args:
        columns: column -> name in the legend
    """
    there = {column: name for column, name in columns.items() if column in trace}
    values = ", ".join(
        f"{name} {trace[column][0]:.3g} at first, {trace[column][-1]:.3g} at the end"
        for column, name in there.items()
    )
    with drawing(f"{label} by epoch: {values}.") as drawn:
        plot = axes(drawn, "epoch", label)
        for column, name in there.items():
            plot.plot(trace["epoch"], trace[column], label=name)
        plot.set_ylim(0, top)
        legend(plot)
    return drawn.svg


def lines(epochs: Sequence[float], rows: Mapping[str, Sequence[float]], label: str) -> str:
    """Several series of shares by epoch."""
    last = ", ".join(f"{name} {values[-1]:.2f}" for name, values in rows.items())
    with drawing(f"{label} by epoch; at the end: {last}.") as drawn:
        plot = axes(drawn, "epoch", label)
        for index, (name, values) in enumerate(rows.items()):
            dash = DASHES[index // len(COLOURS) % len(DASHES)]
            plot.plot(epochs, values, dash, color=COLOURS[index % len(COLOURS)], label=name)
        plot.set_ylim(-0.02, 1.02)
        legend(plot, columns=4)
    return drawn.svg


def side_by_side(curves: Mapping[str, Curve], column: str, label: str) -> str:
    """One column of several curves by epoch, in percent."""
    last = ", ".join(f"{name} {curve[column][-1]:.2f}" for name, curve in curves.items())
    with drawing(f"{label} by epoch; at the end: {last}.") as drawn:
        plot = axes(drawn, "epoch", label)
        for name, curve in curves.items():
            plot.plot(curve["epoch"], curve[column], label=name)
        plot.set_ylim(-0.02, 1.02)
        legend(plot)
    return drawn.svg


def training(curves: Mapping[str, Curve], column: str, label: str, *, percent: bool) -> str:
    """One column of the training curves, with that of the validation videos dashed."""
    last = ", ".join(f"{name} {curve[column][-1]:.3g}" for name, curve in curves.items())
    with drawing(f"Training, {label} by epoch; at the end: {last}.") as drawn:
        plot = axes(drawn, "epoch", label)
        for index, (name, curve) in enumerate(curves.items()):
            colour = COLOURS[index % len(COLOURS)]
            plot.plot(curve["epoch"], curve[column], color=colour, label=name)
            if f"val_{column}" in curve:
                pairs = zip(curve["epoch"], curve[f"val_{column}"], strict=True)
                known = [pair for pair in pairs if not math.isnan(pair[1])]  # not every epoch is
                at, values = [epoch for epoch, _ in known], [value for _, value in known]
                plot.plot(at, values, "--", color=colour, linewidth=1)
        if percent:
            plot.set_ylim(0, 1.03)
            percents(plot)
        legend(plot)
    return drawn.svg
