"""The report's figures. Each takes tables as the stages write them and gives an SVG element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from autox3d.reporting.drawing import paint
from autox3d.reporting.results import Network, Published
from autox3d.reporting.svg import (
    BLUE,
    COLOURS,
    DASHES,
    GREY,
    INK,
    MUTED,
    ORANGE,
    SKY,
    WIDTH,
    axes,
    costs,
    drawing,
    legend,
    percents,
)
from autox3d.vision.arch.cost import Cost
from autox3d.vision.arch.genotype import Genotype


class Point(NamedTuple):
    """A tested network on a plane of accuracy over cost."""

    name: str
    found: bool
    cost: float
    top1: float
    spread: tuple[float, float] | None = None  # of the cost, where it was measured


def accuracy_over(points: Sequence[Point], chance: float, label: str) -> str:
    """Top-1 over what it costs; found networks against the baselines."""
    said = ", ".join(f"{point.name} {point.top1:.1%} at {point.cost:.3g}" for point in points)
    with drawing(f"Top-1 accuracy over {label}: {said}.") as drawn:
        plot = axes(drawn, label, "top-1")
        for is_found, colour, what in ((True, BLUE, "found"), (False, ORANGE, "baseline")):
            family = sorted((p.cost, p.top1) for p in points if p.found == is_found)
            if family:
                x, y = zip(*family, strict=True)
                joined = "o-" if is_found else "o"
                plot.plot(x, y, joined, color=colour, markersize=6, linewidth=1, label=what)
        plot.axhline(chance, color=MUTED, linewidth=1, linestyle=":", label="chance")
        for point in points:
            place = (point.cost, point.top1)
            plot.annotate(point.name, place, (6, -11), textcoords="offset points", color=INK)
            if point.spread:
                plot.hlines(point.top1, *point.spread, color=MUTED, linewidth=1)
        plot.set_ylim(0, 1.05)
        plot.margins(x=0.15)
        costs(plot)
        percents(plot)
        legend(plot)
    return drawn.svg


def published_over_cost(rows: Sequence[Published]) -> str:
    """The papers' Kinetics-400 figures, 30 views."""
    rows = [row for row in rows if row.views == 30]
    said = ", ".join(f"{row.network} {row.top1} at {row.gmacs:g}" for row in rows)
    alt = f"Published top-1 accuracy on Kinetics-400 over G multiply-adds a view: {said}."
    families = {"AutoX3D": BLUE, "AutoX3D w/o attention": SKY, "X3D": ORANGE}
    with drawing(alt) as drawn:
        plot = axes(drawn, "G multiply-adds a view (left, centre, right crops)", "top-1, percent")
        for family, colour in families.items():
            points = [row for row in rows if _family(row.network) == family]
            x, y = [row.gmacs for row in points], [row.top1 for row in points]
            plot.plot(x, y, "o-", color=colour, markersize=5, linewidth=1, label=family)
        for row in rows:
            if _family(row.network) not in families:
                plot.plot(row.gmacs, row.top1, "o", color=GREY, markersize=5, label=row.network)
            if "w/o" not in row.network:
                size, place = row.network.rpartition("-")[2], (row.gmacs, row.top1)
                size = "" if _family(row.network) not in families else size
                plot.annotate(size, place, (5, -10), textcoords="offset points", fontsize=8)
        plot.margins(x=0.15, y=0.15)
        costs(plot)
        legend(plot, columns=2)
    return drawn.svg


def _family(network: str) -> str:
    """AutoX3D-S w/o attention -> AutoX3D w/o attention."""
    name, _, rest = network.rpartition("-")
    return f"{name}{rest[rest.index(' ') :]}" if " " in rest else name


def architecture(genotype: Genotype, cost: Cost) -> str:
    """The network block by block (Auto-X3D, Figure 5); twice as wide as the other figures."""
    said = ", ".join(
        f"{g.blocks} of {g.kernel} with {g.channels} channels" for g in genotype.groups
    )
    alt = f"{genotype.name}, groups of blocks from first to last: {said}."
    with drawing(alt, height=4.4, width=9.6) as drawn:
        paint(drawn.figure, genotype, cost)
    return drawn.svg


