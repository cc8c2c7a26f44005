"""The stages annotate, transcode, index and subset, run as programs on real files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.data_stages import FLAGS, PARAMS, stage, write_settings

from autox3d.core import tables
from autox3d.core.tables import read_classes, read_table
from autox3d.datasets import catalogue, demo
from autox3d.ingest import encode


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """All data stages of the demo, run on 8 x (2 + 1 + 1) videos and the bad ones."""
    folder = tmp_path_factory.mktemp("made")
    write_settings(folder, demo=PARAMS["annotate"]["demo"] | {"train": 2, "val": 1, "test": 1})
    for name in FLAGS:
        stage(folder, name)
    return folder


def test_every_video_is_accounted_for(made):
    """32 good ones are clips; the refused are named with their reasons, the missing counted."""
    data = json.loads((made / "results/data.json").read_text())

    assert {name: data[name] for name in ("listed", "usable", "missing", "refused")} == {
        "listed": 32 + len(demo.BAD), "usable": 32, "missing": 2, "refused": 5,
    }  # fmt: skip
    assert data["encoders"] == [encode.version()]
    assert data["refused_by_reason"] == {"empty": 1, "not_a_video": 3, "truncated": 1}
    assert data["by_split"]["val"] == {"listed": 8, "usable": 8, "missing": 0, "refused": 0}
    counts = {"listed": 5, "usable": 4, "missing": 0, "refused": 1}
    assert {"class": "zoom_in", **counts} in data["by_class"]
    assert data["refused_videos"][-1] == {
        "key": "train-zoom_in-empty",
        "path": "demo/train/zoom_in/empty.mp4",
        "reason": "empty",
        "message": "the file has no content",
    }


def test_the_table_of_clips_is_sorted_and_labelled(made):
    """It is sorted by split and key; a label is the index of its class in alphabetical order."""
    rows, classes = (
        read_table(made / "data/clips.parquet"),
        read_classes(made / "data/clips.parquet"),
    )

    assert list(rows.columns) == catalogue.CLIP_COLUMNS
    assert list(classes) == sorted(classes)
    assert rows[["split", "key"]].apply(tuple, axis=1).is_monotonic_increasing
    assert [classes[label] for label in rows["label"]] == [key.split("-")[1] for key in rows["key"]]
    with (made / "data/shards" / rows["shard"].iloc[0]).open("rb") as shard:
        shard.seek(rows["offset"].iloc[0])
        assert shard.read(12)[4:8] == b"ftyp"


def test_the_subset_has_both_halves(made):
    """One training clip of each class for the weights, one for alpha."""
    rows = read_table(made / "data/subset.parquet")

    assert rows["split"].value_counts().to_dict() == {"train": 16, "val": 8}
    assert rows.groupby(["label", "half"]).size().to_dict() == {
        (label, half): 1 for label in range(8) for half in ("alpha", "weights")
    }


def test_what_the_labels_are_for_is_in_every_table(made, tmp_path):
    """From the table of videos, where `annotate` writes it, to the clips of training and search."""
    data = tmp_path / "data"
    shutil.copy(made / "params.yaml", tmp_path)
    shutil.copytree(made / "data/index", data / "index")
    videos = made / "data/videos.parquet"
    tables.write_table(read_table(videos), data / "videos.parquet", read_classes(videos), "ranked")
    for name in ("index", "subset"):
        stage(tmp_path, name)

    assert tables.read_task(data / "clips.parquet") == "ranked"
    assert tables.read_task(data / "subset.parquet") == "ranked"
    assert tables.read_task(made / "data/subset.parquet") == "classify"


def test_a_second_run_gives_the_same_bytes(made, tmp_path, monkeypatch):
    """Even in another folder, with the data root elsewhere."""
    monkeypatch.setenv("AUTOX3D_RAW", str(made / "data/raw"))
    shutil.copy(made / "params.yaml", tmp_path)
    stage(tmp_path, "annotate")
    shutil.copytree(made / "data/index", tmp_path / "data/index")
    stage(tmp_path, "index")
    stage(tmp_path, "subset")

    for name in ("videos.parquet", "lists/0.parquet", "clips.parquet", "subset.parquet"):
        assert (tmp_path / "data" / name).read_bytes() == (made / "data" / name).read_bytes()


def test_metrics_are_as_dvc_wants_them(made):
    """`dvc metrics` shows the numbers, and leaves out the lists of classes and names."""
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q", "--no-scm"], cwd=made, check=True)
    show = [*dvc, "metrics", "show", "results/data.json", "--json"]
    shown = json.loads(subprocess.run(show, cwd=made, capture_output=True, check=True).stdout)

    data = shown[""]["data"]["results/data.json"]["data"]
    assert data["usable"] == 32
    assert data["by_split"].keys() == {"train", "val", "test"}
    assert data.keys().isdisjoint({"by_class", "encoders", "refused_videos"})
