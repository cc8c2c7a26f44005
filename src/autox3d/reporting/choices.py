"""The choices of a search, epoch by epoch, for the report's figures and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autox3d.core.search_records import Choice


def open_choices(choices: Sequence[Choice]) -> list[Choice]:
    """The choices with more than one candidate."""
    return [choice for choice in choices if len(choice.candidates) > 1]


def temporal(choices: Sequence[Choice]) -> dict[str, list[float]]:
    """By group and epoch, the probability that its kernel spans more than one frame."""
    return {
        f"group {choice.group}": [
            math.fsum(
                p
                for p, kernel in zip(epoch, choice.candidates, strict=True)
                if not str(kernel).startswith("t1_")
            )
            for epoch in choice.probabilities
        ]
        for choice in open_choices(choices)
        if choice.column == "kernel"
    }


def entropy(choices: Sequence[Choice]) -> dict[str, list[float]]:
    """By column and epoch, the mean entropy of its choices; 1 is uniform."""
    columns: dict[str, list[list[float]]] = {}
    for choice in open_choices(choices):
        scale = math.log(len(choice.candidates))
        epochs = [-math.fsum(p * math.log(p) for p in row if p > 0) for row in choice.probabilities]
        columns.setdefault(choice.column, []).append([nats / scale for nats in epochs])
    return {
        name: [math.fsum(at) / len(at) for at in zip(*rows, strict=True)]
        for name, rows in columns.items()
    }


def most_probable(choices: Sequence[Choice]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of the most probable candidates of each group at the end."""
    columns = list(dict.fromkeys(choice.column for choice in choices))
    groups = sorted({choice.group for choice in choices})
    cells = {(choice.group, choice.column): _cell(choice) for choice in choices}
    rows = [[str(group), *(cells.get((group, column), "") for column in columns)]
            for group in groups]  # fmt: skip
    return ["group", *columns], rows


def _cell(choice: Choice) -> str:
    """The first of the most probable candidates, and its probability if it has rivals."""
    last = choice.probabilities[-1]
    best = max(range(len(last)), key=last.__getitem__)
    fixed = len(choice.candidates) == 1
    return f"{choice.candidates[best]}" + ("" if fixed else f"  {last[best]:.2f}")
