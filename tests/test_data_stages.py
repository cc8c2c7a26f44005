"""The stages annotate, transcode, index and subset, run as programs on real files."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pandas as pd
import pytest
import yaml
from support import ROOT, corpus
from support.data_stages import FLAGS, flags, stage

from autox3d.core import tables
from autox3d.core.reasons import REASONS
from autox3d.core.tables import read_classes, read_table
from autox3d.datasets import catalogue, demo
from autox3d.ingest import encode

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def write_settings(folder: Path, **annotate: object) -> None:
    """Writes params.yaml with one shard, small data settings, and `annotate` as given."""
    content = PARAMS | {"annotate": PARAMS["annotate"] | {"shards": [0]} | annotate}
    content["subset"] = PARAMS["subset"] | {"classes": None, "train": 2, "val": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


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


# ---- what users do wrong


def folders(root: Path, *paths: str) -> None:
    for path in paths:
        (root / "data/raw/v" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "data/raw/v" / path).write_text("no video")


def test_a_class_without_a_usable_video_is_refused(tmp_path):
    """Its files exist, but none can be used: the stage refuses in one line, and writes nothing."""
    write_settings(tmp_path, dataset="folder", videos="v")
    folders(tmp_path, "train/cat/a.mp4", "train/dog/b.mp4", "val/dog/c.mp4")
    stage(tmp_path, "annotate")
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["transcode"]["max_lost"] = 1.0
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    stage(tmp_path, "transcode")

    assert stage(tmp_path, "index", code=1).startswith(
        "data/videos.parquet: class 'cat' has no usable training video (of 1 listed). "
        "Fix its videos (first: v/train/cat/a.mp4: no video container"
    )
    assert not (tmp_path / "data/clips.parquet").exists()
    assert not (tmp_path / "results/data.json").exists()


def test_mistakes_in_annotations_end_in_one_line(tmp_path):
    """So do a missing file and an unknown class; nothing is written."""
    write_settings(tmp_path, dataset="csv", videos="v", files={"list": "list.csv"})
    assert stage(tmp_path, "annotate", code=1) == (
        "data/raw/list.csv: cannot be read (No such file or directory). "
        "Fix annotate.files in params.yaml: its paths are relative to the data root."
    )
    folders(tmp_path, "a.mp4")
    (tmp_path / "data/raw/list.csv").write_text(
        "path,label,split\na.mp4,cat,train\nb.mp4,cab,val\n"
    )
    assert stage(tmp_path, "annotate", code=1) == (
        "data/raw/list.csv line 3: unknown class 'cab'. Did you mean 'cat'?"
    )
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["raw"]


def test_mistakes_in_settings_end_in_one_line(tmp_path):
    """So do an unknown key, an unknown data set and an empty list of shards."""
    write_settings(tmp_path, video="v")
    assert stage(tmp_path, "annotate", code=1) == (
        "params.yaml: unknown 'annotate.video'. Did you mean 'videos'?"
    )
    write_settings(tmp_path, dataset="ufc101")
    assert stage(tmp_path, "annotate", code=1) == (
        "params.yaml: 'annotate.dataset' must be one of 'ava', 'boxes', 'charades', 'csv', 'demo', "
        "'demo_boxes', 'demo_labels', 'demo_streams', 'diving48', 'folder', 'hmdb51', 'jester', "
        "'kinetics', "
        "'mmaction2', 'slowfast', 'somethingv2' or 'ucf101', not 'ufc101'. Did you mean 'ucf101'?"
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "params.yaml"]
    write_settings(tmp_path, shards=[])
    assert stage(tmp_path, "annotate", code=1).startswith("params.yaml: 'annotate.shards' must be ")


LOSES = """#!/bin/sh
case "$*" in
  *stuck.mp4*) kill -STOP $PPID; sleep 60 ;;
  *dies.mp4*) kill -KILL $PPID ;;
  *) exec "{ffmpeg}" "$@" ;;
