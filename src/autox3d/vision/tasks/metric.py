"""A number by which networks are judged, as records name it and as people read it. No torch."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """One number that a task measures, a share in [0, 1] unless `percent` is off."""

    name: str  # in records, curves and MLflow: "top1"
    label: str  # in tables and figures: "top-1"
    percent: bool = True  # shown as a percentage

    @property
    def heading(self) -> str:
        """The head of a table's column: "top-1, %"."""
        return f"{self.label}, %" if self.percent else self.label
