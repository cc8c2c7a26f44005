"""The report's sections about classes: accuracy by class, confusions, and heat maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from autox3d.core.curves import Pair
from autox3d.core.records import ConfusedPair, ExplainedClip
from autox3d.reporting import class_figures as figures
from autox3d.reporting.class_figures import FEW
from autox3d.reporting.layout import (
    Element,
    Figure,
    Picture,
    Section,
    Sheet,
    Source,
    Table,
    source_of,
    sources_of,
)
from autox3d.reporting.results import Network, Results, Tested
from autox3d.vision.tasks.metric import Metric

PAIRS = 20  # of confused classes that are listed
VIDEOS = "Videos; shaded by the share of their class."
LABELS = "Labels; of a video with n labels the n best scores count, and what is missed is paired."


def classes(results: Results) -> Section:
    """Accuracy by class, gains over the baselines, and confusions."""
    section = Section("classes", "Class by class")
    tested = results.tested
    if not tested:
        section.missing.append(f"{results.folder}/evaluate/*.json")
        return section
    metric, names = results.task.headline.each, [n.name for n in tested]
    shares = {n.name: n.evaluation.per_class for n in tested}
    first = shares[names[0]]
    order = sorted(first, key=lambda name: (-(first[name] or 0), name))
    shown = {f"{metric.title} of each class": order}
    if len(order) > 2 * FEW:
        shown = {f"The {FEW} best of {len(first)} classes": order[:FEW]}
        shown[f"The {FEW} worst of {len(first)} classes"] = order[-FEW:]
    source = sources_of(results.folder, "evaluate", names, ".json")
    caption = f"In the order of {names[0]}, all views together."
    for title, some in shown.items():
        svg = figures.per_class(shares, some, metric)
        section.elements.append(Figure(title, svg, caption, source))
    for name in [n.name for n in tested[1:] if not n.network.searched]:
        source = sources_of(results.folder, "evaluate", [names[0], name], ".json")
        section.elements.append(gain(shares, names[0], name, metric, source))
    section.elements += [_worst(results, n) for n in tested if n.evaluation.curves]
    section.elements += _confused(results, tested)
    return section


def _worst(results: Results, tested: Tested) -> Figure:
    """Precision over recall of the classes that a network ranks worst."""
    source = source_of(results.folder, "evaluate", f"evaluate/{tested.name}.json")
    svg = figures.precision_over_recall(tested.evaluation.curves, tested.name)
    caption = "At the rank of each positive; in brackets, their number."
    return Figure(f"The worst classes of {tested.name}", svg, caption, source)


def gain(
    shares: Mapping[str, figures.Shares], ours: str, theirs: str, metric: Metric, source: Source
) -> Figure:
    """The classes in which one network is better than another; of many, the extremes."""
    by_class = figures.gained(shares[ours], shares[theirs])
    ahead, behind = (sum(sign * x > 0 for x in by_class.values()) for sign in (1, -1))
    caption = (
        f"{ours} is ahead in {ahead} classes, behind in {behind}, level in "
        f"{len(by_class) - ahead - behind}."
    )
    shown, note = figures.extremes(by_class)
    svg = figures.gains(shown, ours, theirs, metric)
    return Figure(f"{ours} over {theirs}", svg, f"{caption}{note}", source)


def _confused(results: Results, tested: Sequence[Tested]) -> list[Element]:
    """A matrix for each network if it is small enough to read, and the most confused pairs."""
    elements: list[Element] = []
    rows: list[list[str]] = []
    names: list[str] = []
    for network, evaluation, _ in tested:
        if network.confusion is None:
            continue
        names.append(network.name)
        if len(evaluation.per_class) <= FEW:
            source = source_of(results.folder, "evaluate", f"evaluate/{network.name}_confusion.csv")
            caption = LABELS if results.task.several else VIDEOS
            svg = figures.confusion(network.confusion, list(evaluation.per_class), network.name)
            elements.append(Figure(f"Confusion of {network.name}", svg, caption, source))
        rows += [[network.name, *row] for row in confused_pairs(network.confusion)]
    if rows:
        source = sources_of(results.folder, "evaluate", names, "_confusion.csv")
        head = ("network", "actual", "predicted", "videos", "of")
        elements.append(Table("Most confused", head, rows, source, folded=bool(elements)))
    return elements


def confused_pairs(pairs: Sequence[Pair]) -> list[list[str]]:
    """Actual, predicted, videos, and how many the actual class has; most videos first."""
    totals = Counter(pair.actual for pair in pairs)
    counts = Counter(pair for pair in pairs if pair.actual != pair.predicted)
    most = sorted(counts.items(), key=lambda row: -row[1])[:PAIRS]  # ties as they came
    return [
        [pair.actual, pair.predicted, str(videos), str(totals[pair.actual])]
        for pair, videos in most
    ]


def heat_maps(results: Results) -> Section:
    """Grad-CAM heat maps for a few clips; an empty section if the settings list no network."""
    section = Section("looked", "Where it looked")
    explained = [n for n in results.networks if n.explained]
    if not explained:
        if results.settings.get("explain", {}).get("networks") != []:
            section.missing.append(f"{results.folder}/explain/*.json")
        return section
    section.lead = (
        "Centre clips of test videos, first frame to last, and below them the same frames lit "
        "where Grad-CAM finds what speaks for a class behind the last group: evidence, not "
        "attention, and as coarse as that group's cells."
    )
    section.elements += _when(results, explained)
    for network in explained:
        assert network.explained
        source = source_of(
            results.folder, f"explain@{network.name}", f"explain/{network.name}.json"
        )
        clips = network.explained.right
        section.elements += _row(_clip(network.name, clip, source) for clip in clips)
        for pair in network.explained.confused:
            section.elements += _row(_mistake(network.name, pair, source))
    return section


def wrong(results: Results) -> Section:
    """The videos that the networks get wrong, the largest loss first; empty without any."""
    section = Section("wrong", "What it gets wrong")
    for network in results.networks:
        if network.explained is None or not (videos := network.explained.wrong):
            continue
        source = source_of(
            results.folder, f"explain@{network.name}", f"explain/{network.name}.json"
        )
        items = [
            (
                one.picture,
                f"{one.key}: is {one.actual}, {network.name} says {one.predicted} "
                f"({one.score:.2f}). Loss {one.loss:.1f} nats.",
            )
            for one in videos
        ]
        caption = "A video that surely is what the network says has a wrong label."
        section.elements.append(
            Sheet(f"The worst mistakes of {network.name}", items, caption, source)
        )
    if section.elements:
        section.lead = (
            "Test videos with the largest loss first: how little the network expects the label."
        )
    return section


def _when(results: Results, explained: Sequence[Network]) -> list[Element]:
    """The evidence by frame, mean over the clips that are classified correctly."""
    clips = {n.name: n.explained.right for n in explained if n.explained}
    means = {
        name: np.mean([clip.by_frame for clip in right], axis=0).tolist()
        for name, right in clips.items()
        if right
    }
    if not means:
        return []
    source = sources_of(results.folder, "explain", list(means), ".json")
    caption = "Mean over the clips below that are told rightly; 1 where all frames say as much."
    return [Figure("When", figures.when(means), caption, source)]


def _clip(name: str, clip: ExplainedClip, source: Source, title: str = "") -> Picture:
    """A clip with its heat maps, and the class that was predicted."""
    peak = 1 + max(range(len(clip.by_frame)), key=clip.by_frame.__getitem__)
    lit = " and, below, for ".join(clip.lit)
    wrong = clip.actual not in (None, clip.predicted)
    answer = clip.predicted + (f", but is {clip.actual}" if wrong else "")
    alt = (
        f"{len(clip.shown)} frames of {clip.key}, which {name} says is {answer}; lit where "
        f"it saw what speaks for {lit}, most in frame {peak} of {len(clip.by_frame)}."
    )
    caption = f"{clip.key}; score {clip.score:.2f}. Lit for {lit}."
    title = title or f"{name} sees {clip.predicted}"
    return Picture(title, clip.picture, alt, caption, source)


def _mistake(name: str, pair: ConfusedPair, source: Source) -> Iterator[Picture]:
    """A mistake, and if there is one, a correct example of the class that was predicted."""
    title = f"{name} takes {pair.actual} for {pair.predicted}, {pair.videos} of {pair.of}"
    titles = (title, f"{name} sees {pair.predicted} rightly")
    for title, clip in zip(titles, pair.clips, strict=False):
        yield _clip(name, clip, source, title)


def _row(pictures: Iterable[Picture]) -> list[Picture]:
    """Puts pictures into one row."""
    return [picture._replace(first=number == 0) for number, picture in enumerate(pictures)]
