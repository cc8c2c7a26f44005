"""The report's section about an expansion: what each step tried, took, and what that cost."""

from __future__ import annotations

from collections.abc import Sequence

from autox3d.core.values import Regularisation
from autox3d.reporting import expanded, expansion_figure, ways
from autox3d.reporting.expanded import Expansion, Tried
from autox3d.reporting.layout import Element, Figure, Section, Source, Table, digits
from autox3d.reporting.results import Results
from autox3d.sizing.choice import BEYOND, Contest, StepChoice, Trained
from autox3d.sizing.steps import UNITS, Candidate, ExpansionStep
from autox3d.vision.tasks import task as tasks
from autox3d.vision.tasks.metric import Metric

WORDS = {"clips": "clips", "noise": "noise", "alone": "only candidate"}
NONE = "-"
CONTEST = ("next best", "lead, points", "noise", "decided by")
GAP = "The gap is the error on the validation videos less that on the training clips."


def expansion(results: Results) -> Section:
    """The steps of an expansion; an empty section if none was asked for."""
    section = Section("expansion", "How it was expanded")
    if (found := results.expansion) is None:
        return section
    section.missing += found.missing
    metric, folder = _metric(results, found), f"{results.folder}/{expanded.FOLDER}"
    section.lead = f"{lead(found)} {_rule(found)} {GAP} {ways.sentences(results)}"
    if expansion_figure.dots(found):
        section.elements.append(_figure(results, found, metric))
    source = Source(f"{folder}/choices/*.json", "dvc repro choose")
    head, rows = _choices(found, metric)
    if rows:
        section.elements.append(Table("The choices", head, rows, source))
    section.elements += _contractions(found, metric, folder)
    if found.made:
        section.elements.append(ways.table(results, found, metric))
    source = Source(f"{folder}/{{steps,targets,trained}}/**/*.json", "dvc repro candidate reduced")
    head = ("step", "axis", "frames x stride", "crop, px", "channels", "bottleneck", "depth")
    head += ("cost", "G", "parameters", "MB", f"{metric.head} by seed", "taken")
    if rows := [row for tried in _all(found) for row in _tried(tried, metric)]:
        section.elements.append(Table("All candidates", head, rows, source, folded=True))
    head = ("step", "axis", "why it has no candidate")
    absent = [(tried.name, tried.step.absent) for tried in _all(found) if tried.step]
    if rows := [[name, axis, why] for name, of in absent for axis, why in of.items()]:
        section.elements.append(Table("Axes without a candidate", head, rows, source, folded=True))
    return section


def lead(found: Expansion) -> str:
    """What the path took, and how often the videos decided."""
    taken = [tried.taken for tried in found.path if tried.taken]
    if not taken:
        return f"From {found.base}, {len(found.path)} steps; none has been decided yet."
    by_clips = sum(one.contest is not None and one.contest.decided == "clips" for one in taken)
    axes = ", ".join(str(one.axis) for one in taken)
    return (
        f"From {found.base}, {len(taken)} of {len(found.path)} steps: {axes}. The clips decided "
        f"{by_clips} of them. {len(found.made)} trainings took {digits(found.hours)} device-hours."
    )


def verdicts(results: Results) -> list[str]:
    """For the first screen: the path, and who decided it."""
    return [] if results.expansion is None else [f"Expansion: {lead(results.expansion)}"]


def _all(found: Expansion) -> list[Tried]:
    return [*found.path, *found.targets]


def _metric(results: Results, found: Expansion) -> Metric:
    """The headline that candidates were compared by: that of the task of the clips."""
    names = {one.metric for tried in _all(found) for runs in tried.runs.values() for one in runs}
    headline = results.task.headline
    if not names or headline.name in names:
        return headline
    every = (metric for one in tasks.names() for metric in tasks.named(one).metrics)
    return next((metric for metric in every if metric.name in names), headline)


def _figure(results: Results, found: Expansion, metric: Metric) -> Figure:
    steps = [tried.step for tried in _all(found) if tried.step]
    runs = [one for tried in found.path for runs in tried.runs.values() for one in runs]
    guessing = None
    if results.data and runs and all(one.hits for one in runs):
        guessing = expanded.guessing(results.data.classes, len(runs[0].hits))
    seeds = len({one.seed for one in runs})
    counted = (
        "one training each, so that the bars count the videos alone"
        if seeds == 1
        else f"means of {seeds} trainings; the bars count the videos and the seeds"
    )
    caption = (
        "X3D, Figure 2: a dot for each candidate, a ring around the one that was taken, a square "
        f"for a contraction. Centre crops; {counted} (95 %)."
    )
    svg = expansion_figure.over_cost(found, metric, guessing, steps[0].unit)
    folder = f"{results.folder}/{expanded.FOLDER}"
    source = Source(f"{folder}/{{steps,trained,choices}}", "dvc repro choose")
    return Figure("Accuracy over cost, step by step", svg, caption, source, wide=True)