esac
"""
SOON = (  # the stage, whose workers have one second in addition to ffmpeg's timeout
    "from autox3d.runtime.program import run; from autox3d.ingest import transcode; "
    "transcode.WORKER_MARGIN = 1.0; from autox3d.stages.transcode import main; run(main)"
)


def test_a_worker_that_does_not_come_back_is_a_line_in_the_report(tmp_path):
    """One hangs, one is killed in ffmpeg: both are named, and the third video is used."""
    write_settings(tmp_path, dataset="folder", videos="v")
    names = [f"train/cat/{name}.mp4" for name in ("dies", "good", "stuck")]
    folders(tmp_path, *names)
    for name in names:
        corpus.ffmpeg(*corpus.SOURCE, *corpus.H264, seconds=1, to=tmp_path / "data/raw/v" / name)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["transcode"] |= {"max_lost": 0.6, "timeout": 6.0}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    program = tmp_path / "ffmpeg"
    program.write_text(LOSES.format(ffmpeg=imageio_ffmpeg.get_ffmpeg_exe()))
    program.chmod(0o755)

    stage(tmp_path, "annotate")
    command = [sys.executable, "-c", SOON, *flags("transcode")]
    environment = os.environ | {"IMAGEIO_FFMPEG_EXE": str(program)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    stage(tmp_path, "index")

    data = json.loads((tmp_path / "results/data.json").read_text())
    assert data["usable"] == 1
    assert [(Path(row["path"]).stem, row["reason"]) for row in data["refused_videos"]] == [
        ("dies", "crashed"), ("stuck", "timeout"),
    ]  # fmt: skip
    assert {row["message"] for row in data["refused_videos"]} == {
        REASONS["crashed"], REASONS["timeout"],
    }  # fmt: skip


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter (pytest's own are open to their owner alone)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


RIGHTS = "-dac_override,-dac_read_search"  # takes root's right to ignore permissions


def test_an_unreadable_video_is_refused(tmp_path):
    """This holds for a user without root's rights; the other video is used."""
    rights = ["--inh-caps", RIGHTS, "--bounding-set", RIGHTS]
    drop = ["setpriv", *rights] if os.geteuid() == 0 else []
    write_settings(tmp_path, dataset="folder", videos="v")
    names = ["train/cat/a.mp4", "train/cat/b.mp4"]
    folders(tmp_path, *names)
    good, bad = (tmp_path / "data/raw/v" / name for name in names)
    for path in (good, bad):
        corpus.ffmpeg(*corpus.SOURCE, *corpus.H264, seconds=0.3, to=path)
    bad.chmod(0)
    for name in ("annotate", "transcode", "index"):
        stage(tmp_path, name, *drop)

    data = json.loads((tmp_path / "results/data.json").read_text())
    assert data["usable"] == 1
    assert [(row["path"], row["reason"], row["message"]) for row in data["refused_videos"]] == [
        ("v/train/cat/b.mp4", "unreadable", "cannot be opened (Permission denied)")
    ]


def test_addresses_in_annotations_open_nothing(tmp_path):
    """They are taken for names of files, which do not exist; the host is not contacted."""
    write_settings(tmp_path, dataset="csv", videos="v", files={"list": "list.csv"})
    (tmp_path / "data/raw/v").mkdir(parents=True)
    for name, seconds in {"a": 0.3, "b": 0.6}.items():
        path = tmp_path / f"data/raw/v/{name}.mp4"
        corpus.ffmpeg(*corpus.SOURCE, *corpus.H264, seconds=seconds, to=path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        host = f"http://127.0.0.1:{server.getsockname()[1]}/x.mp4"
        rows = ["path,label,split", "a.mp4,cat,train", "b.mp4,cat,val"]
        rows += [f"{host},cat,train", "concat:v/a.mp4|v/b.mp4,cat,train", "file:a.mp4,cat,train"]
        (tmp_path / "data/raw/list.csv").write_text("\n".join(rows))
        for name in ("annotate", "transcode", "index"):
            stage(tmp_path, name)
        with pytest.raises(BlockingIOError):
            server.accept()

    data = json.loads((tmp_path / "results/data.json").read_text())
    assert {name: data[name] for name in ("listed", "usable", "missing", "refused")} == {
        "listed": 5, "usable": 2, "missing": 3, "refused": 0,
    }  # fmt: skip


def test_an_unwritable_folder_is_one_line(public_folder):
    """The line names the folder and the fix, and nothing is half-written."""
    write_settings(public_folder, dataset="folder", videos="v")
    folders(public_folder, "train/cat/a.mp4")
    (public_folder / "data").chmod(0o555)
    drop = ["setpriv", "--reuid", "65534", "--clear-groups"] if os.geteuid() == 0 else []

    line = stage(public_folder, "annotate", *drop, code=1)

    (public_folder / "data").chmod(0o755)
    assert line.startswith("data/lists: permission denied. Make it accessible to user ")
    assert [path.name for path in (public_folder / "data").iterdir()] == ["raw"]


# ---- joining the shards' indexes


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
