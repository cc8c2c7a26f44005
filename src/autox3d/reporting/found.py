"""The report's section about the network that the search found, and how sure it was of it."""

from __future__ import annotations

from autox3d.core import decided
from autox3d.core.search_records import Derived
from autox3d.reporting import figures, findings, layer_table, search_figures
from autox3d.reporting.layout import Element, Figure, Section, Table, source_of
from autox3d.reporting.results import Results
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

TIMES = "\N{MULTIPLICATION SIGN}"


def architecture(results: Results) -> Section:
    """The network that the search found, block by block."""
    section = Section("architecture", "The network found")
    source = source_of(results.folder, "derive", "derive/genotype.yaml")
    if (genotype := results.genotype) is None:
        section.missing.append(source.files)
        return section
    classes = results.data.classes if results.data else 1
    account = cost(genotype, classes)
    section.lead = (
        f"{genotype.name}: {sum(group.blocks for group in genotype.groups)} blocks, "
        f"{account.params:,} parameters, {account.gmacs:.3g} G multiply-adds for a clip of "
        f"{account.frames} frames of {account.crop}{TIMES}{account.crop} px, {classes} classes."
    )
    svg = figures.architecture(genotype, account)
    caption = "Height: channels. Paler, the inner channels, which the expansion sets."
    section.elements.append(Figure("Block by block", svg, caption, source, wide=True))
    head = ("group", *layer_table.HEAD[1:])
    rows = [[cell.replace("x", TIMES) if cell[:1].isdigit() else cell for cell in row]
            for row in layer_table.rows(genotype, account)]  # fmt: skip
    for row, part in zip(rows, account.parts, strict=True):
        row[-1] = f"{part.macs / 1e6:.3g}"  # small networks need more digits than `autox3d show`
    section.elements.append(Table("Layer by layer", head, rows, source))
    section.elements.append(_findings(results, genotype))
    section.elements += _runners_up(results, section)
    return section


def _findings(results: Results, genotype: Genotype) -> Table:
    """What the paper observes of its networks, for this one and the runners-up."""
    found = findings.rows_of(genotype)
    others = results.derived.runners_up if results.derived else ()
    rows = [findings.rows_of_record(one.groups, found) for one in others]
    available: dict[str, set[str]] = {}
    for choice in results.alpha.choices if results.alpha else ():
        available.setdefault(choice.column, set()).update(map(str, choice.candidates))
    source = source_of(results.folder, "derive", "derive/{genotype.yaml,derive.json}")
    head, cells = findings.table(found, rows, available)
    return Table("What Auto-X3D, 5.4, observes", head, cells, source)


def decisions(results: Results, section: Section) -> list[Element]:
    """What decided each choice: its t-value as a figure, and all numbers in a table."""
    source = source_of(results.folder, "derive", "derive/derive.json")
    if (derived := results.derived) is None:
        section.missing.append(source.files)
        return []
    open_ = decided.open_decisions(derived.found.choices)
    elements: list[Element] = []
    if any(choice.t is not None for choice in open_):
        svg = search_figures.t_values(open_, derived.threshold)
        caption = (
            f"{decided.line(derived)[:1].upper()}{decided.line(derived)[1:]}. {_meaning(derived)}"
        )
        elements.append(Figure("What decided each choice", svg, caption, source))
    rows = [
        [
            str(choice.group),
            choice.column,
            str(choice.taken),
            f"{choice.probabilities[str(choice.taken)]:.2f}",
            choice.by or "-",
            "-" if choice.t is None else f"{choice.t:.1f}",
        ]
        for choice in open_
    ]
    if rows:
        head = ("group", "choice", "taken", "probability", "decided by", "t")
        elements.append(Table("Every choice", head, rows, source, folded=True))
    return elements


def _meaning(derived: Derived) -> str:
    """What the figure shows, and what a probability does not."""
    least = derived.threshold
    asked = (
        "" if least is None else f" Clips decide from t {least:.2f} on, a family-wise error of 5 %."
    )
    return f"{decided.NOT_A_CONFIDENCE}{asked}"


def _runners_up(results: Results, section: Section) -> list[Element]:
    """The derived network, and the next most probable ones under the target."""
    source = source_of(results.folder, "derive", "derive/derive.json")
    if results.derived is None:
        section.missing.append(source.files)
        return []
    metric = results.task.headline
    networks = [("found", results.derived.found)]
    networks += [(str(n), network) for n, network in enumerate(results.derived.runners_up, 1)]
    rows = [
        [
            name,
            f"{network.gmacs:.3g}",
            f"{network.probability:.2g}",
            metric.cell(network.supernet.get(metric.name)),
            " / ".join(network.groups),
        ]
        for name, network in networks
    ]
    unit = ", %" if metric.percent else ""
    measured = f"{metric.label} as a supernet's path{unit}"
    head = ("network", "GMACs", "probability", measured, "groups")
    return [Table("Runners-up under the target", head, rows, source, folded=True)]
