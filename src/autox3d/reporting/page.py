"""report.html: a page in one file, which loads nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from autox3d.core.records import Evaluation
from autox3d.reporting.layout import Section
from autox3d.reporting.results import Results
from autox3d.reporting.sections import sections
from autox3d.reporting.worth import sentences
from autox3d.vision.tasks.metric import Metric

NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?|-|")
TITLE = "Small video networks, searched and tested"


def page(results: Results) -> str:
    """The report of one run of the pipeline."""
    return render(
        TITLE, summary(results), key_figures(results), sections(results), sentences(results)
    )


def render(
    title: str,
    summary: str,
    key: Sequence[tuple[str, str]],
    content: Sequence[Section],
    notes: Sequence[str] = (),
) -> str:
    """A page with its sections; names and labels are escaped, empty sections left out.

    Args:
        notes: sentences below the key figures
    """
    environment = Environment(
        loader=PackageLoader("autox3d.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["numeric"] = numeric
    template = environment.get_template("page.html.j2")
    shown = [section for section in content if not section.is_empty]
    return template.render(title=title, summary=summary, key=key, notes=notes, sections=shown)


def numeric(rows: Sequence[Sequence[str]]) -> set[int]:
    """The columns that hold nothing but numbers, which are aligned to the right."""
    columns = list(zip(*rows, strict=True))
    return {i for i, column in enumerate(columns) if all(map(NUMBER.fullmatch, column))}


def summary(results: Results) -> str:
    """The data set and the network that was found, in a sentence each."""
    dataset = results.settings.get("annotate", {}).get("dataset", "the videos given")
    usable = f", {results.data.total.usable} usable videos" if results.data else ""
    network = f" The search found {results.genotype.name}." if results.genotype else ""
    return f"Data: {dataset}{usable}.{network}"


def key_figures(results: Results) -> list[tuple[str, str]]:
    """The evaluated networks with the headline of their task."""
    metric = results.task.headline
    return [
        (f"{n.name}, {metric.label}, {n.evaluation.lcr.views} views", _value(n.evaluation, metric))
        for n in results.networks
        if n.evaluation
    ]


def _value(evaluation: Evaluation, metric: Metric) -> str:
    value = evaluation.lcr.metrics.get(metric.name)
    return "no labels" if value is None else metric.text(value)