def _choices(found: Expansion, metric: Metric) -> tuple[Sequence[str], list[list[str]]]:
    """Header and rows of the table of choices."""
    levels = any(tried.taken and tried.taken.level for tried in found.path)
    head = ("step", "axis taken", "cost", f"{metric.head} (95 %)", *CONTEST, "gap, points")
    head += ("batch, epochs, batch norm, drop-connect",) if levels else ()
    rows = []
    for tried in found.path:
        if (taken := tried.taken) is None:
            continue
        runs = _runs(tried, taken)
        value = _text(runs, metric) if runs else NONE
        gap = f"{_scale(metric) * taken.contest.gap:+.1f}" if taken.contest else NONE
        cost = f"{taken.price:.4g} {UNITS[taken.unit]}"
        decided = _contest(taken.contest, metric)
        cells = [tried.name, taken.axis or NONE, cost, value, *decided, gap]
        rows.append([*cells, *([_level(taken.level)] if levels else [])])
    return head, rows


def _decided(tried: Sequence[Tried]) -> list[Contest]:
    return [one.taken.contest for one in tried if one.taken and one.taken.contest]


def _rule(found: Expansion) -> str:
    """What decided a choice, and what its noise counts."""
    counts = {one.counts for one in _decided(_all(found)) if one.lead is not None}
    of = f", of {counts.pop()}" if len(counts) == 1 else ""
    return f"The clips decide where a lead is over {BEYOND} times its noise{of}."


def _contest(found: Contest | None, metric: Metric) -> list[str]:
    """The lead over the next best, its noise, and who decided."""
    if found is None or found.lead is None:
        return [NONE, NONE, NONE, WORDS["alone"]]
    scale, noise = _scale(metric), found.noise
    return [
        found.runner_up or NONE,
        f"{scale * found.lead:.1f}",
        NONE if noise is None else f"{scale * noise:.1f}",
        WORDS[found.decided],
    ]


def _scale(metric: Metric) -> int:
    return 100 if metric.percent else 1


def _level(level: Regularisation | None) -> str:
    if level is None:
        return "as the recipe"
    return f"{level.batch:g} x, {level.epochs:g} x, {level.bn_clips} clips, {level.drop_connect:g}"


def _text(runs: Sequence[Trained], metric: Metric) -> str:
    """The mean over the seeds and its interval."""
    interval = expanded.interval(runs)
    value = metric.cell(expanded.mean(runs))
    if interval is None:
        return value
    return f"{value} ({metric.cell(interval.low)} to {metric.cell(interval.high)})"


def _runs(tried: Tried, taken: StepChoice) -> Sequence[Trained]:
    """The trainings of the candidate that was taken."""
    step = tried.step
    axes = step.candidates.items() if step else ()
    key = next((axis for axis, one in axes if one.factors == taken.factors), None)
    return tried.runs.get(key, ()) if key else ()


def _contractions(found: Expansion, metric: Metric, folder: str) -> list[Element]:
    """Each target, and the network that meets it: a step, or a step that was reduced."""
    rows = []
    for tried in found.targets:
        if not (tried.step and tried.taken):
            continue
        price = tried.taken.price
        share = 100 * price / tried.step.before
        how = _kept(found, tried.step, tried.taken)
        rows.append(
            [
                tried.name,
                f"{tried.step.before:g} {UNITS[tried.step.unit]}",
                f"{price:.4g} ({share:.0f} %)",
                how,
                *_contest(tried.taken.contest, metric),
            ]
        )
    head = ("network", "target", "cost", "from", *CONTEST)
    source = Source(f"{folder}/selected/*.json", "dvc repro select")
    return [Table("Contractions", head, rows, source)] if rows else []


def _kept(found: Expansion, step: ExpansionStep, taken: StepChoice) -> str:
    """Whether a target took a step as it is, or reduced it, and along which axis."""
    same = [t.taken for t in found.path if t.taken and t.taken.factors == taken.factors]
    return f"{same[0].step} as it is" if same else f"step{step.number}, {taken.axis} reduced"


def _tried(tried: Tried, metric: Metric) -> list[list[str]]:
    """A row for each candidate of a step."""
    if tried.step is None:
        return []
    taken = tried.taken.factors if tried.taken else None
    return [
        [
            tried.name,
            axis,
            *_candidate(one, UNITS[tried.step.unit]),
            ", ".join(metric.cell(run.value) for run in tried.runs.get(axis, ())) or NONE,
            "yes" if one.factors == taken else "",
        ]
        for axis, one in tried.step.candidates.items()
    ]


def _candidate(one: Candidate, unit: str) -> list[str]:
    size = one.factors
    return [
        f"{size.frames} x {size.stride:.3g}",
        f"{size.crop}",
        f"{size.width:g}",
        f"{size.bottleneck:g}",
        f"{size.depth:g}",
        f"{one.price:.4g} {unit}",
        f"{one.gmacs:.4g}",
        f"{one.params:,}",
        digits(one.memory_mb),
    ]
