"""The report's section about the network that the search found, and how sure it was of it."""

from __future__ import annotations

from collections.abc import Mapping

from autox3d.core import decided
from autox3d.core.search_records import Derived, DerivedNetwork
from autox3d.reporting import figures, findings, layer_table, search_figures
from autox3d.reporting.layout import Element, Figure, Section, Source, Table, source_of
from autox3d.reporting.results import Results
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

TIMES = "\N{MULTIPLICATION SIGN}"
GMACS = "G multiply-adds"  # the unit of a budget that needs no column of its own


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
        f"{genotype.name}: {len(genotype.blocks())} blocks, "
        f"{account.params:,} parameters, {account.gmacs:.3g} G multiply-adds for a clip of "
        f"{account.frames} frames of {account.crop}{TIMES}{account.crop} px, {classes} classes."
    )
    if results.derived and (cost_of_window := gained(results.derived)):
        section.lead += f" {cost_of_window}"
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
    section.elements += _budget(results)
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
        line = decided.line(derived)
        caption = f"{line[:1].upper()}{line[1:]}. {_meaning(results, derived)}"
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


def _meaning(results: Results, derived: Derived) -> str:
    """What the figure shows, and what a probability does not."""
    parts = [decided.NOT_A_CONFIDENCE]
    if (least := derived.threshold) is not None:
        parts.append(f"Clips decide from t {least:.2f} on, a family-wise error of 5 %.")
    searched = results.alpha.choices if results.alpha else ()
    if any(choice.clips for choice in searched):
        largest = max(choice.null for choice in searched)
        parts.append(f"The weights of other networks reach {largest:.2f}.")
    return " ".join(parts)


def _budget(results: Results) -> list[Element]:
    """The network found, the most probable one, and what the same search gives otherwise."""
    if (derived := results.derived) is None:
        return []
    source = source_of(results.folder, "derive", "derive/derive.json")
    networks = {"found": (derived.found, derived.target)}
    if (mode := derived.mode) and mode.network.groups != derived.found.groups:
        networks["most probable"] = mode.network, derived.target
    for one in derived.front:
        networks[f"for {one.budget:g}"] = one.network, one.budget
    if len(networks) == 1:
        return []
    title = f"Budgets, {derived.unit}, and no budget"
    elements: list[Element] = [_networks(title, networks, results, source)]
    return [_front(derived, results, source), *elements] if derived.front else elements


def _front(derived: Derived, results: Results, source: Source) -> Figure:
    """The headline with the supernet's weights over the cost."""
    metric = results.task.headline
    networks = [derived.found, *(one.network for one in derived.front)]
    points = [(one.cost, one.supernet.get(metric.name)) for one in networks]
    known = [(cost, value) for cost, value in points if value is not None]
    svg = search_figures.front(
        known, known[0] if points[0] in known else None, derived.unit, metric
    )
    caption = (
        "The most probable networks of one search for several budgets, as paths of the supernet: "
        f"not what they reach once trained. Genotypes: {results.folder}/derive/front."
    )
    return Figure("The front", svg, caption, source)


def gained(derived: Derived) -> str:
    """What the window cost: in the distribution, and on the validation videos."""
    if (mode := derived.mode) is None or mode.network.groups == derived.found.groups:
        return ""
    text = f"It is {mode.window_nats:.2f} nats less probable than the most probable network"
    text += (
        f", {mode.attention_nats:.2f} of attention left out besides" if mode.attention_nats else ""
    )
    if mode.gain is None:
        return f"{text}."
    mean, low, high = mode.gain
    return (
        f"{text}; with the supernet's weights its log-likelihood on the validation videos differs "
        f"from that one's by {mean:+.3f} nats (95 %: {low:+.3f} to {high:+.3f})."
    )


def _runners_up(results: Results, section: Section) -> list[Element]:
    """The derived network, and the next most probable ones in the window."""
    source = source_of(results.folder, "derive", "derive/derive.json")
    if (derived := results.derived) is None:
        section.missing.append(source.files)
        return []
    networks = {"found": (derived.found, derived.target)}
    for number, network in enumerate(derived.runners_up, 1):
        networks[str(number)] = network, derived.target
    title = "Runners-up within the budget"
    return [_networks(title, networks, results, source)._replace(folded=True)]


def _networks(
    title: str,
    networks: Mapping[str, tuple[DerivedNetwork, float]],
    results: Results,
    source: Source,
) -> Table:
    """One row a network with its budget: cost, probability, accuracy as a path, choices."""
    metric = results.task.headline
    other = results.derived is not None and results.derived.unit != GMACS
    rows = [
        [
            name,
            *([f"{network.cost:.3g}"] if other else []),
            f"{network.gmacs:.3g}",
            f"{100 * (network.cost / budget - 1):+.1f}",
            f"{network.probability:.2g}",
            metric.cell(network.supernet.get(metric.name)),
            " / ".join(network.groups),
        ]
        for name, (network, budget) in networks.items()
    ]
    measured = f"{metric.label} as a supernet's path{', %' if metric.percent else ''}"
    unit = [results.derived.unit] if results.derived and other else []
    head = ("network", *unit, "GMACs", "of its budget, %", "probability", measured, "groups")
    return Table(title, head, rows, source)
