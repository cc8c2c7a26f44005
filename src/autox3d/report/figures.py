"""The report's figures. Each takes tables as the stages write them and gives an SVG element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from autox3d.cost import Cost
from autox3d.genotype import Genotype
from autox3d.report.drawing import paint
from autox3d.report.results import Network, Published
from autox3d.report.svg import (
    BLUE,
    COLOURS,
    DASHES,
    GREY,
    INK,
    MUTED,
    ORANGE,
    SKY,
    axes,
    costs,
    drawing,
    legend,
    percents,
)

NAMES = 24  # characters of a class name that are drawn


def accuracy_over_cost(networks: Sequence[Network], chance: float) -> str:
    """Top-1 over the cost of a view, three crops a clip; found networks against the baselines."""
    tested = [(n, n.evaluation) for n in networks if n.evaluation and n.evaluation["labelled"]]
    said = ", ".join(f"{n.name} {e['lcr']['top1']:.1%} at {e['gmacs_lcr']:.3g}" for n, e in tested)
    with drawing(f"Top-1 accuracy over G multiply-adds a view: {said}.") as drawn:
        plot = axes(drawn, "G multiply-adds a view (left, centre, right crops)", "top-1")
        for is_found, colour, what in ((True, BLUE, "found"), (False, ORANGE, "baseline")):
            points = [(e["gmacs_lcr"], e["lcr"]["top1"]) for n, e in tested if n.found == is_found]
            if points:
                x, y = zip(*sorted(points), strict=True)
                joined = "o-" if is_found else "o"
                plot.plot(x, y, joined, color=colour, markersize=6, linewidth=1, label=what)
        plot.axhline(chance, color=MUTED, linewidth=1, linestyle=":", label="chance")
        for network, tests in tested:
            place = (tests["gmacs_lcr"], tests["lcr"]["top1"])
            plot.annotate(network.name, place, (6, -11), textcoords="offset points", color=INK)
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
    """Top-1 over the cost of a whole video, for each number of clips (X3D, Figure 3)."""
    alt = "Top-1 accuracy over G multiply-adds a video, one point for each number of clips."
    with drawing(alt) as drawn:
        plot = axes(drawn, "G multiply-adds a video", "top-1")
        for index, network in enumerate(networks):
            if not network.evaluation:
                continue
            cost = network.evaluation[f"gmacs_{crops}"]
            rows = [row for row in network.evaluation["k_clips"] if row["crops"] == crops]
            x, y = [row["views"] * cost for row in rows], [row["top1"] for row in rows]
            style = {"color": COLOURS[index % len(COLOURS)], "markersize": 4}
            plot.plot(x, y, "o-", label=network.name, **style)
        costs(plot)
        percents(plot)
        legend(plot)
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


def per_class(shares: Mapping[str, Mapping[str, float | None]], order: Sequence[str]) -> str:
    """Top-1 of each class, a dot a network; classes in `order`, from the top."""
    alt = "Top-1 accuracy of each class: " + ", ".join(
        f"{name} " + " / ".join(f"{of.get(name) or 0:.0%}" for of in shares.values())
        for name in order
    )
    with drawing(f"{alt}.", height=1.0 + 0.3 * len(order)) as drawn:
        plot = axes(drawn, "top-1", "")
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


def confusion(counts: pd.DataFrame, name: str) -> str:
    """(actual, predicted) counts, shaded by the share of the actual class."""
    totals = counts.to_numpy().sum(1, keepdims=True)
    shares = counts.to_numpy() / np.maximum(totals, 1)
    hits = np.trace(counts.to_numpy()) / max(totals.sum(), 1)
    size = len(counts)
    alt = f"Confusion of {name} over {size} classes; {hits:.1%} lie on the diagonal."
    with drawing(alt, height=4.6) as drawn:
        plot = axes(drawn, "predicted", "actual")
        # cells, not an image: an image would be a raster inside the SVG
        edges = np.arange(size + 1) - 0.5
        plot.pcolormesh(edges, edges, shares, cmap="Blues", vmin=0, vmax=1.15, edgecolors="white")
        plot.set_aspect("equal")
        plot.invert_yaxis()
        plot.grid(visible=False)
        plot.set_xticks(range(size), [short(c) for c in counts.columns], rotation=90)
        plot.set_yticks(range(size), [short(c) for c in counts.index])
        for row, column in np.argwhere(counts.to_numpy() > 0):
            colour = "white" if shares[row, column] > 0.55 else INK
            text = str(counts.iat[row, column])
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


def short(name: Any) -> str:
    """A class name, cut where it is long."""
    text = str(name)
    return text if len(text) <= NAMES else text[: NAMES - 1] + "…"
