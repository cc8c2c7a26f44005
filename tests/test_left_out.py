"""Nothing is left out in silence: missing videos, other containers, files that are no videos."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pandas as pd
import pytest
from support import corpus
from support.data_stages import annotated, index, settings, transcoded, video

from autox3d.commands import given
from autox3d.core.tables import read_table
from autox3d.datasets import listing
from autox3d.inference.files import open_video
from autox3d.ingest import source


def test_missing_videos_are_named_with_the_row_that_lists_them(tmp_path):
    """Windows' backslashes, another case, an address: the stage says which rows they are."""
    settings(tmp_path, shards=1, dataset="csv", videos="v", files={"list": "list.csv"})
    wrong = ["cats\\a.mp4", "CATS/a.mp4", "b.mp4", "c.mp4", "https://x.org/a.mp4", "z.mp4", "y.mp4"]
    text = "".join(f"{name},cat,train\n" for name in ["cats/a.mp4", *wrong])
    top = tmp_path / "data/raw/v"
    video(top / "cats/a.mp4")
    (tmp_path / "data/raw/list.csv").write_text(f"path,label,split\n{text}")

    said = annotated(tmp_path).splitlines()

    rows = {f"v/{Path(name)}": number for number, name in enumerate(wrong, 3)}
    meant = {"v/cats\\a.mp4": "; there is v/cats/a.mp4", "v/CATS/a.mp4": "; there is v/cats/a.mp4"}
    named = "; ".join(
        f"{path} (data/raw/list.csv line {rows[path]}{meant.get(path, '')})"
        for path in ["v/CATS/a.mp4", *sorted(rows)[1:5]]
    )
    assert said == [
        "8 videos of 1 classes, 1 of them on disk",
        f"7 missing: {named}; and 2 more. The stage `index` names all",
    ]
    transcoded(tmp_path)
    index(tmp_path)
    table = pd.read_csv(tmp_path / "data/unused.csv")
    assert table["path"].tolist() == sorted(rows)
    assert set(table["status"]) == {"missing"}


def test_a_folder_of_a_file_server_is_no_loss(tmp_path):
    """What systems leave beside the videos is no video: not refused, and in no list."""
    settings(tmp_path, shards=1)
    top = tmp_path / "data/raw/videos/train/cat"
    video(top / "a.mp4")
    for name in (
        "._a.mp4",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "__MACOSX/._a.mp4",
        "@eaDir/a.jpg",
    ):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_bytes(bytes(100))

    assert annotated(tmp_path) == "1 videos of 1 classes, 1 of them on disk\n"


def test_classes_that_differ_by_capitals_are_told(tmp_path):
    """They are two classes, since they may be meant so."""
    settings(tmp_path, shards=1)
    for name in ("Walk", "walk", "run"):
        (tmp_path / f"data/raw/videos/train/{name}").mkdir(parents=True)
        (tmp_path / f"data/raw/videos/train/{name}/a.mp4").touch()

    assert annotated(tmp_path).splitlines() == [
        "3 videos of 3 classes, 3 of them on disk",
        "2 classes that differ by capitals only: 'Walk', 'walk'",
    ]


def unread(folder: Path) -> dict[str, str]:
    """Files of containers that are not read, as name -> what is said of it."""
    folder.mkdir(parents=True)
    source = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=10")
    for name, options in {
        "anim.gif": [],
        "raw.h264": [*corpus.H264],
        "raw.ivf": ["-c:v", "libvpx"],
        "cam 1.mxf": ["-r", "25", "-c:v", "mpeg2video"],
        "raw.y4m": [],
    }.items():
        corpus.ffmpeg(*source, *options, seconds=0.5, to=folder / name)
    shutil.copyfile(folder / "anim.gif", folder / "named.mp4")
    (folder / "words.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhé\n")
    convert = "this container is not read; convert it with `ffmpeg -i {} {}`"
    targets = {
        "anim.gif": "anim.mp4",
        "raw.h264": "raw.mp4",
        "raw.ivf": "raw.mp4",
        "'cam 1.mxf'": "'cam 1.mp4'",
        "raw.y4m": "raw.mp4",
        "named.mp4": "named.mkv",
    }
    said = {name.strip("'"): convert.format(name, target) for name, target in targets.items()}
    return said | {"words.srt": "a text file, no video"}


