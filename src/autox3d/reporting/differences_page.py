"""Two runs compared, as text for a terminal and as a page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from autox3d.reporting import class_figures, figures
from autox3d.reporting.differences import CAUSES, Difference, Run, chance, compare, shares
from autox3d.reporting.layout import Figure, Listing, Part, Section, Source, Table
from autox3d.reporting.page import render
from autox3d.reporting.results import Network

CLASSES = 5  # that gain most, and as many that lose most, in the text
WIDEST = 60  # characters of a value in the text


def text(before: Run, after: Run) -> str:
    """One paragraph a part: name, before, after, change."""
    parts = {
        part: list(_aligned([_cells(one) for one in rows]))
        for part, rows in groupby(compare(before, after), key=lambda one: one.part)
    }
    for name, networks in _both(before, after).items():
        if told := _told(*networks):
            parts.setdefault(name, []).extend(told)
    lines = [f"A  {before.label}", f"B  {after.label}", *_lost(before, after)]
    for part, rows in parts.items():
        lines += ["", part, *rows]
    return "\n".join(lines if parts else [*lines, "", "No difference."])


def page(before: Run, after: Run) -> str:
    """What was changed, then what it did, network by network."""
    differences = compare(before, after)
    command = shlex.join(["autox3d", "compare", before.name, after.name])
    source = Source(f"{before.label}, {after.label}", command)
    causes = Section("changed", "What was changed")
    effects = Section("did", "What it did")
    if not differences:
        causes.lead = "Nothing, as far as the runs say."
    for part, found in groupby(differences, key=lambda one: one.part):
        rows = [_cells(one) for one in found]
        section = causes if part in CAUSES else effects
        section.parts.append(Table(part, ("", "A", "B", "B less A"), rows, source))
    for name, (old, new) in _both(before, after).items():
        effects.parts += _figures(name, old, new, source)
    if lost := _lost(before, after):
        causes.parts.append(Listing("Not compared", "\n".join(lost), source))
    summary = f"A is {before.label}, B is {after.label}."
    return render("Two runs compared", summary, _key(before, after), [causes, effects])


def _key(before: Run, after: Run) -> list[tuple[str, str]]:
    """Each network's change in top-1, in points, and one standard error of it."""
    found = []
    for name, (old, new) in _both(before, after).items():
        if old.evaluation and new.evaluation and (error := chance(old, new)) is not None:
            change = new.evaluation["lcr"]["top1"] - old.evaluation["lcr"]["top1"]
            found.append((f"{name}, top-1, B less A", f"{100 * change:+.1f} ± {100 * error:.1f}"))
    return found


def _both(before: Run, after: Run) -> dict[str, tuple[Network, Network]]:
    """The networks that both runs have tested on labelled videos."""
    old, new = (
        {n.name: n for n in run.results.networks if n.evaluation and n.evaluation["labelled"]}
        for run in (before, after)
    )
    return {name: (old[name], new[name]) for name in old if name in new}


def _lost(before: Run, after: Run) -> list[str]:
    """What could not be compared, and how to get it."""
    return [
        f"{run.label}: {', '.join(run.lost)} not in DVC's cache. `dvc fetch` may bring them."
        for run in (before, after)
        if run.lost
    ]


def _cells(one: Difference) -> list[str]:
    change = "" if one.change is None else f"{one.change:+.4g}"
    return [one.name, written(one.before), written(one.after), change]


def written(value: Any) -> str:
    """A value as a person writes it; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    cut = [[c if len(c) <= WIDEST else f"{c[: WIDEST - 1]}…" for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    for row in cut:
        yield "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()


def _told(old: Network, new: Network) -> list[str]:
    """The classes that a difference comes from, and how sure it is; nothing where there is none."""
    found = class_figures.gained(shares(new), shares(old)).items()
    gaining = [(name, gain) for name, gain in found if gain > 0][:CLASSES]
    losing = [(name, gain) for name, gain in found if gain < 0][-CLASSES:]
    lines = [
        f"  Classes that {what} most: {', '.join(f'{name} {gain:+.3f}' for name, gain in rows)}."
        for what, rows in (("gain", gaining), ("lose", losing))
        if rows
    ]
    if lines and (error := chance(old, new)) is not None:
        lines.append(f"  One standard error of a difference in top-1: {error:.3f}.")
    return lines


def _figures(name: str, old: Network, new: Network, source: Source) -> Iterator[Part]:
    if old.curve is not None and new.curve is not None:
        svg = figures.beside({"A": old.curve, "B": new.curve}, "top1", "top-1")
        yield Figure(f"{name} in training", svg, "On the training clips.", source)
    gain = class_figures.gained(shares(new), shares(old))
    if any(gain.values()) and (error := chance(old, new)) is not None:
        caption = f"One standard error of a difference over all: {100 * error:.1f} points."
        shown, said = class_figures.extremes(gain)
        svg = class_figures.gains(shown, "B", "A")
        yield Figure(f"{name} by class", svg, f"{caption}{said}", source)
