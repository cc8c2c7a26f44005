"""What a task measures: the name in files, and the label that people read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number that a test gives."""

    name: str  # in files: "top1"
    label: str  # in tables and figures: "top-1"
    percent: bool  # a share in [0, 1], shown as a percentage
    shown: bool = True  # in tables; the others are in the files alone

    @property
    def title(self) -> str:
        """The label at the beginning of a sentence: "Top-1", but "mAP"."""
        return self.label.capitalize() if self.label.islower() else self.label

    @property
    def head(self) -> str:
        """The label at the head of a table's column, with the unit: "top-1, %"."""
        return f"{self.label}, %" if self.percent else self.label

    def cell(self, value: float | None) -> str:
        """0.9612 -> "96.1", the value under `head`; "-" if there was no label to measure by."""
        if value is None:
            return "-"
        return f"{100 * value:.1f}" if self.percent else f"{value:.4g}"

    def text(self, value: float) -> str:
        """0.9612 -> "96.1 %"."""
        return f"{self.cell(value)} %" if self.percent else self.cell(value)
