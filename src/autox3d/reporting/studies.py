"""The report's section about the studies, with the papers' numbers for comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.core.origin import run_again
from autox3d.core.search_records import SUPERNET, StudyRecord, StudyRow
from autox3d.reporting.layout import Element, Figure, Section, Source, Table, source_of
from autox3d.reporting.papers import dataset_of
from autox3d.reporting.published import Published, of_study
from autox3d.reporting.results import Results
from autox3d.reporting.svg import BLUE, INK, MUTED, ORANGE, axes, drawing, legend, percents
from autox3d.vision.tasks import task as tasks
from autox3d.vision.tasks.metric import Metric

TITLES = {
    "attention": "attention alone",
    "beta": "the weight of the cost",
    "budgets": "how the multiplier holds a budget",
    "channels": "fair against naive channels",
    "random_networks": "random networks of the same cost",
    "ranking": "whether the supernet ranks as training does",
    "seeds": "seeds and null controls",
    "targets": "the cost that was asked for",
    "trainings": "each network with several seeds",
}
COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {  # number -> head of its column, text
    "gmacs": ("G multiply-adds", "{:.4g}".format),
    "expected_gmacs": ("of a draw, expected", "{:.4g}".format),
    "target_gmacs": ("asked for, G", "{:.4g}".format),
    "off_target": ("off", "{:+.1%}".format),
    "expected_off": ("a draw, expected, off", "{:+.1%}".format),
    "mode_off": ("the mode, off", "{:+.1%}".format),
    "window_nats": ("cost of the window, nats", "{:.2f}".format),
    "multiplier": ("lambda", "{:.2f}".format),
    "probability": ("probability", "{:.2g}".format),
    "loss": ("loss, nats a clip", "{:.2f}".format),
    f"{SUPERNET}log_likelihood": ("as a path of the supernet, nats a video", "{:.3f}".format),
    "log_likelihood_random": ("after random paths, nats a video", "{:.3f}".format),
    "log_likelihood_strict": ("after strictly fair paths, nats a video", "{:.3f}".format),
    "log_likelihood_naive": ("after random naive paths, nats a video", "{:.3f}".format),
    "log_likelihood_sandwich": ("after the sandwich, nats a video", "{:.3f}".format),
}
SHARES = {"low": "95 %, from", "high": "to", "validated": "on validation"}  # as the headline
IN_NAMES = {"beta", "seed"}  # numbers that the rows are called by
EPOCHS, UNITS, TEMPORAL = "gmacs by epoch", "P(unit)", "P(temporal)"


def studies(results: Results) -> Section:
    """The results of the studies; an empty section if there are none.

    Raises:
        Refused: a file lacks a number of its kind.
    """
    section = Section("studies", "Studies of the search")
    if results.studies:
        section.lead = (
            "Many searches and trainings that differ in one thing, on the clips of this project."
        )
    dataset = dataset_of(results)
    for name, record in results.studies.items():
        source = source_of(results.folder, f"study@{name}", f"studies/{name}.json")
        try:
            section.elements += elements(record, source, dataset)
        except KeyError as error:
            path = Path(source.files)
            raise Refused(f"{path}: missing number {error}. {run_again(path)}") from error
    return section


def elements(record: StudyRecord, source: Source, dataset: str | None = None) -> list[Element]:
    """The figure of a study if its kind has one, and its table, with the numbers of `dataset`."""
    metric = tasks.named(record.task).headline
    name = record.study.replace("_", " ")
    name = f"{name[:1].upper()}{name[1:]}"
    title = f"{name}: {TITLES.get(record.kind, record.kind)}"
    found: list[Element] = []
    if figure := FIGURES.get(record.kind):
        found.append(figure(record, title, metric, source))
        title = f"{name}, in numbers"
    if record.kind == "seeds":
        title += f", which agree on {100 * (record.numbers['agreement'] or 0):.0f} % of the choices"
    if record.kind == "ranking":
        title += f". Kendall's tau and its 95 % interval: {taus(record)}"
    found.append(Table(title, *numbers(record, metric, of_study(record.kind, dataset)), source))
    if record.kind == "trainings":
        found.append(Table(f"{name}: differences on the same videos", *paired(record), source))
    return found + [
        Table(f"{name}, {row.name}: {what}", *listed(row, what), source, folded=True)
        for row in record.rows
        for what in row.series
        if what == UNITS or what.startswith("uses of")
    ]


def taus(record: StudyRecord) -> str:
    """Kendall's tau between training and each other order, the cost's as a control."""
    names = {
        "cost": "the cheapest first",
        "random": "random paths",
        "strict": "strictly fair paths",
    }
    texts = []
    for name, what in names.items():
        tau, low, high = (
            record.numbers[f"tau_{name}{end}"] or 0.0 for end in ("", "_low", "_high")
        )
        texts.append(f"{what} {tau:.2f} ({low:.2f} to {high:.2f})")
    return ", ".join(texts)


def numbers(
    record: StudyRecord, metric: Metric, papers: Mapping[str, Published]
) -> tuple[Sequence[str], list[list[str]]]:
    """Header and rows of a study's table: all numbers of its rows, then those of the papers."""
    keys = [key for row in record.rows for key in row.numbers if key not in IN_NAMES]
    keys = list(dict.fromkeys(keys))
    groups = _groups(record)
    head = ["", *(_head(key, metric) for key in keys), *(f"group {group}" for group in groups)]
    head += [f"published: {what}" for what in _printed(papers)]
    rows = []
    for row in record.rows:
        cells = [_cell(key, row.numbers.get(key), metric) for key in keys]
        chances = dict(zip(row.series.get("group", ()), row.series.get(TEMPORAL, ()), strict=True))
        cells += [f"{chances[group]:.3f}" for group in groups]
        cells += [cell(papers.get(row.name)) for cell in _printed(papers).values()]
        rows.append([row.name, *cells])
    return head, rows


