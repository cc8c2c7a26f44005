"""The report's section about the search: its progress, its control, what it decided."""

from __future__ import annotations

from autox3d.core.curves import Curve
from autox3d.reporting import choices, figures, search_figures
from autox3d.reporting.found import decisions
from autox3d.reporting.layout import Element, Figure, Section, Source, Table, source_of
from autox3d.reporting.patterns import pattern_figures
from autox3d.reporting.results import Results

TRACED = (  # columns of the trace and their names, title, label, end of the axis, what to know
    (
        {"loss": "weights half", "alpha_loss": "alpha half"},
        "Loss",
        "loss, nats a clip",
        None,
        "Mean over the draws of each half.",
    ),
    (
        {"budget": "expected cost"},
        "Expected cost over the target",
        "share of the target",
        None,
        "The mean over the distribution, exact: 1 is on target. The multiplier acts above it.",
    ),
    (
        {"multiplier": "multiplier"},
        "The budget's multiplier",
        "lambda, nats",
        None,
        "What a cost at its target is charged; 0 where the budget does not bind.",
    ),
    (
        {"noise": "noise"},
        "Noise of alpha's gradient",
        "RMS of an entry",
        None,
        "The clips' part. Adam's epsilon should be of this size: far smaller, it scales noise up.",
    ),
    (
        {"spread": "spread"},
        "Spread of the draws",
        "nats",
        None,
        "Standard deviation of the log-likelihood of a chunk over its networks.",
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
        asked = results.settings.get("search", {})
        target = asked.get("target") if asked.get("budget", "gmacs") == "gmacs" else None
        svg = figures.search_cost(trace, target)
        caption = "The paper's Figure 4: a fair search comes to rest at the target."
        section.elements.append(Figure("Cost", svg, caption, source))
        for columns, title, label, top, caption in TRACED:
            if not columns.keys().isdisjoint(trace.columns):
                svg = figures.by_epoch(trace, columns, label, top)
                section.elements.append(Figure(title, svg, caption, source))
        section.elements += _beside_control(results, trace)
    section.elements += _decided(results, section)
    section.elements += decisions(results, section)
    section.elements += _attention(results)
    section.elements += pattern_figures(results)
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
    table = choices.most_probable(decided)
    elements.append(Table("Most probable candidates, and their probability", *table, source))
    return elements


def _attention(results: Results) -> list[Element]:
    """What attention is worth before the search, if there is any to choose."""
    if (pairs := results.attention) is None:
        return []
    clips = pairs.chunks * pairs.clips_a_chunk
    caption = (
        f"At the end of the warm-up: each of {pairs.chunks} chunks, {clips} clips in all, with and "
        "without the unit in the same network. Bars: two standard errors; grey: within them."
    )
    source = source_of(results.folder, "warmup", "warmup_made.json")
    return [Figure("Attention, in pairs", search_figures.attention(pairs), caption, source)]


def _epochs(results: Results, count: int) -> list[float]:
    """The numbers of the last `count` epochs; the trace counts on from the warm-up."""
    if results.trace is None or len(results.trace) != count:
        return [float(epoch) for epoch in range(1, count + 1)]
    return results.trace["epoch"]
