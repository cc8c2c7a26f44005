"""The videos of a data set that cannot be used: each by its own path, and how many may be lost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pandas as pd

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.core.reasons import first_of
from autox3d.core.records import Account, SameContent

COLUMNS = ["path", "label", "split", "status", "reason", "message"]


def unused(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns COLUMNS of the videos that are refused or missing, the refused ones first, by path.

    `rows` has the status of every video of the data set (`catalogue.join`).
    """
    lost = rows[rows["status"].isin(("refused", "missing"))]
    return lost.sort_values(["status", "path"], ascending=[False, True])[COLUMNS]


def write(lost: pd.DataFrame, path: Path) -> None:
    """Writes the table of `unused` as a CSV file."""
    atomic.write_text(path, lost.to_csv(index=False, lineterminator="\n"))


def allowed(max_lost: float, present: int) -> int:
    """Returns how many of the videos that are there may be refused.

    The share is rounded up to a whole video, so that one bad file never stops a small data set;
    only `max_lost` 0 allows none.
    """
    return math.ceil(Fraction(str(max_lost)) * present)  # exact: 0.07 of 100 videos are 7


def refuse_too_many(rows: pd.DataFrame, max_lost: float, table: Path) -> None:
    """Checks that not more than the share `max_lost` of the videos that are there are refused.

    Missing videos do not count, nor training copies of held-out videos, which no file is at fault
    for. `table` is the file that names all of them.

    Raises:
        Refused: there are more; the message names the first of them.
    """
    refused = unused(rows[(rows["status"] == "refused") & (rows["reason"] != "copy")])
    present = int((rows["status"] != "missing").sum())
    if len(refused) <= allowed(max_lost, present):
        return
    raise Refused(
        f"{table}: {len(refused)} of {present} videos cannot be used, and transcode.max_lost "
        f"{max_lost} allows {allowed(max_lost, present)}: {first_of(_named(refused))}. Replace "
        "them and run `make rescan`, or raise transcode.max_lost; nothing is decoded anew for it."
    )


def lines(lost: pd.DataFrame, table: Path) -> Iterator[str]:
    """Yields a line for each status: how many videos, and the first of them by name."""
    for status, part in lost.groupby("status", sort=False):
        yield f"{len(part)} {status}: {first_of(_named(part))}"
    if len(lost):
        yield f"{table} names all of them, with the reasons"


def contradictions(account: Account, report: Path) -> Iterator[str]:
    """Yields a line if videos of one split have the same content and different labels."""
    found = account.two_labels
    if found:
        named = first_of([_one_of_each(same) for same in found])
        yield f"the same content under two labels in one split: {named}. {report} names all"


def _one_of_each(same: SameContent) -> str:
    """Names one video of each label."""
    pairs = zip(reversed(same.labels), reversed(same.paths), strict=True)
    first = sorted(dict(pairs).items(), key=lambda pair: same.paths.index(pair[1]))
    return ", ".join(f"{path} is '{label}'" for label, path in first)


def _named(lost: pd.DataFrame) -> list[str]:
    """Returns the path of each video, and the reason unless it is missing."""
    return [
        path if status == "missing" else f"{path} ({reason}: {message})"
        for path, status, reason, message in zip(
            lost["path"], lost["status"], lost["reason"], lost["message"], strict=True
        )
    ]
