"""How adapters read annotation files: lines, CSV and JSON, each row with its place in the file.

A place is "FILE line N"; every refusal of a row begins with it.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from autox3d.core.errors import Refused

if TYPE_CHECKING:
    from autox3d.datasets.annotations import Video


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields (place, line) for each line that is not blank, without the blanks at its ends.

    Raises:
        Refused: the file cannot be read, or is not UTF-8.
    """
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            yield f"{path} line {number}", line.strip()


def csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields (place, row) for each row of a CSV file whose header has at least these columns.

    Raises:
        Refused: the file cannot be read, or lacks a column; a row has too few or too many cells; a
            quote is not closed.
    """
    rows = _rows(path)
    header = next(rows, (1, []))[1]
    for column in columns:
        if column not in header:
            raise Refused(f"{path} line 1: no column '{column}'. There are: {', '.join(header)}.")
    for number, cells in rows:
        if not any(cells):
            continue
        place = f"{path} line {number}"
        if len(cells) != len(header):
            raise Refused(
                f"{place}: {len(cells)} cells under {len(header)} columns. Quote cells with commas."
            )
        yield place, dict(zip(header, cells, strict=True))


def has_column(path: Path, column: str) -> bool:
    """Whether the header of a CSV file has the column.

    Raises:
        Refused: the file cannot be read.
    """
    return column in next(_rows(path), (1, []))[1]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of its last line, cells) for each row of a CSV file."""
    reader, begin = csv.reader(_text(path).splitlines(keepends=True)), 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:  # a cell of over 128 KB: the quote that opens it is not closed
            raise Refused(f"{path} line {begin}: not CSV ({error}). Close its quotes.") from error
        if cells is None:
            return
        yield reader.line_num, cells
        begin = reader.line_num + 1


def json_content(path: Path, kind: type) -> Any:
    """Reads a JSON file whose top level is a `kind` (dict or list).

    Raises:
        Refused: the file cannot be read, is not JSON, or has another top level.
    """
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise Refused(f"{path} line {error.lineno}: not JSON: {error.msg}.") from error
    if not isinstance(content, kind):
        raise Refused(f"{path}: must be a JSON {kind.__name__}. Is it the right file?")
    return content


def cell(row: dict[str, str], column: str, pattern: str, place: str, wanted: str) -> str:
    """Returns the cell of a column, which must match `pattern` as a whole (ASCII).

    Raises:
        Refused: it does not match; the message says that it must be `wanted`.
    """
    if not re.fullmatch(pattern, row[column], re.ASCII):
        raise Refused(f"{place}: '{column}' must be {wanted}, not '{row[column]}'.")
    return row[column]


def inside(path: str, place: str) -> str:
    """Normalises a relative path, which must stay below its folder.

    Raises:
        Refused: the path is empty or absolute, or has a part "..".
    """
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise Refused(f"{place}: path '{path}' is not a path below the folder of the videos.")
    return parts.as_posix()


def join(*parts: str) -> str:
    """Joins the parts of a path with "/"."""
    return PurePosixPath(*parts).as_posix()


def composed(label: str) -> str:
    """Returns a label with composed accents (Unicode's NFC).

    Names from macOS have each accent as a character of its own (NFD); both forms look the same and
    are one class.
    """
    return unicodedata.normalize("NFC", label)


def trained_classes(rows: Iterable[Video]) -> tuple[str, ...]:
    """Returns the labels of the training videos, in alphabetical order."""
    return tuple(sorted({name for row in rows if row.split == "train" for name in row.names}))


def unknown_class(label: str, classes: Iterable[str]) -> str:
    """Words the refusal of a label that is no class, with the closest class that there is."""
    close = difflib.get_close_matches(label, classes, 1)
    hint = f"Did you mean '{close[0]}'?" if close else "No training video has it. Fix the row."
    return f"unknown class '{label}'. {hint}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refused(
            f"{path}: cannot be read ({error.strerror}). "
            "Fix annotate.files in params.yaml: its paths are relative to the data root."
        ) from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8 text at byte {error.start}. Save it as UTF-8.") from error
