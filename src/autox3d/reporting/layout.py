"""The elements of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from autox3d.core.origin import PARTS


def digits(value: float) -> str:
    """Three significant digits, without a power of ten: 1,330, 57.2 or 0.857."""
    return f"{float(f'{value:.3g}'):,.10g}"


class Source(NamedTuple):
    """The files that hold an element's data, and the command that makes them."""

    files: str
    command: str = ""


def source_of(folder: Path, stage: str, name: str) -> Source:
    """The source of a file under results/, with the stage that makes it.

    In the folder of a part of a search it is the part's own stage.
    """
    if folder.parent.name == PARTS:
        stage = f"part_{stage}@{folder.name}"
    return Source(f"{folder}/{name}", f"dvc repro {stage}")


def sources_of(folder: Path, stage: str, names: Sequence[str], end: str) -> Source:
    """The source of one file per network: results/train/{s,m,l}.csv."""
    middle = names[0] if len(names) == 1 else f"{{{','.join(names)}}}"
    return source_of(folder, stage, f"{stage}/{middle}{end}")


class KeyFigure(NamedTuple):
    """A box of the first screen."""

    name: str
    value: str
    below: str = ""  # the value's unit or interval
    what: str = ""  # what the thing is


class Figure(NamedTuple):
    """A drawing with a title and a caption."""

    title: str
    svg: str
    caption: str
    source: Source
    wide: bool = False


class Picture(NamedTuple):
    """An image with a title, a caption and an alternative text."""

    title: str
    jpeg: str  # base64
    alt: str
    caption: str
    source: Source
    first: bool = False  # whether it begins a row


class Sheet(NamedTuple):
    """Small images, each with a line of text."""

    title: str
    images: Sequence[tuple[str, str]]  # JPEG in base64, and the text
    caption: str
    source: Source


class Table(NamedTuple):
    """Rows of text under a header."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    source: Source
    folded: bool = False  # shown on demand


class Listing(NamedTuple):
    """The text of a file, shown on demand."""

    title: str
    text: str
    source: Source


Element = Figure | Picture | Sheet | Table | Listing


@dataclass
class Section:
    """A heading, a lead sentence, and the elements below it."""

    id: str
    title: str
    lead: str = ""
    elements: list[Element] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # files that are not there yet

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show, not even what is missing."""
        return not (self.lead or self.elements or self.missing)
