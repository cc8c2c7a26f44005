"""Lost videos are counted over the whole data set, and each of them is named by its own path."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import yaml
from support import ROOT
from support.data_stages import annotated, index, settings, transcoded, video

from autox3d.core.records import Account
from autox3d.core.tables import read_classes, read_table, write_table
from autox3d.core.values import Encoding
from autox3d.datasets import losses

SHARDS = range(8)
BAD = "train/boat/Ünlesbar ünd lang, 1.mp4"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 videos in 8 shards, one of which cannot be used; all that comes before `index` is done."""
    folder = tmp_path_factory.mktemp("small")
    settings(folder)
    top = folder / "data/raw/videos"
    for hue, name in enumerate(("boat", "cat")):
        video(top / f"train/{name}/0.mp4", 90 * hue)
        for number in range(1, 13):
            shutil.copyfile(top / f"train/{name}/0.mp4", top / f"train/{name}/{number}.mp4")
    (top / "train/boat/12.mp4").unlink()
    (top / BAD).write_text("no video")
    annotated(folder)
    for shard in SHARDS:
        transcoded(folder, shard)
    return folder


def test_one_bad_video_of_26_does_not_stop_the_data_set(small):
    """In its shard it is one of few; it is named by its path, on the terminal and in the table."""
    said = index(small).splitlines()

    sizes = [len(read_table(small / f"data/lists/{shard}.parquet")) for shard in SHARDS]
    assert sum(sizes) == 26
    (own,) = [
        n
        for n in SHARDS
        if f"videos/{BAD}" in set(read_table(small / f"data/lists/{n}.parquet")["path"])
    ]
    assert 0.2 * sizes[own] < 1  # more than the share of the shard
    why = "not_a_video: no video container (Invalid data found when processing input)"
    assert said == [
        "26 videos: 25 usable, 0 missing, 1 refused",
        f"1 refused: videos/{BAD} ({why})",
        "data/unused.csv names all of them, with the reasons",
    ]
    (row,) = pd.read_csv(small / "data/unused.csv").to_dict("records")
    assert row == {
        "path": f"videos/{BAD}",
        "label": "boat",
        "split": "train",
        "status": "refused",
        "reason": "not_a_video",
        "message": why.partition(": ")[2],
    }
    assert json.loads((small / "results/data.json").read_text())["usable"] == 25


@pytest.fixture
def lossy(small: Path, tmp_path: Path) -> Path:
    """The same data set, in whose indexes seven more videos are refused."""
    for name in ("params.yaml", "data/videos.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(small / name, tmp_path / name)
    shutil.copytree(small / "data/index", tmp_path / "data/index")
    left = 7
    for path in sorted((tmp_path / "data/index").iterdir()):
        rows = pd.read_parquet(path)
        chosen = rows.index[rows["status"] == "ok"][:left]
        left -= len(chosen)
        rows.loc[chosen, ["status", "reason", "message"]] = "refused", "timeout", "too slow"
        rows.to_parquet(path)
    return tmp_path


def test_too_many_refused_videos_stop_the_stage_and_are_all_named(lossy):
    """Eight of 26: five of them are in the line, all in the table, which is there all the same."""
    line = index(lossy, code=1)

    table = pd.read_csv(lossy / "data/unused.csv")
    assert len(table) == 8
    assert list(table["path"]) == sorted(table["path"])
    named = [f"{row.path} ({row.reason}: {row.message})" for row in table[:5].itertuples()]
    assert line == (
        "data/unused.csv: 8 of 26 videos cannot be used, and transcode.max_lost 0.2 allows 6: "
        f"{'; '.join(named)}; and 3 more. Replace them and run `make rescan`, or raise "
        "transcode.max_lost; nothing is decoded anew for it."
    )
    assert not (lossy / "data/clips.parquet").exists()
    settings(lossy, max_lost=0.3)
    assert index(lossy).startswith("26 videos: 18 usable, 0 missing, 8 refused\n")


def test_the_share_is_rounded_up_to_a_whole_video():
    """By counting: the fewest videos that are the share or more. One bad file stops no set."""
    for percent in range(101):
        for present in range(1, 121):
            fewest = next(n for n in range(present + 1) if 100 * n >= percent * present)
            assert losses.allowed(percent / 100, present) == fewest, (percent, present)
    assert [losses.allowed(0.2, present) for present in (1, 2, 5, 6, 26)] == [1, 1, 1, 2, 6]
    assert losses.allowed(0.0, 1000) == 0


def rows(*statuses: tuple[str, str]) -> pd.DataFrame:
    """Rows of the joined tables with these statuses and reasons."""
    frame = pd.DataFrame(statuses, columns=["status", "reason"])
    names = [f"{number}.mp4" for number in frame.index]
    return frame.assign(path=names, label="cat", split="train", message="why")


def test_missing_videos_and_copies_are_no_losses():
    """A video that is not there was not refused, and a copy of a test video is not at fault."""
    table = Path("unused.csv")
    harmless = [("ok", ""), ("missing", "missing"), ("missing", "missing"), ("refused", "copy")]
    losses.refuse_too_many(rows(*harmless), 0.0, table)
    with pytest.raises(losses.Refused, match=r"1 of 3 videos cannot be used"):
        losses.refuse_too_many(rows(*harmless, ("refused", "empty")), 0.0, table)


def test_no_video_is_decoded_anew_for_the_share_that_may_be_lost():
    """`transcode` depends on every setting of its section but that one, `index` on that alone."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    wanted = {f"transcode.{field.name}" for field in fields(Encoding)} - {"transcode.max_lost"}

    assert set(stages["transcode"]["do"]["params"]) == wanted
    assert stages["index"]["params"] == ["transcode.max_lost"]


def test_one_content_under_two_labels_is_told(small, tmp_path):
    """In one split: by a line and in results/data.json. Under one label it is no contradiction."""
    shutil.copytree(small / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw"))
    settings(tmp_path)
    table = tmp_path / "data/videos.parquet"
    classes, rows = read_classes(table), read_table(table)
    chosen = rows["path"] == "videos/train/cat/3.mp4"
    rows.loc[chosen, "label"] = "boat"
    write_table(rows, table, classes, "classify")

    said = index(tmp_path).splitlines()

    cats = [
        f"videos/train/cat/{number}.mp4" for number in (0, 1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9)
    ]
    labels = ["boat" if path.endswith("/3.mp4") else "cat" for path in cats]
    assert said[-1] == (
        "the same content under two labels in one split: videos/train/cat/0.mp4 is 'cat', "
        "videos/train/cat/3.mp4 is 'boat'. results/data.json names all"
    )
    data = json.loads((tmp_path / "results/data.json").read_text())
    assert data["two_labels"] == [{"split": "train", "paths": cats, "labels": labels}]
    assert Account.read(tmp_path / "results/data.json").two_labels[0].paths == tuple(cats)
    index(small)
    assert "two_labels" not in json.loads((small / "results/data.json").read_text())
