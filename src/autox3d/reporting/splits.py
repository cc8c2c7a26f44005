"""Several splits side by side (X3D, Tables 4 and 7, Figure A.4): a table, and curves of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autox3d.core.scores import Crops
from autox3d.reporting import figures, results_table
from autox3d.reporting.layout import Element, Figure, Source, Table
from autox3d.reporting.results import Results, Tested

CLIPS: tuple[tuple[Crops, str], ...] = (("center", "centre crop"), ("lcr", "three crops"))
CAPTION = (
    "A point for each number of clips (X3D, Figures 3 and A.4): left over a linear axis, right "
    "over a logarithmic one. Numbers: clips of {name}."
)
MEAN = "mean"  # of top-1 and top-5: what Kinetics' test server reported


def side_by_side(results: Results, tested: Sequence[Tested], source: Source) -> list[Element]:
    """The metrics of each network on each split; nothing where one split alone was tested."""
    if not any(network.evaluation.beside for network in tested):
        return []
    metrics = results_table.shown(results)
    metrics += [one for one in results.task.metrics if one.name == MEAN]
    head = ("network", "split", "videos", "views", *(metric.head for metric in metrics))
    rows = [
        [
            network.name,
            of.split,
            f"{of.labelled:,}",
            str(score.views),
            *(metric.cell(score.metrics.get(metric.name)) for metric in metrics),
        ]
        for network in tested
        for of in network.evaluation.splits
        for score in (of.lcr, of.center)
        if score
    ]
    return [Table("Split by split", head, rows, source)]


def curves(tested: Sequence[Tested], source: Source) -> list[Element]:
    """The headline over the cost of a video, for each number of clips, split by split."""
    found: list[Element] = []
    splits = dict.fromkeys(of.split for network in tested for of in network.evaluation.splits)
    for split in splits:
        those = [part for network in tested if (part := _on(network, split))]
        if not any(len(network.evaluation.k_clips) > 2 for network in those):
            continue
        where = f", split {split}" if len(splits) > 1 else ""
        for crops, what in CLIPS:
            some = [n for n in those if n.evaluation.score(crops)]
            if some:
                svg = figures.clips_over_cost(some, crops)
                caption = CAPTION.format(name=some[0].name)
                title = f"More clips, {what}{where}"
                found.append(Figure(title, svg, caption, source, wide=True))
    return found


def _on(network: Tested, split: str) -> Tested | None:
    """The network as tested on a split; None where it was not, or the videos have no labels."""
    for of in network.evaluation.splits:
        if of.split == split and of.labelled:
            scores = {"k_clips": of.k_clips, "center": of.center, "lcr": of.lcr}
            return network._replace(evaluation=replace(network.evaluation, **scores))
    return None
