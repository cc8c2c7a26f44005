"""What the page says of the classes, and of what the networks saw in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from autox3d.reporting import class_figures as figures
from autox3d.reporting.class_figures import FEW
from autox3d.reporting.layout import (
    Figure,
    Part,
    Picture,
    Section,
    Source,
    Table,
    source_of,
    sources_of,
)
from autox3d.reporting.results import Network, Results

PAIRS = 20  # of confused classes that are listed


def classes(results: Results) -> Section:
    section = Section("classes", "Class by class")
    tested = [n for n in results.networks if n.evaluation and n.evaluation["labelled"]]
    if not tested:
        section.missing.append(f"{results.folder}/evaluate/*.json")
        return section
    shares = {
        n.name: {row["class"]: row["top1"] for row in n.evaluation["per_class"]}
        for n in tested
        if n.evaluation
    }
    first = shares[tested[0].name]
    order = sorted(first, key=lambda name: (-(first[name] or 0), name))
    shown = {"Top-1 of each class": order}
    if len(order) > 2 * FEW:
        shown = {f"The {FEW} best of {len(first)} classes": order[:FEW]}
        shown[f"The {FEW} worst of {len(first)} classes"] = order[-FEW:]
    source = sources_of(results.folder, "evaluate", [n.name for n in tested], ".json")
    caption = f"In the order of {tested[0].name}, all views together."
    for title, names in shown.items():
        section.parts.append(Figure(title, figures.per_class(shares, names), caption, source))
    baselines = [n.name for n in tested if not n.found and n is not tested[0]]
    for name in baselines:
        source = sources_of(results.folder, "evaluate", [tested[0].name, name], ".json")
        section.parts.append(gain(shares, tested[0].name, name, source))
    section.parts += _confused(results, tested)
    return section


def gain(shares: Mapping[str, figures.Shares], ours: str, theirs: str, source: Source) -> Figure:
    """Which classes one network tells better than another; of many, those that differ most."""
    found = figures.gained(shares[ours], shares[theirs])
    ahead, behind = (sum(sign * x > 0 for x in found.values()) for sign in (1, -1))
    caption = (
        f"{ours} is ahead in {ahead} classes, behind in {behind}, level in "
        f"{len(found) - ahead - behind}."
    )
    shown, said = figures.extremes(found)
    svg = figures.gains(shown, ours, theirs)
    return Figure(f"{ours} over {theirs}", svg, f"{caption}{said}", source)


def _confused(results: Results, tested: Sequence[Network]) -> list[Part]:
    """A matrix each where it can be read, and the pairs that are confused most."""
    parts: list[Part] = []
    pairs: list[list[str]] = []
    there = [n for n in tested if n.confusion is not None]
    for network in there:
        assert network.confusion is not None
        assert network.evaluation
        names = [row["class"] for row in network.evaluation["per_class"]]
        if len(names) <= FEW:
            counts = pd.crosstab(network.confusion["actual"], network.confusion["predicted"])
            counts = counts.reindex(index=names, columns=names, fill_value=0)
            source = source_of(results.folder, "evaluate", f"evaluate/{network.name}_confusion.csv")
            caption = "Videos; shaded by the share of their class."
            svg = figures.confusion(counts, network.name)
            parts.append(Figure(f"Confusion of {network.name}", svg, caption, source))
        pairs += [[network.name, *row] for row in confused_pairs(network.confusion)]
    if pairs:
        ends = sources_of(results.folder, "evaluate", [n.name for n in there], "_confusion.csv")
        head = ("network", "actual", "predicted", "videos", "of")
        parts.append(Table("Most confused", head, pairs, ends, folded=bool(parts)))
    return parts


def confused_pairs(confusion: pd.DataFrame) -> list[list[str]]:
    """Actual, predicted, videos, and how many the actual class has; most videos first."""
    totals = confusion["actual"].value_counts()
    wrong = confusion[confusion["actual"] != confusion["predicted"]]
    counts = wrong.value_counts(["actual", "predicted"], sort=False).reset_index(name="videos")
    order = counts.sort_values("videos", ascending=False, kind="stable").head(PAIRS)
    return [
        [str(actual), str(predicted), str(videos), str(totals[actual])]
        for actual, predicted, videos in order.itertuples(index=False)
    ]


def looked(results: Results) -> Section:
    section = Section("looked", "Where it looked")
    explained = [n for n in results.networks if n.explained]
    if not explained:
        section.missing.append(f"{results.folder}/explain/*.json")
        return section
    section.lead = (
        "Centre clips of test videos, first frame to last, and below them the same frames lit "
        "where Grad-CAM finds what speaks for a class behind the last group: evidence, not "
        "attention, and as coarse as that group's cells."
    )
    section.parts += _when(results, explained)
    for network in explained:
        found = network.explained or {}
        source = source_of(
            results.folder, f"explain@{network.name}", f"explain/{network.name}.json"
        )
        section.parts += _row(_seen(network.name, clip, source) for clip in found["right"])
        for pair in found["confused"]:
            section.parts += _row(_mistaken(network.name, pair, source))
    return section


def _when(results: Results, explained: Sequence[Network]) -> list[Part]:
    """The evidence by frame, mean over the clips that are told rightly."""
    found = {n.name: (n.explained or {})["right"] for n in explained}
    means = {
        name: np.mean([clip["by_frame"] for clip in clips], axis=0).tolist()
        for name, clips in found.items()
        if clips
    }
    if not means:
        return []
    source = sources_of(results.folder, "explain", list(means), ".json")
    caption = "Mean over the clips below that are told rightly; 1 where all frames say as much."
    return [Figure("When", figures.when(means), caption, source)]


def _seen(name: str, clip: dict[str, Any], source: Source, title: str = "") -> Picture:
    """A clip with what it was taken for."""
    peak = 1 + max(range(len(clip["by_frame"])), key=clip["by_frame"].__getitem__)
    lit = " and, below, for ".join(clip["lit"])
    wrong = clip["actual"] not in (None, clip["predicted"])
    said = clip["predicted"] + (f", but is {clip['actual']}" if wrong else "")
    alt = (
        f"{len(clip['shown'])} frames of {clip['key']}, which {name} says is {said}; lit where "
        f"it saw what speaks for {lit}, most in frame {peak} of {len(clip['by_frame'])}."
    )
    caption = f"{clip['key']}; score {clip['score']:.2f}. Lit for {lit}."
    title = title or f"{name} sees {clip['predicted']}"
    return Picture(title, clip["picture"], alt, caption, source)


def _mistaken(name: str, pair: dict[str, Any], source: Source) -> Iterator[Picture]:
    """A mistake, and a right answer of the class that it was taken for, if there is one."""
    title = (
        f"{name} takes {pair['actual']} for {pair['predicted']}, {pair['videos']} of {pair['of']}"
    )
    titles = (title, f"{name} sees {pair['predicted']} rightly")
    for title, clip in zip(titles, pair["clips"], strict=False):
        yield _seen(name, clip, source, title)


def _row(pictures: Iterable[Picture]) -> list[Picture]:
    """The first one begins a row."""
    return [picture._replace(first=number == 0) for number, picture in enumerate(pictures)]
