"""The figure of an expansion: accuracy over cost, candidate by candidate (X3D, Figure 2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from matplotlib.axes import Axes as Plot

from autox3d.core.intervals import Interval
from autox3d.core.values import Axis, Unit
from autox3d.reporting import expanded
from autox3d.reporting.expanded import Expansion, Tried
from autox3d.reporting.figures import share
from autox3d.reporting.svg import (
    COLOURS,
    INK,
    MUTED,
    WIDTH,
    axes,
    costs,
    drawing,
    labels,
    legend,
    percents,
)
from autox3d.sizing.expansion import AXES
from autox3d.vision.tasks.metric import Metric

OF: dict[Unit, str] = {
    "gmacs": "G multiply-adds",
    "params": "M parameters",
    "memory": "MB of activations",
    "ms": "ms",
}
COLOUR: dict[Axis, str] = dict(zip(AXES, COLOURS, strict=False))


class Dot(NamedTuple):
    """A candidate that was trained."""

    tried: str  # the step, or the target
    axis: Axis
    price: float
    value: float
    interval: Interval | None
    taken: bool


def dots(found: Expansion) -> list[Dot]:
    """All candidates that were trained, step by step."""
    return [dot for tried in (*found.path, *found.targets) for dot in _dots(tried)]


def _dots(tried: Tried) -> Iterator[Dot]:
    if tried.step is None:
        return
    for key, runs in tried.runs.items():
        candidate = tried.step.candidates[key]
        axis = tried.step.grew if key == "last" else key
        assert axis in AXES  # of a contraction that is trained, the axis is known
        taken = tried.taken is not None and tried.taken.factors == candidate.factors
        value, interval = expanded.mean(runs), expanded.interval(runs)
        yield Dot(tried.name, axis, candidate.price, value, interval, taken)


def over_cost(found: Expansion, metric: Metric, guessing: Interval | None, unit: Unit) -> str:
    """A dot a candidate, one colour an axis, its interval as a bar, and the path as a line.

    Args:
        guessing: what a network reaches that guesses, as a band
        unit: of the costs
    """
    every, steps = dots(found), {tried.name for tried in found.path}
    told = "; ".join(
        f"{dot.tried} {dot.axis} {share(dot.value, metric)} at {dot.price:.3g}"
        f"{', taken' if dot.taken else ''}"
        for dot in every
    )
    label = f"{OF[unit]} of a view, centre crop"
    with drawing(
        f"{metric.title} accuracy over {label}: {told}.", height=4.2, width=2 * WIDTH
    ) as drawn:
        plot = axes(drawn, label, f"{metric.label} on the validation videos")
        path = [dot for dot in every if dot.taken and dot.tried in steps]
        if guessing:
            plot.axhspan(*guessing, color=MUTED, alpha=0.12, linewidth=0, label="guessing, 95 %")
        plot.plot([d.price for d in path], [d.value for d in path], color=INK, label="path")
        _candidates(plot, every, steps)
        plot.plot(
            [d.price for d in every if d.taken], [d.value for d in every if d.taken], "o",
            markersize=12, markerfacecolor="none", markeredgecolor=INK, label="taken",
        )  # fmt: skip
        plot.set_ylim(0, 1.05)
        plot.margins(x=0.12)
        costs(plot)
        if metric.percent:
            percents(plot)
        legend(plot, columns=5)
        if path:
            labels(plot, {dot.tried: (dot.price, dot.value) for dot in path})
    return drawn.svg


def _candidates(plot: Plot, every: list[Dot], steps: set[str]) -> None:
    """The dots with their bars: round ones of steps, square ones of contractions."""
    for axis, colour in COLOUR.items():
        named = False
        for shape, on_path in (("o", True), ("s", False)):
            own = [d for d in every if d.axis == axis and (d.tried in steps) == on_path]
            if not own:
                continue
            ends = [d.interval or Interval(d.value, d.value) for d in own]
            below = [d.value - end.low for d, end in zip(own, ends, strict=True)]
            above = [end.high - d.value for d, end in zip(own, ends, strict=True)]
            plot.errorbar(
                [d.price for d in own], [d.value for d in own], yerr=[below, above], fmt=shape,
                color=colour, markersize=6, elinewidth=1, capsize=3,
                label=None if named else axis,
            )  # fmt: skip
            named = True
