"""The sections of the report; a missing file is named in its section, and is not an error."""

from __future__ import annotations

from collections.abc import Sequence

from autox3d.core import schema
from autox3d.core.records import Counts
from autox3d.core.scores import Evaluation
from autox3d.reporting import figures, results_table, splits
from autox3d.reporting.classes import classes, heat_maps, wrong
from autox3d.reporting.expansion import expansion
from autox3d.reporting.found import architecture
from autox3d.reporting.layout import (
    Element,
    Figure,
    Listing,
    Section,
    Source,
    Table,
    digits,
    source_of,
    sources_of,
)
from autox3d.reporting.papers import papers
from autox3d.reporting.parts import parts
from autox3d.reporting.results import Network, Results, Tested
from autox3d.reporting.search import search
from autox3d.reporting.studies import studies


def sections(results: Results) -> list[Section]:
    """All sections of the page, in their order."""
    return [
        accuracy(results),
        architecture(results),
        search(results),
        *parts(results),
        expansion(results),
        training(results),
        classes(results),
        wrong(results),
        heat_maps(results),
        studies(results),
        papers(results),
        data(results),
        origins(results),
    ]


def sections_of_one(results: Results) -> list[Section]:
    """The sections of a page without a search: first the network's mistakes."""
    return [
        classes(results),
        wrong(results),
        accuracy(results),
        training(results),
        heat_maps(results),
        papers(results),
        data(results),
        origins(results),
    ]


def accuracy(results: Results) -> Section:
    """Accuracy over cost of the networks that were tested."""
    section = Section("accuracy", "Accuracy and cost")
    evaluated = [n for n in results.networks if n.evaluation]
    source = sources_of(results.folder, "evaluate", [n.name for n in evaluated], ".json")
    section.missing = _missing(
        results, "evaluate", ".json", [n for n in results.networks if not n.evaluation]
    )
    if not results.networks:
        section.missing.append(f"{results.folder}/evaluate/*.json")
    tested = results.tested
    if len(tested) == 1:
        section.lead = _alone(tested[0])
    elif tested:
        section.lead = _protocol(tested[0].evaluation)
        section.elements += _over_cost(results, tested, source)
    if evaluated:
        every = results_table.rows(results, center=True)
        section.elements.append(Table("Results", results_table.head(results), every, source))
    section.elements += splits.side_by_side(results, tested, source)
    section.elements += splits.curves(tested, source)
    return section


