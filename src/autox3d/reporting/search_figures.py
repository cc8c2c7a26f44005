"""The figures of what a search decided: t-values, fair patterns, attention in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from autox3d.core.decided import BUDGET, CLIPS, UNDECIDED, open_decisions
from autox3d.core.search_records import AttentionPairs, Decision
from autox3d.reporting.svg import (
    BLUE,
    GREY,
    INK,
    MUTED,
    ORANGE,
    RULE,
    axes,
    drawing,
    legend,
    percents,
)
from autox3d.vision.tasks.metric import Metric

COLOURS = {CLIPS: BLUE, BUDGET: ORANGE, UNDECIDED: GREY}
ROW = 0.19  # inches


class Pattern(NamedTuple):
    """One ring of parts of a shared kernel, and the arc of each candidate."""

    title: str
    candidates: tuple[str, ...]
    arcs: tuple[tuple[int, ...], ...]  # indices of parts, in the order of the candidates
    parts: int

    @property
    def uses(self) -> list[int]:
        """The number of candidates that use each part."""
        return [sum(part in arc for arc in self.arcs) for part in range(self.parts)]


def t_values(choices: Sequence[Decision], threshold: float | None) -> str:
    """The t-value of each choice, coloured by what decided it."""
    rows = [choice for choice in open_decisions(choices) if choice.t is not None]
    names = [f"{choice.group} {choice.column}: {choice.taken}" for choice in rows]
    values = [choice.t or 0.0 for choice in rows]
    told = zip(names, rows, values, strict=True)
    alt = "; ".join(f"{name} by {choice.by}, {t:.1f}" for name, choice, t in told)
    least = "" if threshold is None else f", decided from {threshold:.2f} on"
    with drawing(f"t-value of each choice{least}: {alt}.", height=1.1 + ROW * len(rows)) as drawn:
        plot = axes(drawn, "t-value from the clips", "")
        for state, colour in COLOURS.items():
            at = [n for n, choice in enumerate(rows) if choice.by == state]
            if at:
                plot.hlines(at, 0, [values[n] for n in at], color=colour, linewidth=1)
                plot.plot([values[n] for n in at], at, "o", color=colour, label=state)
        if threshold is not None:
            plot.axvline(threshold, color=INK, linewidth=1, linestyle="--", label="threshold")
        plot.set_yticks(range(len(rows)), names)
        plot.set_ylim(len(rows) - 0.4, -0.6)
        plot.set_xlim(left=0)
        drawn.figure.legend(loc="outside lower center", ncols=4, handlelength=1.6)
    return drawn.svg


def front(
    points: Sequence[tuple[float, float]],
    found: tuple[float, float] | None,
    unit: str,
    metric: Metric,
) -> str:
    """The headline with the supernet's weights over the cost, for several budgets."""
    told = ", ".join(f"{metric.cell(value)} at {cost:.3g}" for cost, value in sorted(points))
    with drawing(f"{metric.title} as a path of the supernet over {unit}: {told}.") as drawn:
        plot = axes(drawn, unit, f"{metric.label}, as a supernet's path")
        if points:
            plot.plot(
                *zip(*sorted(points), strict=True), "o-", color=BLUE, linewidth=1, label="front"
            )
        if found:
            plot.plot(*found, "*", color=ORANGE, markersize=13, label="found")
        plot.margins(x=0.15, y=0.15)
        if metric.percent:
            percents(plot)
        legend(plot)
    return drawn.svg


def attention(pairs: AttentionPairs) -> str:
    """What each attention unit is worth at the end of the warm-up, with two standard errors."""
    names = [f"group {one.group}, {one.unit}" for one in pairs.units]
    values = zip(names, pairs.units, strict=True)
    alt = "; ".join(f"{name} {one.gain:+.4f}, t {one.t:.1f}" for name, one in values)
    height = 0.9 + 1.2 * ROW * len(names)
    with drawing(f"Gain by an attention unit, nats a clip: {alt}.", height=height) as drawn:
        plot = axes(drawn, "gain by the unit, nats a clip", "")
        for row, one in enumerate(pairs.units):
            colour = BLUE if abs(one.t) > 2 else GREY
            plot.errorbar(one.gain, row, xerr=2 * one.error, fmt="o", color=colour, capsize=2)
        plot.axvline(0, color=INK, linewidth=1, linestyle=":")
        plot.set_yticks(range(len(names)), names)
        plot.set_ylim(len(names) - 0.4, -0.6)
    return drawn.svg


def patterns(rings: Sequence[Pattern]) -> str:
    """The parts that each candidate uses, and how many use each part (A3D, Figure 3)."""
    told = "; ".join(f"{ring.title}: {' '.join(map(str, ring.uses))}" for ring in rings)
    alt = f"How many candidates use each part of a shared kernel: {told}."
    tallest = max(ring.parts for ring in rings)
    with drawing(alt, height=1.1 + 0.2 * tallest, width=9.6) as drawn:
        widths = [len(ring.candidates) + 1.5 for ring in rings]
        every = drawn.figure.subplots(1, len(rings), squeeze=False, width_ratios=widths)[0]
        for plot, ring in zip(every, rings, strict=True):
            _pattern(plot, ring)
            plot.set_ylim(-0.5, tallest + 0.2)
    return drawn.svg


def _pattern(plot: Axes, ring: Pattern) -> None:
    """One ring: a column for each candidate, the first part at the bottom."""
    for column, arc in enumerate(ring.arcs):
        for part in range(ring.parts):
            used = part in arc
            plot.bar(column, 0.9, 0.9, part - 0.45, color=BLUE if used else RULE)
    last = len(ring.candidates) - 0.3
    for part, count in enumerate(ring.uses):
        plot.text(last, part, f"{count}/{len(ring.arcs)}", va="center", fontsize=8, color=MUTED)
    plot.set_xticks(range(len(ring.candidates)), ring.candidates, fontsize=8)
    plot.set_xlim(-0.6, last + 1.1)
    plot.set_yticks([])
    plot.grid(visible=False)
    plot.spines[:].set_visible(False)
    plot.set_title(ring.title, fontsize=9, color=INK)
