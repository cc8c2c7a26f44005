"""What the page says, part by part. What is not there yet is named, not an error."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from autox3d import yamlfile
from autox3d.report import figures, table
from autox3d.report.found import architecture, search
from autox3d.report.layout import Figure, Listing, Section, Source, Table, source_of
from autox3d.report.results import Network, Published, Results, published

FEW = 30  # classes that one confusion matrix can show
PAIRS = 20  # of confused classes that are listed


def sections(results: Results) -> list[Section]:
    """The whole page."""
    return [
        accuracy(results),
        architecture(results),
        search(results),
        training(results),
        classes(results),
        data(results),
        origins(results),
    ]


def accuracy(results: Results) -> Section:
    section = Section("accuracy", "Accuracy and cost")
    tested = [n for n in results.networks if n.evaluation]
    source = _sources(results, "evaluate", tested, ".json")
    section.missing = _missing(
        results, "evaluate", ".json", [n for n in results.networks if n not in tested]
    )
    labelled = [n for n in tested if n.evaluation and n.evaluation["labelled"]]
    if labelled:
        first = labelled[0].evaluation or {}
        chance = 1 / len(first["per_class"])
        section.lead = (
            f"{first['labelled']} {first['split']} videos, {first['lcr']['views']} views each "
            f"({first['lcr']['views'] // 3} clips by the rule '{first['rule']}', three crops each)."
        )
        caption = "Above and to the left is better. Chance is the share of one class."
        section.parts.append(
            Figure("This project", figures.accuracy_over_cost(labelled, chance), caption, source)
        )
    rows = published()
    section.parts.append(_papers(rows))
    if tested:
        both = table.rows(tested, ("lcr", "center"))
        section.parts.append(Table("Results", table.HEAD, both, source))
    if any(len(n.evaluation["k_clips"]) > 2 for n in labelled if n.evaluation):
        for crops, what in (("center", "centre crop"), ("lcr", "three crops")):
            svg = figures.clips_over_cost(labelled, crops)
            caption = "A point for each number of clips (X3D, Figure 3)."
            section.parts.append(Figure(f"More clips, {what}", svg, caption, source))
    section.parts.append(_printed(rows))
    return section


ORIGIN = Source("src/autox3d/report/published.yaml")


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
    source = _sources(results, "train", trained, ".csv")
    section.missing = _missing(
        results, "train", ".csv", [n for n in results.networks if n not in trained]
    )
    if trained:
        svg = figures.training(trained, "loss", "loss, nats a clip")
        section.parts.append(Figure("Loss", svg, "On the training clips.", source))
        svg = figures.training(trained, "top1", "top-1")
        caption = "On the training clips; dashed, on the validation videos from one view."
        section.parts.append(Figure("Accuracy", svg, caption, source))
    if results.warmup is not None:
        svg = figures.by_epoch(results.warmup, {"loss": "loss"}, "loss, nats a clip", None)
        source = source_of(results.folder, "warmup", "warmup.csv")
        section.parts.append(Figure("Warm-up of the supernet", svg, "Mean over its draws.", source))
    return section


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
    source = _sources(results, "evaluate", tested, ".json")
    caption = f"In the order of {tested[0].name}, all views together."
    for title, names in shown.items():
        section.parts.append(Figure(title, figures.per_class(shares, names), caption, source))
    section.parts += [part for network in tested for part in _confused(results, network)]
    return section


def _confused(results: Results, network: Network) -> list[Figure | Table]:
    """The matrix where it can be read; else the pairs that are confused most."""
    if network.confusion is None or not network.evaluation:
        return []
    source = source_of(results.folder, "evaluate", f"evaluate/{network.name}_confusion.csv")
    names = [row["class"] for row in network.evaluation["per_class"]]
    if len(names) <= FEW:
        counts = pd.crosstab(network.confusion["actual"], network.confusion["predicted"])
        counts = counts.reindex(index=names, columns=names, fill_value=0)
        caption = "Videos; shaded by the share of their class."
        svg = figures.confusion(counts, network.name)
        return [Figure(f"Confusion of {network.name}", svg, caption, source)]
    wrong = network.confusion[network.confusion["actual"] != network.confusion["predicted"]]
    pairs = wrong.value_counts(["actual", "predicted"]).head(PAIRS).reset_index()
    rows = [[str(cell) for cell in row] for row in pairs.to_numpy().tolist()]
    title = f"Most confused by {network.name}"
    return [Table(title, ("actual", "predicted", "videos"), rows, source, folded=True)]


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
    text = yamlfile.dump(dict(results.settings))
    section.parts.append(Listing("All settings", text, Source("params.yaml")))
    return section


def _sources(results: Results, stage: str, networks: Sequence[Network], end: str) -> Source:
    """results/train/{s,m,l}.csv"""
    names = [network.name for network in networks]
    middle = names[0] if len(names) == 1 else f"{{{','.join(names)}}}"
    return source_of(results.folder, stage, f"{stage}/{middle}{end}")


def _missing(results: Results, stage: str, end: str, networks: Sequence[Network]) -> list[str]:
    return [f"{results.folder}/{stage}/{network.name}{end}" for network in networks]