def test_a_container_that_is_not_read_says_how_it_is_converted(tmp_path):
    """In `transcode` and in `predict`, whatever the name; and the command that is named works."""
    top = tmp_path / "data/raw/videos/train/cat"
    wanted = unread(top)
    video(top / "good.mp4")
    settings(tmp_path, shards=1, max_lost=1.0)
    annotated(tmp_path)
    said = transcoded(tmp_path)

    assert said.startswith("data/lists/0.parquet: 7 refused: videos/train/cat/")
    assert said.endswith("; and 2 more\n")
    table = read_table(tmp_path / "data/index/0.parquet")
    names = read_table(tmp_path / "data/lists/0.parquet").set_index("key")["path"]
    table = table.set_index(table["key"].map(names).str.rpartition("/")[2])
    assert table.loc[[*wanted], "message"].to_dict() == wanted
    assert set(table.loc[[*wanted], "reason"]) == {"not_a_video"}
    assert table["status"]["good.mp4"] == "ok"
    for name, message in wanted.items():
        with pytest.raises(source.BadVideo) as caught:
            open_video(top / name)
        assert str(caught.value) == message
        if "`" in message:
            command = shlex.split(message.split("`")[1])
            command[0] = imageio_ffmpeg.get_ffmpeg_exe()
            subprocess.run([*command, "-y"], cwd=top, check=True, capture_output=True)
            assert source.probe(top / command[-1]).width == 96


def test_a_folder_to_predict_says_what_it_leaves_out(tmp_path, capsys):
    """One line; names that are a video's are taken in any case, hidden ones are not there."""
    folder = tmp_path / "clips"
    taken = ["a.MP4", "disc.vob", "old.divx", "phone.3g2", "deep/er/b.mpv", "c.webm"]
    left = ["anim.gif", "raw.h264", "cam.mxf", "x.txt", "y.TXT", "README"]
    hidden = ["._a.MP4", ".hidden/a.mp4", "Thumbs.db", "__MACOSX/._a.mp4", "__MACOSX/a.mp4"]
    for name in taken + left + hidden:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "gone.mp4").symlink_to("nowhere.mp4")  # predict has a line for it
    taken.append("gone.mp4")

    assert given.video_files([str(folder)]) == sorted(folder / name for name in taken)
    assert capsys.readouterr().err == (
        f"{folder}: 6 of 13 files are skipped, whose names are no video's: 2 .txt, 1 README, "
        f"1 .gif, 1 .mxf, 1 .h264 (first: {folder}/README). Name a file to try it.\n"
    )
    for name in [*left, "gone.mp4"]:
        (folder / name).unlink()
    taken.remove("gone.mp4")
    given.video_files([str(folder)])
    assert capsys.readouterr().err == ""
    assert given.video_files([f"{folder}/*"]) == sorted(
        folder / name for name in taken if "/" not in name
    )
    assert given.video_files([f"{folder}/._a.MP4"]) == [folder / "._a.MP4"]  # named, so tried


@pytest.mark.parametrize("name", ["disc.vob", "old.divx", "phone.3g2", "clip.m2t", "a.qt", "b.ogm"])
def test_what_a_folder_takes_is_read(name, tmp_path):
    """Under its name, as ffmpeg writes it."""
    options = {
        "disc.vob": ["-r", "25", "-c:v", "mpeg2video", "-f", "vob"],
        "old.divx": ["-c:v", "libxvid", "-f", "avi"],
        "phone.3g2": ["-c:v", "mpeg4"],
        "clip.m2t": [*corpus.H264, "-f", "mpegts"],
        "a.qt": [*corpus.H264, "-f", "mov"],
        "b.ogm": ["-c:v", "libtheora", "-f", "ogg"],
    }[name]
    picture = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25")
    corpus.ffmpeg(*picture, *options, seconds=0.4, to=tmp_path / name)

    assert given.video_files([str(tmp_path)]) == [tmp_path / name]
    assert source.probe(tmp_path / name).width == 96


def test_a_file_that_is_spelt_otherwise_is_found(tmp_path):
    """By capitals in any part of its path, by accents, by backslashes; no other file is."""
    for name in ("v/Cats/A.MP4", "v/caf\u00e9/b.mp4", "v/cafe\u0301s/b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()

    found = {
        "V/cats/a.mp4": "v/Cats/A.MP4",
        "v\\Cats\\A.MP4": "v/Cats/A.MP4",
        "v/cafe\u0301/b.mp4": "v/caf\u00e9/b.mp4",
        "v/caf\u00e9s/B.mp4": "v/cafe\u0301s/b.mp4",
        "v/cafe/b.mp4": None,
        "v/Cats/b.mp4": None,
        "v/Cats/A.MP4/c": None,
        "https://x.org/a.mp4": None,
    }
    assert {path: listing.spelt_otherwise(tmp_path, path) for path in found} == found
