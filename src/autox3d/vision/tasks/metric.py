"""The metrics of a task: their names in files, and how tables and figures show them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Metric:
    """One metric of a task."""

    name: str  # in files: "top1"
    label: str  # in tables and figures: "top-1"
    percent: bool  # a share in [0, 1], shown as a percentage
    shown: bool = True  # in tables; false: only in files
    of_best: int = 1  # answers that count; with as many classes it says nothing
    of_class: str = ""  # label of its value for one class, where that is another: "AP"

    @property
    def title(self) -> str:
        """The label as the beginning of a sentence: "Top-1", but "mAP"."""
        return self.label.capitalize() if self.label.islower() else self.label

    @property
    def each(self) -> Metric:
        """The metric of one class."""
        return replace(self, label=self.of_class or self.label)

    @property
    def head(self) -> str:
        """The heading of a table's column, with the unit: "top-1, %"."""
        return f"{self.label}, %" if self.percent else self.label

    def cell(self, value: float | None) -> str:
        """Formats a value for a table's cell, without unit: 0.9612 -> "96.1", None -> "-"."""
        if value is None:
            return "-"
        return f"{100 * value:.1f}" if self.percent else f"{value:.4g}"

    def text(self, value: float) -> str:
        """Formats a value with its unit: 0.9612 -> "96.1 %"."""
        return f"{self.cell(value)} %" if self.percent else self.cell(value)
