"""What the page says, part by part. What is not there yet is named, not an error."""

from __future__ import annotations

from collections.abc import Sequence

from autox3d.core import schema
from autox3d.reporting import figures, table
from autox3d.reporting.classes import classes, looked
from autox3d.reporting.layout import (
    Figure,
    Listing,
    Part,
    Section,
    Source,
    Table,
    source_of,
    sources_of,
)
from autox3d.reporting.results import Network, Published, Results, published
from autox3d.reporting.search import architecture, search


def sections(results: Results) -> list[Section]:
    """The whole page."""
    return [
        accuracy(results),
        architecture(results),
        search(results),
        training(results),
        classes(results),
        looked(results),
        data(results),
        origins(results),
    ]


def accuracy(results: Results) -> Section:
    section = Section("accuracy", "Accuracy and cost")
    tested = [n for n in results.networks if n.evaluation]
    source = sources_of(results.folder, "evaluate", [n.name for n in tested], ".json")
    section.missing = _missing(
        results, "evaluate", ".json", [n for n in results.networks if n not in tested]
    )
    labelled = [n for n in tested if n.evaluation and n.evaluation["labelled"]]
    if labelled:
        first = labelled[0].evaluation or {}
        section.lead = (
            f"{first['labelled']} {first['split']} videos, {first['lcr']['views']} views each "
            f"({first['lcr']['views'] // 3} clips by the rule '{first['rule']}', three crops each)."
        )
        section.parts += _over_cost(results, labelled, 1 / len(first["per_class"]), source)
    rows = published()
    section.parts.append(_papers(rows))
    if tested:
        both = table.rows(tested, ("lcr", "center"))
        section.parts.append(Table("Results", table.HEAD, both, source))
    if any(len(n.evaluation["k_clips"]) > 2 for n in labelled if n.evaluation):
        caption = (
            "A point for each number of clips (X3D, Figures 3 and A.4): left over a linear axis, "
            f"right over a logarithmic one. Numbers: clips of {labelled[0].name}."
        )
        for crops, what in (("center", "centre crop"), ("lcr", "three crops")):
            svg = figures.clips_over_cost(labelled, crops)
            section.parts.append(Figure(f"More clips, {what}", svg, caption, source, wide=True))
    section.parts.append(_printed(rows))
    return section


def _over_cost(
    results: Results, labelled: Sequence[Network], chance: float, source: Source
) -> list[Part]:
    """Over multiply-adds, and over the time that was measured."""
    tests = {n.name: n.evaluation for n in labelled if n.evaluation}
    points = [
        figures.Point(n.name, n.found, tests[n.name]["gmacs_lcr"], tests[n.name]["lcr"]["top1"])
        for n in labelled
    ]
    label = "G multiply-adds a view (left, centre, right crops)"
    caption = "Above and to the left is better. Chance is the share of one class."
    parts: list[Part] = [
        Figure("This project", figures.accuracy_over(points, chance, label), caption, source)
    ]
    if timed := [n for n in labelled if n.latency]:
        parts.append(_over_time(results, timed, chance))
    return parts


def _over_time(results: Results, timed: Sequence[Network], chance: float) -> Figure:
    points, devices, views = [], set(), set()
    for network in timed:
        tests, latency = network.evaluation or {}, network.latency or {}
        median, low, high = (1e3 * latency["batched"][key] for key in ("median", "low", "high"))
        point = figures.Point(network.name, network.found, median, tests["lcr"]["top1"])
        points.append(point._replace(spread=(low, high)))
        devices.add(f"{latency['device']} in {latency['dtype']}")
        views.add(str(latency["views"]))
    label = f"ms for the {' or '.join(sorted(views))} views of a video, in batches"
    caption = f"Medians and quartiles, without decoding. Measured on {'; '.join(sorted(devices))}."
    source = sources_of(results.folder, "latency", [n.name for n in timed], ".json")
    svg = figures.accuracy_over(points, chance, label)
    return Figure("This project, by the clock", svg, caption, source)


