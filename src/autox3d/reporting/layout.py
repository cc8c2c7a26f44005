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


def sources_of(folder: Path, stage: str, names: Sequence[str], end: str) -> Source:
    """results/train/{s,m,l}.csv, a file a network."""
    middle = names[0] if len(names) == 1 else f"{{{','.join(names)}}}"
    return source_of(folder, stage, f"{stage}/{middle}{end}")


class Figure(NamedTuple):
    """A drawing with its words."""

    title: str
    svg: str
    caption: str
    source: Source
    wide: bool = False


class Picture(NamedTuple):
    """Pixels with their words."""

    title: str
    jpeg: str  # base64
    alt: str
    caption: str
    source: Source
    first: bool = False  # of its row


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


Part = Figure | Picture | Table | Listing


@dataclass
class Section:
    """A heading, a sentence, and what there is to see."""

    id: str
    title: str
    lead: str = ""
    parts: list[Part] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # files that are not there yet
