"""What the page says of the search and of the network that it found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from autox3d.reporting import decisions, figures
from autox3d.reporting.layout import Figure, Section, Source, Table, source_of
from autox3d.reporting.layout import Part as Piece
from autox3d.reporting.results import Results
from autox3d.reporting.table import percent
from autox3d.vision.arch.cost import Cost, Part, cost
from autox3d.vision.arch.genotype import Genotype

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
    section = Section("architecture", "The network found")
    source = source_of(results.folder, "derive", "derive/genotype.yaml")
    if results.found is None:
        section.missing.append(source.files)
        return section
    classes = results.data["classes"] if results.data else 1
    account = cost(results.found, classes)
    section.lead = (
        f"{results.found.name}: {sum(group.blocks for group in results.found.groups)} blocks, "
        f"{account.params:,} parameters, {account.gmacs:.3g} G multiply-adds for a clip of "
        f"{account.frames} frames of {account.crop}{TIMES}{account.crop} px, {classes} classes."
    )
    svg = figures.architecture(results.found, account)
    caption = "Height: channels. Paler, the inner channels, which the expansion sets."
    section.parts.append(Figure("Block by block", svg, caption, source, wide=True))
    section.parts.append(Table("Layer by layer", *layers(results.found, account), source))
    return section


def layers(genotype: Genotype, account: Cost) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows of the paper's Table 2, and what each row costs."""
    stem, *groups, head = account.parts
    stems = f"1{TIMES}3²"
    if genotype.stem.temporal_kernel > 1:
        stems += f", {genotype.stem.temporal_kernel}{TIMES}1²"
    rows = [["stem", stems, "", str(genotype.stem.channels), "1", "2", "", *_costs(stem, account)]]
    rows += [
        [
            str(number),
            group.kernel,
            f"{group.expansion:g}",
            str(group.channels),
            str(group.blocks),
            str(group.stride),
            "" if group.attention == "none" else group.attention,
            *_costs(part, account),
        ]
        for number, (group, part) in enumerate(zip(genotype.groups, groups, strict=True), 1)
    ]
    rows.append(["head", "", "", str(genotype.head.channels), "", "", "", *_costs(head, account)])
    names = ("group", "block", "expansion", "channels", "blocks", "stride", "attention")
    return (*names, "output", "M multiply-adds", "parameters"), rows


def _costs(part: Part, account: Cost) -> list[str]:
    frames = f"{account.frames}{TIMES}" if part.side > 1 else ""
    return [f"{frames}{part.side}²", f"{part.macs / 1e6:.3g}", f"{part.params:,}"]


def search(results: Results) -> Section:
    section = Section("search", "How it was found")
    source = source_of(results.folder, "search", "search/trace.csv")
    if (trace := results.trace) is None:
        section.missing.append(source.files)
    else:
        section.lead = (
            f"{len(trace)} epochs; the most probable network costs "
            f"{trace['mode_gmacs'].iloc[-1]:.3g} G multiply-adds."
        )
        target = results.settings.get("search", {}).get("target")
        svg = figures.search_cost(trace, target)
        caption = "The paper's Figure 4: a fair search comes to rest at the target."
        section.parts.append(Figure("Cost", svg, caption, source))
        for columns, title, label, top, caption in TRACED:
            if not columns.keys().isdisjoint(trace.columns):
                svg = figures.by_epoch(trace, columns, label, top)
                section.parts.append(Figure(title, svg, caption, source))
        section.parts += _beside_control(results, trace)
    section.parts += _decided(results, section)
    section.parts += _runners_up(results, section)
    return section


def _beside_control(results: Results, trace: pd.DataFrame) -> list[Piece]:
    """What the same search does with shuffled labels, where it was asked for."""
    if results.control is None or results.control.empty:
        return []
    folder = results.folder
    files = f"{folder}/{{search,control}}/trace.csv"
    svg = figures.beside(
        {"search": trace, "null control": results.control}, "entropy", "entropy, share of uniform"
    )
    caption = "The control learns from shuffled labels: what its entropy loses, noise has taken."
    both = Source(files, "dvc repro search control")
    parts: list[Piece] = [Figure("Entropy beside the null control", svg, caption, both)]
    source = source_of(folder, "control", "control/alpha.json")
    if results.control_alpha is not None:
        found = decisions.decisions(results.control_alpha, Path(source.files))
        rows = decisions.temporal(found)
        if rows and len(found[0].history) > 1:
            epochs = results.control["epoch"].tolist()[-len(found[0].history) :]
            svg = figures.lines(epochs, rows, TEMPORAL)
            caption = "From labels that say nothing. Compare with the search's own, below."
            parts.append(Figure("Temporal kernels, null control", svg, caption, source))
    return parts


def _decided(results: Results, section: Section) -> list[Piece]:
    source = source_of(results.folder, "search", "search/alpha.json")
    if results.alpha is None:
        section.missing.append(source.files)
        return []
    found = decisions.decisions(results.alpha, Path(source.files))
    parts: list[Piece] = []
    if found and len(found[0].history) > 1:
        epochs = _epochs(results, len(found[0].history))
        svg = figures.lines(epochs, decisions.temporal(found), TEMPORAL)
        caption = "Whether a group looks at time: the probability of all such kernels together."
        parts.append(Figure("Temporal kernels", svg, caption, source))
        svg = figures.lines(epochs, decisions.entropy(found), "entropy, share of uniform")
        caption = "By what is chosen. Falling entropy alone proves nothing."
        parts.append(Figure("Entropy", svg, caption, source))
    parts.append(Table("Most probable candidates", *decisions.table(found), source))
    return parts


def _runners_up(results: Results, section: Section) -> list[Piece]:
    """The found network among the next probable ones that meet the target."""
    source = source_of(results.folder, "derive", "derive/derive.json")
    if results.derived is None:
        section.missing.append(source.files)
        return []
    networks = [("found", results.derived["found"])]
    networks += [(str(n), row) for n, row in enumerate(results.derived["runners_up"], 1)]
    rows = [
        [
            name,
            f"{row['gmacs']:.3g}",
            f"{row['probability']:.2g}",
            percent(row["supernet_top1"]),
            " / ".join(row["groups"]),
        ]
        for name, row in networks
    ]
    head = ("network", "GMACs", "probability", "top-1 as a supernet's path, %", "groups")
    return [Table("Runners-up under the target", head, rows, source, folded=True)]


def _epochs(results: Results, count: int) -> list[int]:
    """As the trace counts them: from the end of the warm-up on."""
    if results.trace is None or len(results.trace) != count:
        return list(range(1, count + 1))
    return results.trace["epoch"].tolist()