def _protocol(first: Evaluation) -> str:
    """How the networks were tested, from the record of one of them."""
    if moments := _moments(first):
        return moments
    views = first.headline.views
    clips, crops = (views // 3, "three crops") if first.lcr else (views, "the centre crop")
    return (
        f"{first.labelled} {first.split} videos, {views} views each "
        f"({clips} clips by the rule '{first.rule}', {crops} each)."
    )


def _moments(first: Evaluation) -> str:
    """The same for a test that asked about boxes, one view a moment; empty for another."""
    counts = first.headline.metrics
    if "proposals" not in counts:
        return ""
    asked, real = (f"{counts[name] or 0:,.0f}" for name in ("proposals", "truth"))
    classes = sum(known is not None for known in first.per_class.values())
    return (
        f"{asked} boxes asked about and {real} annotated ones, of {classes} classes, at "
        f"{first.videos:,} moments of {first.split} films, a view each."
    )


def _alone(tested: Tested) -> str:
    """What one network costs, in words: a plot with one point would compare nothing."""
    evaluation, latency = tested.evaluation, tested.network.latency
    tested_on = _moments(evaluation) or (
        f"{evaluation.labelled} {evaluation.split} videos, {evaluation.headline.views} views each."
    )
    text = f"{tested_on} A view costs {digits(evaluation.gmacs(evaluation.crops))} G multiply-adds."
    if latency is None:
        return text
    seconds = latency.batched.median
    return (
        f"{text} The {latency.views} views of a video take {digits(1e3 * seconds)} ms without "
        f"decoding ({latency.made.device}, {latency.dtype})."
    )


def _over_cost(results: Results, tested: Sequence[Tested], source: Source) -> list[Element]:
    """The headline over multiply-adds, and over latency if it was measured."""
    points = [
        figures.Point(
            n.name, n.network.searched, n.evaluation.gmacs(n.evaluation.crops), n.headline
        )
        for n in tested
    ]
    chance = tested[0].chance
    crops = "left, centre, right crops" if tested[0].evaluation.lcr else "centre crop"
    label = f"G multiply-adds a view ({crops})"
    share = "the mean share of positives" if results.task.several else "the share of one class"
    caption = f"Above and to the left is better. Chance is {share}."
    svg = figures.accuracy_over(points, results.task.headline, chance, label)
    elements: list[Element] = [Figure("This project", svg, caption, source)]
    if any(n.network.latency for n in tested):
        elements.append(_over_time(results, tested, chance))
    return elements


def _over_time(results: Results, tested: Sequence[Tested], chance: float) -> Figure:
    """The headline over the latency of a video's views."""
    points, names, devices, views = [], [], set(), set()
    for n in tested:
        if (latency := n.network.latency) is None:
            continue
        seconds = latency.batched
        median, low, high = (1e3 * s for s in (seconds.median, seconds.low, seconds.high))
        points.append(figures.Point(n.name, n.network.searched, median, n.headline, (low, high)))
        names.append(n.name)
        devices.add(f"{latency.made.device} in {latency.dtype}")
        views.add(str(latency.views))
    label = f"ms for the {' or '.join(sorted(views))} views of a video, in batches"
    caption = f"Medians and quartiles, without decoding. Measured on {'; '.join(sorted(devices))}."
    source = sources_of(results.folder, "latency", names, ".json")
    svg = figures.accuracy_over(points, results.task.headline, chance, label)
    return Figure("This project, by the clock", svg, caption, source)


def training(results: Results) -> Section:
    """The curves of training and of the supernet's warm-up."""
    section = Section("training", "Training")
    curves = {n.name: n.curve for n in results.networks if n.curve is not None}
    section.missing = _missing(
        results, "train", ".csv", [n for n in results.networks if n.curve is None]
    )
    if not results.networks:
        section.missing.append(f"{results.folder}/train/*.csv")
    if curves:
        source = sources_of(results.folder, "train", list(curves), ".csv")
        svg = figures.training(curves, "loss", "loss, nats a clip", percent=False)
        section.elements.append(Figure("Loss", svg, "On the training clips.", source))
    metric = results.task.headline
    if judged := {name: curve for name, curve in curves.items() if metric.name in curve}:
        source = sources_of(results.folder, "train", list(judged), ".csv")
        svg = figures.training(judged, metric.name, metric.label, percent=metric.percent)
        caption = "On the training clips; dashed, on the validation videos from one view."
        section.elements.append(Figure("Accuracy", svg, caption, source))
    if results.warmup:
        svg = figures.by_epoch(results.warmup, {"loss": "loss"}, "loss, nats a clip", None)
        source = source_of(results.folder, "warmup", "warmup.csv")
        caption = "Mean over its draws."
        section.elements.append(Figure("Warm-up of the supernet", svg, caption, source))
    return section


def data(results: Results) -> Section:
    """The number of usable videos, and why the others are refused."""
    section = Section("data", "The videos")
    source = source_of(results.folder, "index", "data.json")
    if (account := results.data) is None:
        section.missing.append(source.files)
        return section
    total = account.total
    section.lead = (
        f"{total.usable} of {total.listed} videos are usable; {total.missing} missing, "
        f"{total.refused} refused."
    )
    counts = ("listed", "usable", "missing", "refused")
    rows = [_counts(name, of) for name, of in account.by_split.items()]
    section.elements.append(Table("By split", ("split", *counts), rows, source))
    reasons = [[name, str(count)] for name, count in account.refused_by_reason.items()]
    if reasons:
        section.elements.append(Table("Refused, by reason", ("reason", "videos"), reasons, source))
        refused = [[video.path, video.reason, video.message] for video in account.refused_videos]
        head = ("video", "reason", "what was found")
        section.elements.append(Table("Every refused video", head, refused, source, folded=True))
    rows = [_counts(name, of) for name, of in account.by_class.items()]
    section.elements.append(Table("By class", ("class", *counts), rows, source, folded=True))
    return section


def _counts(name: str, of: Counts) -> list[str]:
    return [name, *(f"{count:,}" for count in (of.listed, of.usable, of.missing, of.refused))]


def origins(results: Results) -> Section:
    """Provenance of the results, and all settings."""
    section = Section("origins", "How it was made")
    runs = {
        f"{part}: {name}": made
        for part, of in results.parts.items()
        for name, made in of.searches.items()
    }
    runs |= results.searches | {n.name: n.made for n in results.networks if n.made}
    runs |= results.study_runs | (results.expansion.made if results.expansion else {})
    made = {name: provenance.content() for name, provenance in runs.items()}
    if made:
        keys = list(dict.fromkeys(key for of in made.values() for key in of))
        rows = [[name, *(_made(key, of.get(key, "")) for key in keys)] for name, of in made.items()]
        source = Source(f"{results.folder}/**/*_made.json", "dvc repro")
        head = ("run", *(key.replace("_", " ") for key in keys))
        section.elements.append(Table("Training", head, rows, source))
    text = schema.dump(dict(results.settings))
    section.elements.append(Listing("All settings", text, Source("params.yaml")))
    return section


def _made(key: str, value: object) -> str:
    """A cell of the table of provenance: the share of waiting as "3 %"."""
    if key == "data_wait" and isinstance(value, float):
        return f"{100 * value:.0f} %"
    return str(value)


def _missing(results: Results, stage: str, end: str, networks: Sequence[Network]) -> list[str]:
    return [f"{results.folder}/{stage}/{network.name}{end}" for network in networks]
