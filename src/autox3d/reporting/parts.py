"""The report's sections about the parts of a search before the last, as many as there are."""

from __future__ import annotations

from autox3d.reporting import figures
from autox3d.reporting.found import architecture
from autox3d.reporting.layout import Figure, Section, source_of
from autox3d.reporting.results import Results
from autox3d.reporting.search import search


def parts(results: Results) -> list[Section]:
    """What each part found, and how: as the sections of the last part have it."""
    sections = []
    for name, of in results.parts.items():
        part = of._replace(data=results.data, networks=results.networks)
        found, how = architecture(part), search(part)
        section = Section(f"part-{name}", f"Part {name} of the search")
        section.lead = " ".join(filter(None, (found.lead, how.lead)))
        section.missing = list(dict.fromkeys([*found.missing, *how.missing]))
        section.elements = [*found.elements, *how.elements]
        if of.warmup:
            svg = figures.by_epoch(of.warmup, {"loss": "loss"}, "loss, nats a clip", None)
            source = source_of(of.folder, "warmup", "warmup.csv")
            warm = Figure("Warm-up of the supernet", svg, "Mean over its draws.", source)
            section.elements.append(warm)
        sections.append(section)
    return sections
