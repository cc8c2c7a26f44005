"""The differences between two runs, as text for a terminal and as a page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from autox3d.reporting import class_figures, figures
from autox3d.reporting.differences import (
    CAUSES,
    Difference,
    PipelineRun,
    differences,
    networks_in_both,
    standard_error,
)
from autox3d.reporting.layout import Element, Figure, KeyFigure, Listing, Section, Source, Table
from autox3d.reporting.page import render
from autox3d.reporting.results import Tested

CLASSES = 5  # in the text, how many of the classes that gain most, and of those that lose most
WIDEST = 60  # characters of a value in the text


def text(before: PipelineRun, after: PipelineRun) -> str:
    """One paragraph a subject, with rows of name, before, after and change."""
    paragraphs = {
        subject: list(_aligned([_cells(one) for one in rows]))
        for subject, rows in groupby(differences(before, after), key=lambda one: one.subject)
    }
    for name, networks in networks_in_both(before, after).items():
        if lines := _extreme_classes(*networks):
            paragraphs.setdefault(name, []).extend(lines)
    lines = [f"A  {before.label}", f"B  {after.label}", *_lost(before, after)]
    for subject, rows in paragraphs.items():
        lines += ["", subject, *rows]
    return "\n".join(lines if paragraphs else [*lines, "", "No difference."])


def page(before: PipelineRun, after: PipelineRun) -> str:
    """A page with the causes first, then the effects, network by network."""
    rows = differences(before, after)
    command = shlex.join(["autox3d", "compare", before.name, after.name])
    source = Source(f"{before.label}, {after.label}", command)
    causes = Section("changed", "What was changed")
    effects = Section("did", "What it did")
    if not rows:
        causes.lead = "Nothing, as far as the runs say."
    for subject, of_subject in groupby(rows, key=lambda one: one.subject):
        section = causes if subject in CAUSES else effects
        cells = [_cells(one) for one in of_subject]
        section.elements.append(Table(subject, ("", "A", "B", "B less A"), cells, source))
    for name, (old, new) in networks_in_both(before, after).items():
        effects.elements += _figures(name, old, new, source)
    if lost := _lost(before, after):
        causes.elements.append(Listing("Not compared", "\n".join(lost), source))
    summary = f"A is {before.label}, B is {after.label}."
    return render("Two runs compared", summary, _key_figures(before, after), [causes, effects])


def _key_figures(before: PipelineRun, after: PipelineRun) -> list[KeyFigure]:
    """Each network's change of the headline, in points, with one standard error."""
    return [
        KeyFigure(
            name,
            f"{100 * (new.headline - old.headline):+.1f} ± {100 * standard_error(old, new):.1f}",
            f"{new.task.headline.label}, B less A",
        )
        for name, (old, new) in networks_in_both(before, after).items()
    ]


def _lost(before: PipelineRun, after: PipelineRun) -> list[str]:
    """The files that could not be compared, and how to get them."""
    return [
        f"{run.label}: {', '.join(run.lost)} not in DVC's cache. `dvc fetch` may bring them."
        for run in (before, after)
        if run.lost
    ]


def _cells(one: Difference) -> list[str]:
    change = "" if one.change is None else f"{one.change:+.4g}"
    return [one.name, written(one.before), written(one.after), change]


def written(value: Any) -> str:
    """A value as a person writes it; an empty string for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines, columns below each other; long cells are cut off."""
    cut = [[c if len(c) <= WIDEST else f"{c[: WIDEST - 1]}…" for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    for row in cut:
        yield "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()


def _gains(old: Tested, new: Tested) -> dict[str, float]:
    """The change of each class, the largest gain first."""
    return class_figures.gained(new.evaluation.per_class, old.evaluation.per_class)


def _extreme_classes(old: Tested, new: Tested) -> list[str]:
    """The classes that changed most, and the standard error; no line if no class changed."""
    gains = _gains(old, new).items()
    gaining = [(name, gain) for name, gain in gains if gain > 0][:CLASSES]
    losing = [(name, gain) for name, gain in gains if gain < 0][-CLASSES:]
    lines = [
        f"  Classes that {what} most: {', '.join(f'{name} {gain:+.3f}' for name, gain in rows)}."
        for what, rows in (("gain", gaining), ("lose", losing))
        if rows
    ]
    if lines:
        label, error = new.task.headline.label, standard_error(old, new)
        lines.append(f"  One standard error of a difference in {label}: {error:.3f}.")
    return lines


def _figures(name: str, old: Tested, new: Tested, source: Source) -> Iterator[Element]:
    """The curves of training beside each other, and the change of each class."""
    metric, curves = new.task.headline, {"A": old.network.curve, "B": new.network.curve}
    both = {side: curve for side, curve in curves.items() if curve and metric.name in curve}
    if len(both) == 2:
        svg = figures.side_by_side(both, metric.name, metric.label)
        yield Figure(f"{name} in training", svg, "On the training clips.", source)
    gains = _gains(old, new)
    if any(gains.values()):
        error = 100 * standard_error(old, new)
        caption = f"One standard error of a difference over all: {error:.1f} points."
        shown, note = class_figures.extremes(gains)
        svg = class_figures.gains(shown, "B", "A", metric)
        yield Figure(f"{name} by class", svg, f"{caption}{note}", source)
