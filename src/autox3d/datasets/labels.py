"""The labels in the tables of videos and clips: one a video, or a list of them with their times.

A table has a column `label`, a name or a number (-1: none). Where a video may have several, or
none, it has three columns of lists instead: `labels`, and `starts` and `ends` in s of the video.
A table of videos keeps `label` beside them, as text to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from autox3d.datasets.annotations import Video

LISTS = ("labels", "starts", "ends")


def columns(videos: Sequence[Video]) -> dict[str, list[Any]]:
    """The columns of a table of videos with several labels each, in order of class and time."""
    ordered = [sorted(video.labels) for video in videos]
    texts = ["; ".join(sorted(video.names)) or None for video in videos]
    values = ([[one[field] for one in labels] for labels in ordered] for field in range(3))
    return {"label": texts, **dict(zip(LISTS, values, strict=True))}


def each(rows: pd.DataFrame) -> pd.Series:
    """The classes of the rows, one entry for each label, under the row's index."""
    if "labels" not in rows:
        return rows["label"][rows["label"].notna() & (rows["label"] != -1)]
    return rows["labels"].explode().dropna()


def of_class(rows: pd.DataFrame, name: str | int) -> pd.Series:
    """Whether each row has the class, bool."""
    if "labels" not in rows:
        return rows["label"] == name
    return pd.Series([name in labels for labels in rows["labels"]], rows.index, dtype=bool)


def seen(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without the labels that begin after the end of their video."""
    if "starts" not in rows:
        return rows
    seconds = rows["frames"] / rows["rate"]
    kept = [
        np.asarray(starts, np.float64) < end
        for starts, end in zip(rows["starts"], seconds, strict=True)
    ]
    return _kept(rows, kept)


def only(rows: pd.DataFrame, classes: Sequence[Any]) -> pd.DataFrame:
    """The rows with those of their several labels that are of these classes."""
    if "labels" not in rows:
        return rows
    return _kept(rows, [np.isin(labels, list(classes)) for labels in rows["labels"]])


def renumbered(rows: pd.DataFrame, number: dict[Any, int]) -> pd.DataFrame:
    """The rows with the labels' numbers; those that have none go, of a single one -1 stays."""
    if "labels" not in rows:
        return rows.assign(label=rows["label"].map(number).fillna(-1).astype("int64"))
    rows = only(rows, list(number))
    numbers = [np.array([number[name] for name in labels], np.int64) for labels in rows["labels"]]
    return rows.assign(labels=pd.Series(numbers, rows.index, dtype="object"))


def _kept(rows: pd.DataFrame, kept: Sequence[np.ndarray]) -> pd.DataFrame:
    """The rows with those of their labels that are marked."""
    columns = {
        name: pd.Series(
            [
                np.asarray(one)[mask.astype(bool)]
                for one, mask in zip(rows[name], kept, strict=True)
            ],
            rows.index,
            dtype="object",
        )
        for name in LISTS
    }
    return rows.assign(**columns)
