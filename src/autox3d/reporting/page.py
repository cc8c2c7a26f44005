"""report.html: one file that loads nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from autox3d.reporting.layout import Section
from autox3d.reporting.results import Results
from autox3d.reporting.sections import sections
from autox3d.reporting.table import percent

NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?|-|")
TITLE = "Small video networks, searched and tested"


def page(results: Results) -> str:
    """The whole page of one run."""
    return render(TITLE, summary(results), key_figures(results), sections(results))


def render(title: str, said: str, key: Sequence[tuple[str, str]], parts: Sequence[Section]) -> str:
    """A page; every name and label in it is escaped."""
    environment = Environment(
        loader=PackageLoader("autox3d.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["numeric"] = numeric
    template = environment.get_template("page.html.j2")
    return template.render(title=title, summary=said, key=key, sections=parts)


def numeric(rows: Sequence[Sequence[str]]) -> set[int]:
    """The columns that hold nothing but numbers: they are set to the right."""
    columns = list(zip(*rows, strict=True))
    return {i for i, column in enumerate(columns) if all(map(NUMBER.fullmatch, column))}


def summary(results: Results) -> str:
    """What was done, in a sentence."""
    dataset = results.settings.get("annotate", {}).get("dataset", "the videos given")
    usable = f", {results.data['usable']} usable videos" if results.data else ""
    found = f" The search found {results.found.name}." if results.found else ""
    return f"Data: {dataset}{usable}.{found}"


def key_figures(results: Results) -> list[tuple[str, str]]:
    """The tested networks with their top-1."""
    return [
        (f"{n.name}, top-1, {n.evaluation['lcr']['views']} views", _percent(n.evaluation))
        for n in results.networks
        if n.evaluation
    ]


def _percent(evaluation: dict) -> str:
    share = evaluation["lcr"]["top1"]
    return "no labels" if share is None else f"{percent(share)} %"
