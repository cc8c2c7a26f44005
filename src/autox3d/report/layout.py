"""What a page is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """Where a figure's data stands, and what makes it."""

    files: str
    command: str = ""


def source_of(folder: Path, stage: str, name: str) -> Source:
    """A file under results/ that a stage makes."""
    return Source(f"{folder}/{name}", f"dvc repro {stage}")


class Figure(NamedTuple):
    """A drawing with its words."""

    title: str
    svg: str
    caption: str
    source: Source
    wide: bool = False


class Table(NamedTuple):
    """Rows of text under a head."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    source: Source
    folded: bool = False  # shown on demand


class Listing(NamedTuple):
    """A file as it is, shown on demand."""

    title: str
    text: str
    source: Source


@dataclass
class Section:
    """A heading, a sentence, and what there is to see."""

    id: str
    title: str
    lead: str = ""
    parts: list[Figure | Table | Listing] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # files that are not there yet
