"""What a task measures, by name and as people read it. No torch: the report reads this, too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number that a test gives."""

    name: str  # in files: "top1"
    label: str  # in tables and figures: "top-1"
    percent: bool  # a share in [0, 1], shown as a percentage

    @property
    def title(self) -> str:
        """The label at the beginning of a sentence: "Top-1", but "mAP"."""
        return self.label.capitalize() if self.label.islower() else self.label

    @property
    def head(self) -> str:
        """The label at the head of a table's column, with the unit: "top-1, %"."""
        return f"{self.label}, %" if self.percent else self.label

    def cell(self, value: float | None) -> str:
        """0.9612 -> "96.1", as stands under `head`; "-" where nothing was measured."""
        if value is None:
            return "-"
        return f"{100 * value:.1f}" if self.percent else f"{value:.4g}"

    def text(self, value: float) -> str:
        """0.9612 -> "96.1 %"."""
        return f"{self.cell(value)} %" if self.percent else self.cell(value)


CLASSIFY_METRICS = (Metric("top1", "top-1", True), Metric("top5", "top-5", True))
METRICS = {"classify": CLASSIFY_METRICS}  # by the task's name; the first one is the headline
