"""report.html: a page in one file, which loads nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from autox3d.core.errors import Refused
from autox3d.reporting import results_table
from autox3d.reporting.layout import KeyFigure, Section
from autox3d.reporting.papers import all_papers
from autox3d.reporting.published import published
from autox3d.reporting.results import Network, Results
from autox3d.reporting.sections import sections, sections_of_one
from autox3d.reporting.verdicts import verdicts

NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?|-|")
TITLE = "Small video networks, searched and tested"


def page(results: Results) -> str:
    """The report of one run of the pipeline."""
    return render(
        TITLE, summary(results), key_figures(results), sections(results), verdicts(results)
    )


def page_of_papers() -> str:
    """What the papers print, which is shown beside no results on other data."""
    rows = f"{len(published())} rows of tables, by data set and split."
    return render("What the papers print", rows, [], [all_papers()])


def page_of(results: Results, name: str, title: str) -> str:
    """A page of one network, without what belongs to a search.

    Raises:
        Refused: no such network has been tested.
    """
    networks = [one for one in results.networks if one.name == name and one.evaluation]
    if not networks:
        raise Refused(f"{results.folder}: has no network '{name}'. Run `evaluate@{name}` first.")
    alone = results._replace(networks=networks, derived=None, genotype=None, trace=None, alpha=None)
    alone = alone._replace(warmup=None, control=None, control_alpha=None, attention=None)
    alone = alone._replace(searches={}, studies={}, study_runs={}, expansion=None, parts={})
    shown = sections_of_one(alone)
    return render(title, summary(alone), key_figures(alone), shown, verdicts(alone))


def render(
    title: str,
    summary: str,
    key: Sequence[KeyFigure],
    content: Sequence[Section],
    verdicts: Sequence[str] = (),
) -> str:
    """A page with its sections; names and labels are escaped, empty sections left out.

    Args:
        verdicts: sentences above the key figures
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
    return template.render(title=title, summary=summary, key=key, verdicts=verdicts, sections=shown)


def numeric(rows: Sequence[Sequence[str]]) -> set[int]:
    """The columns that hold nothing but numbers, which are aligned to the right."""
    columns = list(zip(*rows, strict=True))
    return {i for i, column in enumerate(columns) if all(map(NUMBER.fullmatch, column))}


def summary(results: Results) -> str:
    """The data set in a sentence."""
    dataset = results.settings.get("annotate", {}).get("dataset", "the videos given")
    if not results.data:
        return f"Data: {dataset}."
    of = results.data
    return f"Data: {dataset}, {of.total.usable} usable videos of {of.classes} classes."


def key_figures(results: Results) -> list[KeyFigure]:
    """The evaluated networks with the headline of their task, and what they are."""
    known = results_table.described(results)
    return [
        KeyFigure(n.name, _value(n, results), _interval(n, results), known.get(n.name, ""))
        for n in results.networks
        if n.evaluation
    ]


def _value(network: Network, results: Results) -> str:
    """The headline with its unit."""
    assert network.evaluation
    metric = results.task.headline
    value = network.evaluation.headline.metrics.get(metric.name)
    return "no labels" if value is None else metric.text(value)


def _interval(network: Network, results: Results) -> str:
    """The metric and the interval below a value."""
    interval = results_table.interval(network, results)
    label = results.task.headline.label
    return label if interval == results_table.UNKNOWN else f"{label}, 95 %: {interval}"