def clips_over_cost(networks: Sequence[Network], crops: str) -> str:
    """Top-1 over the cost of a whole video, for each number of clips (X3D, Figure 3).

    Twice, as in Figure A.4: over a linear and over a logarithmic axis.
    """
    curves = {
        network.name: [
            (row["clips"], row["views"] * network.evaluation[f"gmacs_{crops}"], row["top1"])
            for row in network.evaluation["k_clips"]
            if row["crops"] == crops
        ]
        for network in networks
        if network.evaluation
    }
    said = "; ".join(
        f"{name} " + ", ".join(f"{top1:.1%} with {clips}" for clips, _, top1 in rows)
        for name, rows in curves.items()
    )
    alt = f"Top-1 accuracy over G multiply-adds a video, a point for each number of clips: {said}."
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
        linear.set_ylabel("top-1")
        linear.set_xlim(left=0)
        costs(logarithmic)
        percents(linear)
        drawn.figure.legend(
            *linear.get_legend_handles_labels(), loc="outside upper center", ncols=8
        )
    return drawn.svg


def search_cost(trace: pd.DataFrame, target: float | None) -> str:
    """Cost of the most probable network by epoch (Auto-X3D, Figure 4)."""
    last = trace["mode_gmacs"].iloc[-1]
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


def by_epoch(trace: pd.DataFrame, columns: Mapping[str, str], label: str, top: float | None) -> str:
    """Columns of a table that are there, by epoch, from 0 to `top`; their names in the legend."""
    there = {column: name for column, name in columns.items() if column in trace}
    said = ", ".join(
        f"{name} {trace[column].iloc[0]:.3g} at first, {trace[column].iloc[-1]:.3g} at the end"
        for column, name in there.items()
    )
    with drawing(f"{label} by epoch: {said}.") as drawn:
        plot = axes(drawn, "epoch", label)
        for column, name in there.items():
            plot.plot(trace["epoch"], trace[column], label=name)
        plot.set_ylim(0, top)
        legend(plot)
    return drawn.svg


def lines(epochs: Sequence[float], rows: Mapping[str, Sequence[float]], label: str) -> str:
    """Shares by epoch, a line each; the same colour for what follows the same number."""
    said = ", ".join(f"{name} {values[-1]:.2f}" for name, values in rows.items())
    with drawing(f"{label} by epoch; at the end: {said}.") as drawn:
        plot = axes(drawn, "epoch", label)
        for index, (name, values) in enumerate(rows.items()):
            dash = DASHES[index // len(COLOURS) % len(DASHES)]
            plot.plot(epochs, values, dash, color=COLOURS[index % len(COLOURS)], label=name)
        plot.set_ylim(-0.02, 1.02)
        legend(plot, columns=4)
    return drawn.svg


def beside(traces: Mapping[str, pd.DataFrame], column: str, label: str) -> str:
    """A column of several tables by epoch, a share."""
    said = ", ".join(f"{name} {of[column].iloc[-1]:.2f}" for name, of in traces.items())
    with drawing(f"{label} by epoch; at the end: {said}.") as drawn:
        plot = axes(drawn, "epoch", label)
        for name, of in traces.items():
            plot.plot(of["epoch"], of[column], label=name)
        plot.set_ylim(-0.02, 1.02)
        legend(plot)
    return drawn.svg


def training(networks: Sequence[Network], column: str, label: str) -> str:
    """A column of the training curves; validation dashed where there is one."""
    curves = [(n.name, n.curve) for n in networks if n.curve is not None]
    said = ", ".join(f"{name} {curve[column].iloc[-1]:.3g}" for name, curve in curves)
    with drawing(f"Training, {label} by epoch; at the end: {said}.") as drawn:
        plot = axes(drawn, "epoch", label)
        for index, (name, curve) in enumerate(curves):
            colour = COLOURS[index % len(COLOURS)]
            plot.plot(curve["epoch"], curve[column], color=colour, label=name)
            if f"val_{column}" in curve:
                plot.plot(curve["epoch"], curve[f"val_{column}"], "--", color=colour, linewidth=1)
        if column == "top1":
            plot.set_ylim(0, 1.03)
            percents(plot)
        legend(plot)
    return drawn.svg