def paired(record: StudyRecord) -> tuple[Sequence[str], list[list[str]]]:
    """Header and rows of the differences between networks, averaged over seeds, in points."""
    rows = []
    for key, mean in record.numbers.items():
        low, high = (record.numbers.get(f"{key}, {end}") for end in ("low", "high"))
        if None not in (mean, low, high):
            cells = [f"{100 * (value or 0.0):+.1f}" for value in (mean, low, high)]
            rows.append([key, cells[0], f"{cells[1]} to {cells[2]}"])
    return ("", "mean over the seeds, points", "95 %, over videos"), rows


def listed(row: StudyRow, what: str) -> tuple[Sequence[str], list[list[str]]]:
    """Header and rows of a table of series: units by block, or uses by part."""
    values = row.series[what]
    if what == UNITS:
        blocks = row.series["block"]
        return ("block", what), [
            [f"{block:g}", f"{chance:.3f}"] for block, chance in zip(blocks, values, strict=True)
        ]
    return ("part", "candidates"), [[str(n), f"{uses:g}"] for n, uses in enumerate(values, 1)]


def _groups(record: StudyRecord) -> list[float]:
    """The groups whose kernels are searched, if the study lists them."""
    return sorted({group for row in record.rows for group in row.series.get("group", ())})


def _head(key: str, metric: Metric) -> str:
    if key == metric.name:
        return metric.head
    if key == f"{SUPERNET}{metric.name}":
        return f"as a path of the supernet, {metric.head}"
    if key in SHARES:
        return SHARES[key]
    return COLUMNS[key][0] if key in COLUMNS else key


def _cell(key: str, value: float | None, metric: Metric) -> str:
    if value is None:
        return "-"
    if key.removeprefix(SUPERNET) in (metric.name, *SHARES):
        return metric.cell(value)
    return COLUMNS[key][1](value) if key in COLUMNS else f"{value:.4g}"


def _printed(
    papers: Mapping[str, Published],
) -> dict[str, Callable[[Published | None], str]]:
    """The columns that the papers print for this kind, each with its text for a row."""

    def gmacs(row: Published | None) -> str:
        return f"{row.gmacs:g}" if row and row.gmacs is not None else "-"

    def top1(row: Published | None) -> str:
        return f"{row.top1:.1f}" if row and row.top1 is not None else "-"

    columns: dict[str, Callable[[Published | None], str]] = {}
    if any(row.gmacs is not None for row in papers.values()):
        columns["G"] = gmacs
    if any(row.top1 is not None for row in papers.values()):
        columns[tasks.named("classify").headline.head] = top1
    return columns


