"""What the search decided, choice by choice, as results/search/alpha.json tells it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autox3d.core.errors import Refused

KEYS = ("group", "column", "candidates", "probabilities")


class Decision(NamedTuple):
    """One choice and the probabilities of its candidates over time."""

    group: int  # from 1
    column: str  # kernel, expansion, channels, attention
    candidates: list[Any]
    history: list[list[float]]  # a row an epoch, a probability a candidate

    @property
    def best(self) -> tuple[Any, float]:
        """The most probable candidate at the end; of equal ones the first."""
        probabilities = self.history[-1]
        top = max(range(len(probabilities)), key=probabilities.__getitem__)
        return self.candidates[top], probabilities[top]


def decisions(alpha: dict[str, Any], path: Path) -> list[Decision]:
    """Raises Refused for a choice that lacks a key."""
    found = []
    for row, choice in enumerate(alpha["choices"], 1):
        for key in KEYS:
            if key not in choice:
                raise Refused(
                    f"{path}: choice {row} lacks '{key}'. Delete the file and run `dvc repro`."
                )
        history = choice["probabilities"]
        history = history if isinstance(history[0], list) else [history]
        found.append(Decision(choice["group"], choice["column"], choice["candidates"], history))
    return found


def open_choices(found: Sequence[Decision]) -> list[Decision]:
    """Those with more than one candidate."""
    return [decision for decision in found if len(decision.candidates) > 1]


def temporal(found: Sequence[Decision]) -> dict[str, list[float]]:
    """Probability, by epoch, that a group's kernel sees more than one frame."""
    return {
        f"group {decision.group}": [
            math.fsum(
                p
                for p, kernel in zip(row, decision.candidates, strict=True)
                if not kernel.startswith("t1_")
            )
            for row in decision.history
        ]
        for decision in open_choices(found)
        if decision.column == "kernel"
    }


def entropy(found: Sequence[Decision]) -> dict[str, list[float]]:
    """Mean entropy of each column's choices by epoch, 1 where uniform."""
    columns: dict[str, list[list[float]]] = {}
    for decision in open_choices(found):
        scale = math.log(len(decision.candidates))
        rows = [-math.fsum(p * math.log(p) for p in row if p > 0) for row in decision.history]
        columns.setdefault(decision.column, []).append([nats / scale for nats in rows])
    return {
        name: [math.fsum(at) / len(at) for at in zip(*rows, strict=True)]
        for name, rows in columns.items()
    }


def table(found: Sequence[Decision]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: for each group its most probable candidates, with their probabilities."""
    columns = list(dict.fromkeys(decision.column for decision in found))
    groups = sorted({decision.group for decision in found})
    cells = {(decision.group, decision.column): _cell(decision) for decision in found}
    rows = [[str(group), *(cells.get((group, column), "") for column in columns)]
            for group in groups]  # fmt: skip
    return ["group", *columns], rows


def _cell(decision: Decision) -> str:
    candidate, probability = decision.best
    fixed = len(decision.candidates) == 1
    return f"{candidate}" if fixed else f"{candidate}  {probability:.2f}"
