"""The record of a test: the metrics of a network on one or several splits, and what it costs.

Metrics are stored under their own names beside the other keys, see `autox3d.core.records`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from autox3d.core import atomic
from autox3d.core.record_files import Content, read_record, without
from autox3d.core.schema import table

Metrics = dict[str, float | None]  # None: no video has a label
Crops = Literal["center", "lcr"]  # one crop of a clip, or left, centre and right

CLASSIFY = "classify"  # the task of a file that does not name one


@table
class Score:
    """The metrics of one test protocol."""

    views: int  # of a video
    metrics: Metrics


@table
class ClipsScore:
    """The metrics with a given number of clips per video."""

    clips: int
    crops: Crops
    views: int  # clips times crops
    metrics: Metrics


@table
class PrecisionRecall:
    """Precision over recall of one class, at the ranks of its positives."""

    name: str  # of the class
    positives: int
    recall: tuple[float, ...]
    precision: tuple[float, ...]  # at these


@table
class SplitScores:
    """The metrics on the videos of one split."""

    split: str
    videos: int
    labelled: int  # videos that have a label
    k_clips: tuple[ClipsScore, ...]
    center: Score  # one centre crop per clip, with the largest number of clips
    lcr: Score | None  # left, centre and right crops; None: the centre alone was tested

    def score(self, crops: Crops) -> Score | None:
        """The metrics with one or with three crops per clip, if these were tested."""
        return self.center if crops == "center" else self.lcr

    def content(self) -> Content:
        """The content of the JSON file."""
        content = asdict(self)
        content["k_clips"] = [_flat(row) for row in content["k_clips"]]
        content["center"] = _flat(content["center"])
        return content | {"lcr": content["lcr"] and _flat(content["lcr"])}


@table
class Evaluation:
    """results/evaluate/<name>.json: metrics of a network on held-out videos, and its cost."""

    k_clips: tuple[ClipsScore, ...]
    center: Score  # one centre crop per clip, with the largest number of clips
    per_class: dict[str, float | None]  # class -> `class_metric` of the headline's test
    lcr: Score | None  # left, centre and right crops; None: the centre alone was tested
    net: str
    split: str
    rule: str  # placement of the clips in a video
    videos: int
    labelled: int  # videos that have a label
    params: int
    gmacs_center: float
    gmacs_lcr: float
    task: str = CLASSIFY
    class_metric: str = ""  # empty if there are no classes
    curves: tuple[PrecisionRecall, ...] = ()  # of the worst classes, where each has a curve
    beside: tuple[SplitScores, ...] = ()  # other splits

    @property
    def crops(self) -> Crops:
        """The crops of the headline: three, or the centre where no others were tested."""
        return "lcr" if self.lcr else "center"

    @property
    def headline(self) -> Score:
        """The metrics of the largest number of views."""
        return self.lcr or self.center

    @property
    def splits(self) -> tuple[SplitScores, ...]:
        """The scores of all splits that were tested, this one first."""
        known = {field.name: getattr(self, field.name) for field in fields(SplitScores)}
        return (SplitScores(**known), *self.beside)

    def score(self, crops: Crops) -> Score | None:
        """The metrics with one or with three crops per clip, if these were tested."""
        return self.center if crops == "center" else self.lcr

    def gmacs(self, crops: Crops) -> float:
        """The cost of one view, G multiply-adds."""
        return self.gmacs_center if crops == "center" else self.gmacs_lcr

    def content(self) -> Content:
        """The content of the JSON file."""
        content = asdict(self)
        metric = content.pop("class_metric")
        content |= self.splits[0].content()
        content["beside"] = [of.content() for of in self.beside]
        rows = content["per_class"].items()
        content["per_class"] = [{"class": name, metric: value} for name, value in rows]
        return without(without(without(content, "task", CLASSIFY), "curves", ()), "beside", [])

    def write(self, path: Path) -> None:
        atomic.write_json(path, self.content())

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """Reads the file; raises Refused if it is missing or damaged."""
        return read_record(path, cls, _nested_evaluation)


def _nested_evaluation(content: Content) -> Content:
    rows = content["per_class"]
    names = [key for row in rows[:1] for key in row if key != "class"]
    metric = names[0] if names else ""
    content |= _nested_scores(content)
    return content | {
        "beside": [of | _nested_scores(of) for of in content.get("beside", ())],
        "per_class": {row["class"]: row[metric] for row in rows},
        "class_metric": metric,
    }


def _nested_scores(content: Mapping[str, Any]) -> Content:
    """The scores of a split as the tables have them."""
    return {
        "k_clips": [_nested(row, ("clips", "crops", "views")) for row in content["k_clips"]],
        "center": _nested(content["center"], ("views",)),
        "lcr": content["lcr"] and _nested(content["lcr"], ("views",)),
    }


def _flat(row: Mapping[str, Any]) -> Content:
    """{"views": 30, "metrics": {"top1": 0.9}} -> {"views": 30, "top1": 0.9}."""
    return {k: v for k, v in row.items() if k != "metrics"} | row["metrics"]


def _nested(row: Mapping[str, Any], keys: tuple[str, ...]) -> Content:
    """The inverse of `_flat`: all names other than the keys are metrics."""
    return {key: row[key] for key in keys} | {
        "metrics": {name: value for name, value in row.items() if name not in keys}
    }
