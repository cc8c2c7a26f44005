"""The time that each part of a space's networks takes, from a table of measured blocks."""

from __future__ import annotations

from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.search.counts import Tables
from autox3d.search.space import Space


def timed(path: Path, space: Space) -> Tables:
    """Reads a latency table, and gives the milliseconds of every candidate (float64).

    Raises:
        Refused: the table cannot be read, or is of another space, device or number of threads.
    """
    del space
    raise Refused(f"{path}: latency tables cannot be read yet.")