def costs_by_epoch(record: StudyRecord, title: str, _metric: Metric, source: Source) -> Figure:
    """The cost of the most probable network by epoch, one curve per search."""
    curves = {row.name: row.series[EPOCHS] for row in record.rows}
    last = ", ".join(f"{name} {values[-1]:.3g}" for name, values in curves.items())
    alt = f"G multiply-adds of the most probable network by epoch; at the end: {last}."
    with drawing(alt) as drawn:
        plot = axes(drawn, "epoch", "G multiply-adds")
        for name, values in curves.items():
            plot.plot(range(1, len(values) + 1), values, label=name)
        for name in ("floor_gmacs", "target_gmacs"):
            if (asked := record.numbers.get(name)) is not None:
                label = name.removesuffix("_gmacs")
                plot.axhline(asked, color=MUTED, linewidth=1, linestyle="--", label=label)
        plot.set_ylim(bottom=0)
        legend(plot)
    return Figure(title, drawn.svg, CAPTIONS[record.kind], source)


def over_cost(record: StudyRecord, title: str, metric: Metric, source: Source) -> Figure:
    """Accuracy after training over cost, the searched network marked (TS-S, Figure 2)."""
    points = [
        (row.name, row.numbers["gmacs"] or 0.0, row.numbers[metric.name] or 0.0)
        for row in record.rows
    ]
    (_, *searched), *others = points
    values = ", ".join(f"{name} {metric.cell(value)} at {cost:.3g}" for name, cost, value in points)
    with drawing(f"{metric.title} over G multiply-adds: {values}.") as drawn:
        plot = axes(drawn, "G multiply-adds", metric.label)
        _, x, y = zip(*others, strict=True)
        plot.plot(x, y, "o", color=ORANGE, markersize=5, label="random")
        plot.plot(*searched, marker="*", linestyle="", color=BLUE, markersize=13, label="searched")
        plot.margins(x=0.15, y=0.15)
        if metric.percent:
            percents(plot)
        legend(plot)
    tau, beaten = record.numbers["kendall_tau"] or 0.0, record.numbers["beaten"] or 0.0
    low, high = (record.numbers[f"kendall_tau_{end}"] or 0.0 for end in ("low", "high"))
    caption = (
        f"The searched network is better than {beaten:.0f} of {len(others)}. Between supernet and "
        f"training, Kendall's tau is {tau:.2f} ({low:.2f} to {high:.2f}; 1: the same order, 0: "
        "none). TS-S, Figure 2, "
        "has sixteen, and prints no numbers."
    )
    return Figure(title, drawn.svg, caption, source)


def reached(record: StudyRecord, title: str, _metric: Metric, source: Source) -> Figure:
    """The final cost of each search over its target cost, by form."""
    forms: dict[str, list[tuple[float, float]]] = {}
    for row in record.rows:
        asked, gmacs = row.numbers["target_gmacs"] or 0.0, row.numbers["gmacs"] or 0.0
        forms.setdefault(row.name.partition(" ")[0], []).append((asked, gmacs))
    values = ", ".join(
        f"{form} {gmacs:.3g} for {asked:.3g}"
        for form, rows in forms.items()
        for asked, gmacs in rows
    )
    with drawing(f"G multiply-adds reached over those asked for: {values}.") as drawn:
        plot = axes(drawn, "asked for, G multiply-adds", "reached")
        for form, rows in forms.items():
            plot.plot(*zip(*rows, strict=True), "o-", markersize=5, label=form)
        most = [asked for rows in forms.values() for asked, _ in rows]
        plot.plot(most, most, color=INK, linewidth=1, linestyle=":", label="as asked")
        legend(plot, columns=4)
    return Figure(title, drawn.svg, CAPTIONS[record.kind], source)


FIGURES: dict[str, Callable[[StudyRecord, str, Metric, Source], Figure]] = {
    "beta": costs_by_epoch,
    "channels": costs_by_epoch,
    "random_networks": over_cost,
    "targets": reached,
}
CAPTIONS = {
    "beta": "A search for each weight of the cost, from one warm-up (TS-S, Table 1).",
    "channels": "Auto-X3D, Figure 4: fair channels come to rest at the target, naive ones below.",
    "targets": "The multiplier, a range of a twentieth to each side, and hinges in both forms.",
}
