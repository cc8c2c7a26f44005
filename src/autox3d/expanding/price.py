"""What the networks of an expansion cost, in the unit of its budget."""

from __future__ import annotations

from pathlib import Path

from autox3d.core.values import Expand
from autox3d.search.latency import network_ms
from autox3d.search.space import Space
from autox3d.sizing.expansion import Price, priced


def price(asked: Expand, classes: int) -> Price:
    """The cost of a network by `expand.budget`.

    Args:
        classes: of the network's head

    Raises:
        Refused: the budget is ms, and the latency table cannot be used.
    """
    if asked.budget == "ms":
        return network_ms(Path(asked.latency), Space.load(Path(asked.space)))
    return priced(asked.budget, classes)
