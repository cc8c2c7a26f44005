"""The usable clips of all shards as one table, and an account of every video that is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from autox3d.core.errors import Refused
from autox3d.core.records import Account, Counts, RefusedVideo
from autox3d.core.tables import read_table

CLIPS = ["key", "video", "label", "split", "shard", "offset", "length", "frames", "rate"]
CLIPS += ["width", "height", "sha256"]
HELD_OUT = ("val", "test")


def join(videos: pd.DataFrame, indexes: Path) -> pd.DataFrame:
    """The videos, each with what its shard's index says; a video is in one shard or in none.

    Raises:
        Refused: an index is missing, or not of these videos.
    """
    listed = videos["status"] == "listed"
    shards = sorted(set(videos["shard"][listed]))  # the folder may hold those of other settings
    parts = [read_table(indexes / f"{shard}.parquet") for shard in shards]
    index = pd.concat(parts, ignore_index=True)
    lost = sorted(set(index["key"]) ^ set(videos["key"][listed]))
    if lost:
        raise Refused(
            f"{indexes}: not of the videos now listed (first: {lost[0]}). "
            "Run the stage `transcode`."
        )
    told = videos[~listed].drop(columns="shard")
    made = videos[listed].drop(columns=["shard", "status", "reason", "message"])
    return pd.concat([made.merge(index, on="key", validate="1:1"), told], ignore_index=True)


def refuse_copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Refuses training clips that are, bit for bit, clips of val or test too."""
    usable = rows[rows["status"] == "ok"]
    held_out = usable[usable["split"].isin(HELD_OUT)]
    twins = dict(zip(held_out["sha256"], held_out["key"], strict=True))
    copies = (rows["status"] == "ok") & (rows["split"] == "train") & rows["sha256"].isin(twins)
    rows = rows.copy()
    rows.loc[copies, ["status", "reason"]] = ["refused", "copy"]
    rows.loc[copies, "message"] = [
        f"the same content as {twins[digest]}, which is held out"
        for digest in rows["sha256"][copies]
    ]
    return rows


def clips(rows: pd.DataFrame, classes: Sequence[str], source: Path) -> pd.DataFrame:
    """The usable ones, by split and key, labels as numbers (-1: none); columns CLIPS.

    Raises:
        Refused: a class has no usable training video left.
    """
    usable = rows[rows["status"] == "ok"]
    trained = set(usable.loc[usable["split"] == "train", "label"])
    for name in classes:
        if name not in trained:
            lost = (rows["label"] == name) & (rows["split"] == "train")
            raise Refused(
                f"{source}: no usable training video of class '{name}' is left of {lost.sum()}. "
                f"Mend its videos (the first: {_why(rows[lost])}), or take the class out."
            )
    number = {name: label for label, name in enumerate(classes)}
    usable = usable.assign(label=usable["label"].map(number).fillna(-1).astype("int64"))
    whole = ["offset", "length", "frames", "rate", "width", "height"]
    usable = usable.astype(dict.fromkeys(whole, "int64"))
    return usable.sort_values(["split", "key"], ignore_index=True)[CLIPS]


def _why(rows: pd.DataFrame) -> str:
    first = rows.sort_values("key").iloc[0] if len(rows) else None
    return "none is listed" if first is None else f"{first['path']}: {first['message']}"


def account(rows: pd.DataFrame, classes: Sequence[str]) -> Account:
    """Counts of all that was listed, usable, missing and refused; and each refusal by name."""
    refused = rows[rows["status"] == "refused"]
    reasons = refused.groupby("reason").size().items()
    return Account(
        total=_counts(rows),
        classes=len(classes),
        encoders=tuple(sorted(rows["encoder"].dropna().unique())),
        refused_by_reason={str(reason): int(count) for reason, count in reasons},
        by_split={str(split): _counts(part) for split, part in rows.groupby("split")},
        by_class={name: _counts(rows[rows["label"] == name]) for name in classes},
        refused_videos=tuple(
            RefusedVideo(**{name: row[name] for name in ("key", "path", "reason", "message")})
            for row in refused.sort_values("key").to_dict("records")
        ),
    )


def _counts(rows: pd.DataFrame) -> Counts:
    status = rows["status"].value_counts()
    return Counts(
        listed=len(rows),
        usable=int(status.get("ok", 0)),
        missing=int(status.get("missing", 0)),
        refused=int(status.get("refused", 0)),
    )
