"""Indexes of shards are joined to the list of videos, without copies of held-out clips."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from autox3d.core import tables
from autox3d.core.reasons import REASONS
from autox3d.datasets import catalogue


def videos(*rows: tuple[str, str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["key", "label", "split"])
    same = {"path": frame["key"], "video": frame["key"], "shard": 0}
    return frame.assign(**same, status="listed", reason="", message="")


def indexed(folder: Path, *rows: tuple[str, str]) -> Path:
    frame = pd.DataFrame(rows, columns=["key", "sha256"])
    numbers = dict.fromkeys(("offset", "length", "frames", "rate", "width", "height"), 1)
    same = {"shard": "0.tar", "status": "ok", "reason": "", "message": "", "encoder": "7.0.2"}
    frame = frame.assign(**same, **numbers)
    tables.write_table(frame, folder / "0.parquet")
    return folder


def test_a_training_copy_of_a_held_out_clip_is_refused(tmp_path):
    """With the same bytes in training and test, the test would measure memory."""
    listed = videos(("a", "cat", "train"), ("b", "cat", "train"), ("c", "cat", "test"))
    rows = catalogue.join(listed, indexed(tmp_path, ("a", "1"), ("b", "2"), ("c", "2")))
    rows = catalogue.refuse_copies(rows).set_index("key")

    assert rows["status"].to_dict() == {"a": "ok", "b": "refused", "c": "ok"}
    assert rows["reason"]["b"] == "copy"
    assert "copy" in REASONS
    assert rows["message"]["b"] == "the same content as c, which is held out"


def test_an_index_of_other_videos_is_refused(tmp_path):
    """The list has changed since, or a shard is missing: no label may move to another clip."""
    folder = indexed(tmp_path, ("a", "1"), ("b", "2"))
    for listed in (
        videos(("a", "cat", "train")),
        videos(*((key, "cat", "train") for key in "abc")),
    ):
        with pytest.raises(catalogue.Refused) as error:
            catalogue.join(listed, folder)
        first = "b" if len(listed) == 1 else "c"
        assert str(error.value) == (
            f"{tmp_path}: not of the videos now listed (first: {first}). Run the stage `transcode`."
        )
