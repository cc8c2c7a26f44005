"""The table of usable clips of all shards, and an account of every video that is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from autox3d.core import reasons
from autox3d.core.errors import Refused
from autox3d.core.records import Account, Counts, RefusedVideo, SameContent
from autox3d.core.tables import read_table
from autox3d.datasets import labels, moments

CLIP_COLUMNS = ["key", "video", "label", "split", "shard", "offset", "length", "frames", "rate"]
CLIP_COLUMNS += ["width", "height", "sha256"]
INTEGER_COLUMNS = ["offset", "length", "frames", "rate", "width", "height"]
HELD_OUT = ("val", "test")


def join(videos: pd.DataFrame, indexes: Path) -> pd.DataFrame:
    """Adds to each listed video its row of its shard's index; the other videos stay as they are.

    Raises:
        Refused: an index is missing, or not of these videos.
    """
    listed = videos["status"] == "listed"
    shards = sorted(set(videos["shard"][listed]))  # the folder may hold those of other settings
    parts = [read_table(indexes / f"{shard}.parquet") for shard in shards]
    index = pd.concat(parts, ignore_index=True)
    unmatched = sorted(set(index["key"]) ^ set(videos["key"][listed]))
    if unmatched:
        raise Refused(
            f"{indexes}: not of the videos now listed (first: {unmatched[0]}). "
            "Run the stage `transcode`."
        )
    unlisted = videos[~listed].drop(columns="shard")
    indexed = videos[listed].drop(columns=["shard", "status", "reason", "message"])
    indexed = indexed.merge(index, on="key", validate="1:1")
    return pd.concat([indexed, unlisted], ignore_index=True)


def refuse_copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Refuses training clips that have the same bytes as a clip of val or test."""
    usable = rows[rows["status"] == "ok"]
    held_out = usable[usable["split"].isin(HELD_OUT)]
    twins = dict(zip(held_out["sha256"], held_out["path"], strict=True))
    copies = (rows["status"] == "ok") & (rows["split"] == "train") & rows["sha256"].isin(twins)
    rows = rows.copy()
    whys = [reasons.copy_of(twins[digest]) for digest in rows["sha256"][copies]]
    rows.loc[copies, "status"] = "refused"
    rows.loc[copies, "reason"] = [why.reason for why in whys]
    rows.loc[copies, "message"] = [why.message for why in whys]
    return rows


def two_labels(rows: pd.DataFrame) -> tuple[SameContent, ...]:
    """Finds the usable clips of a split that have the same bytes, but not the same label."""
    labelled = rows[(rows["status"] == "ok") & rows["label"].notna()]
    same = labelled[labelled.duplicated(["split", "sha256"], keep=False)].sort_values("path")
    found = []
    for (split, _), part in same.groupby(["split", "sha256"]):
        if part["label"].nunique() > 1:
            paths, labels = tuple(part["path"]), tuple(part["label"])
            found.append(SameContent(split=str(split), paths=paths, labels=labels))
    return tuple(sorted(found, key=lambda one: (one.split, one.paths)))


def clips(rows: pd.DataFrame, classes: Sequence[str], source: Path) -> pd.DataFrame:
    """Returns the usable clips, sorted by split and key, with labels as numbers (-1: none).

    The columns are CLIP_COLUMNS, with lists of labels in place of a label where a video may have
    several (`labels.LISTS`); `source`, the table of videos, is for messages alone.

    Raises:
        Refused: a class has no usable training video left, or only after their ends.
    """
    usable = rows[rows["status"] == "ok"]
    train = usable[usable["split"] == "train"]
    trained = set(labels.each(labels.seen(train)))
    for name in classes:
        if name not in trained:
            if late := list(train.loc[labels.of_class(train, name), "path"]):
                raise Refused(
                    f"{source}: class '{name}' begins after the end of each of its {len(late)} "
                    f"training videos (first: {late[0]}). Times are seconds of the video."
                )
            lost = labels.of_class(rows, name) & (rows["split"] == "train")
            raise Refused(
                f"{source}: class '{name}' has no usable training video (of {lost.sum()} listed). "
                f"Fix its videos (first: {_first_fault(rows[lost])}), or take the class out."
            )
    number = {name: label for label, name in enumerate(classes)}
    boxed = "proposed" in usable
    usable = (
        moments.exploded(usable, number, source) if boxed else labels.renumbered(usable, number)
    )
    usable = usable.astype(dict.fromkeys(INTEGER_COLUMNS, "int64"))
    kept = [name for name in CLIP_COLUMNS if name != "label" or "labels" not in usable]
    kept += [name for name in (moments.CLIPS if boxed else labels.LISTS) if name in usable]
    return usable.sort_values(["split", "key"], ignore_index=True)[kept]


def _first_fault(rows: pd.DataFrame) -> str:
    first = rows.sort_values("key").iloc[0] if len(rows) else None
    return "none is listed" if first is None else f"{first['path']}: {first['message']}"


def account(rows: pd.DataFrame, classes: Sequence[str]) -> Account:
    """Counts the listed, usable, missing and refused videos, and names every refused one."""
    refused = rows[rows["status"] == "refused"]
    by_reason = refused.groupby("reason").size().items()
    return Account(
        total=_counts(rows),
        classes=len(classes),
        encoders=tuple(sorted(rows["encoder"].dropna().unique())),
        refused_by_reason={str(reason): int(count) for reason, count in by_reason},
        by_split={str(split): _counts(part) for split, part in rows.groupby("split")},
        by_class={name: _counts(rows[labels.of_class(rows, name)]) for name in classes},
        refused_videos=tuple(
            RefusedVideo(**{name: row[name] for name in ("key", "path", "reason", "message")})
            for row in refused.sort_values("key").to_dict("records")
        ),
        two_labels=two_labels(rows),
    )


def _counts(rows: pd.DataFrame) -> Counts:
    status = rows["status"].value_counts()
    return Counts(
        listed=len(rows),
        usable=int(status.get("ok", 0)),
        missing=int(status.get("missing", 0)),
        refused=int(status.get("refused", 0)),
    )
