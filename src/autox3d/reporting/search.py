"""The report's sections about the search, and about the network that it found."""

from __future__ import annotations

from autox3d.core.curves import Curve
from autox3d.reporting import choices, figures, layer_table
from autox3d.reporting.layout import Element, Figure, Section, Source, Table, source_of
from autox3d.reporting.results import Results
from autox3d.vision.arch.cost import cost

TRACED = (  # columns of the trace and their names, title, label, end of the axis, what to know
    (
        {"loss": "weights half", "alpha_loss": "alpha half"},
        "Loss",
        "loss, nats a clip",
        None,
        "Mean over the draws of each half.",
    ),
    (
        {"effective_draws": "effective draws"},
        "Effective draws",
        "draws",
        None,
        "1 / sum of squared importances: at 1, one draw decides each step alone.",
    ),
    (
        {"over_target": "over the target"},
        "Draws over the target",
        "share of the draws",
        1.0,
        "Of the draws for alpha: those that cost more than the target.",
    ),
)
TEMPORAL = "probability of t3 and t5 kernels"
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
    return section


def search(results: Results) -> Section:
    """The progress of the search, its null control, and its choices."""
    section = Section("search", "How it was found")
    source = source_of(results.folder, "search", "search/trace.csv")
    if (trace := results.trace) is None:
        section.missing.append(source.files)
    else:
        section.lead = (
            f"{len(trace)} epochs; the most probable network costs "
            f"{trace['mode_gmacs'][-1]:.3g} G multiply-adds."
        )
        target = results.settings.get("search", {}).get("target")
        svg = figures.search_cost(trace, target)
        caption = "The paper's Figure 4: a fair search comes to rest at the target."
        section.elements.append(Figure("Cost", svg, caption, source))
        for columns, title, label, top, caption in TRACED:
            if not columns.keys().isdisjoint(trace.columns):
                svg = figures.by_epoch(trace, columns, label, top)
                section.elements.append(Figure(title, svg, caption, source))
        section.elements += _beside_control(results, trace)
    section.elements += _decided(results, section)
    section.elements += _runners_up(results, section)
    return section


def _beside_control(results: Results, trace: Curve) -> list[Element]:
    """The same search on shuffled labels, if it was run."""
    if not results.control:
        return []
    folder = results.folder
    files = f"{folder}/{{search,control}}/trace.csv"
    svg = figures.side_by_side(
        {"search": trace, "null control": results.control}, "entropy", "entropy, share of uniform"
    )
    caption = "The control learns from shuffled labels: what its entropy loses, noise has taken."
    both = Source(files, "dvc repro search control")
    elements: list[Element] = [Figure("Entropy beside the null control", svg, caption, both)]
    source = source_of(folder, "control", "control/alpha.json")
    if results.control_alpha is not None:
        decided = results.control_alpha.choices
        rows = choices.temporal(decided)
        if rows and (count := len(decided[0].probabilities)) > 1:
            epochs = results.control["epoch"][:count]
            svg = figures.lines(epochs, rows, TEMPORAL)
            caption = "From labels that say nothing. Compare with the search's own, below."
            elements.append(Figure("Temporal kernels, null control", svg, caption, source))
    return elements


def _decided(results: Results, section: Section) -> list[Element]:
    """The probabilities of the candidates, epoch by epoch and at the end."""
    source = source_of(results.folder, "search", "search/alpha.json")
    if results.alpha is None:
        section.missing.append(source.files)
        return []
    decided = results.alpha.choices
    elements: list[Element] = []
    if decided and len(decided[0].probabilities) > 1:
        epochs = _epochs(results, len(decided[0].probabilities))
        svg = figures.lines(epochs, choices.temporal(decided), TEMPORAL)
        caption = "Whether a group looks at time: the probability of all such kernels together."
        elements.append(Figure("Temporal kernels", svg, caption, source))
        svg = figures.lines(epochs, choices.entropy(decided), "entropy, share of uniform")
        caption = "By what is chosen. Falling entropy alone proves nothing."
        elements.append(Figure("Entropy", svg, caption, source))
    elements.append(Table("Most probable candidates", *choices.most_probable(decided), source))
    return elements


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


def _epochs(results: Results, count: int) -> list[float]:
    """The numbers of the last `count` epochs; the trace counts on from the warm-up."""
    if results.trace is None or len(results.trace) != count:
        return [float(epoch) for epoch in range(1, count + 1)]
    return results.trace["epoch"]