ORIGIN = Source("src/autox3d/reporting/published.yaml")


def _papers(rows: Sequence[Published]) -> Figure:
    caption = (
        "Published on Kinetics-400, 30 views: other data and other training, so not to be compared "
        "with the figure of this project. Costs as the papers print them."
    )
    svg = figures.published_over_cost(rows)
    return Figure("The papers, on Kinetics-400", svg, caption, ORIGIN)


def _printed(rows: Sequence[Published]) -> Table:
    cells = [
        [r.network, str(r.views), f"{r.top1:.1f}", f"{r.gmacs:g}", f"{r.params_m:g}", r.source]
        for r in rows
    ]
    head = ("network", "views", "top-1, %", "GMACs a view", "parameters, M", "source")
    return Table("Published on Kinetics-400", head, cells, ORIGIN, folded=True)


def training(results: Results) -> Section:
    section = Section("training", "Training")
    trained = [n for n in results.networks if n.curve is not None]
    source = sources_of(results.folder, "train", [n.name for n in trained], ".csv")
    section.missing = _missing(
        results, "train", ".csv", [n for n in results.networks if n not in trained]
    )
    if trained:
        svg = figures.training(trained, "loss", "loss, nats a clip")
        section.parts.append(Figure("Loss", svg, "On the training clips.", source))
        svg = figures.training(trained, "top1", "top-1")
        caption = "On the training clips; dashed, on the validation videos from one view."
        section.parts.append(Figure("Accuracy", svg, caption, source))
    if results.warmup is not None and not results.warmup.empty:
        svg = figures.by_epoch(results.warmup, {"loss": "loss"}, "loss, nats a clip", None)
        source = source_of(results.folder, "warmup", "warmup.csv")
        section.parts.append(Figure("Warm-up of the supernet", svg, "Mean over its draws.", source))
    return section


def data(results: Results) -> Section:
    section = Section("data", "The videos")
    source = source_of(results.folder, "index", "data.json")
    if (found := results.data) is None:
        section.missing.append(source.files)
        return section
    section.lead = (
        "{usable} of {listed} videos are usable; {missing} missing, {refused} refused.".format(
            **found
        )
    )
    head = ("split", "listed", "usable", "missing", "refused")
    rows = [_counts(name, of) for name, of in found["by_split"].items()]
    section.parts.append(Table("By split", head, rows, source))
    reasons = [[name, str(count)] for name, count in found["refused_by_reason"].items()]
    if reasons:
        section.parts.append(Table("Refused, by reason", ("reason", "videos"), reasons, source))
        refused = [[v["path"], v["reason"], v["message"]] for v in found["refused_videos"]]
        head = ("video", "reason", "what was found")
        section.parts.append(Table("Every refused video", head, refused, source, folded=True))
    rows = [_counts(of["class"], of) for of in found["by_class"]]
    head = ("class", "listed", "usable", "missing", "refused")
    section.parts.append(Table("By class", head, rows, source, folded=True))
    return section


def _counts(name: str, of: dict[str, int]) -> list[str]:
    return [name, *(f"{of[key]:,}" for key in ("listed", "usable", "missing", "refused"))]


def origins(results: Results) -> Section:
    """Settings and versions."""
    section = Section("origins", "How it was made")
    made = results.searched | {n.name: n.made for n in results.networks if n.made}
    if made:
        keys = list(dict.fromkeys(key for of in made.values() for key in of))
        rows = [[name, *(str(of.get(key, "")) for key in keys)] for name, of in made.items()]
        source = Source(f"{results.folder}/**/*_made.json", "dvc repro")
        section.parts.append(Table("Training", ("run", *keys), rows, source))
    text = schema.dump(dict(results.settings))
    section.parts.append(Listing("All settings", text, Source("params.yaml")))
    return section


def _missing(results: Results, stage: str, end: str, networks: Sequence[Network]) -> list[str]:
    return [f"{results.folder}/{stage}/{network.name}{end}" for network in networks]
