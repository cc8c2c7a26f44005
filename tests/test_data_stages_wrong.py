"""What users do wrong and what goes wrong in the data stages is a line, or one of the report."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest
import yaml
from support import corpus
from support.data_stages import flags, stage, write_settings

from autox3d.core.reasons import REASONS


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
