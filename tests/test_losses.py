"""Lost videos are counted over the whole data set, and each of them is named by its own path."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import imageio_ffmpeg
import pandas as pd
import pytest
import yaml
from support import ROOT, corpus, programs

from autox3d.commands import given
from autox3d.core.records import Account
from autox3d.core.tables import read_classes, read_table, write_table
from autox3d.core.values import Encoding
from autox3d.datasets import listing, losses
from autox3d.inference.files import open_video
from autox3d.ingest import source

SHARDS = range(8)
BAD = "train/boat/Ünlesbar ünd lang, 1.mp4"


def stage(folder: Path, name: str, flags: str, code: int = 0) -> str:
    """What a stage prints; the last line of its errors where it is to refuse."""
    command = [sys.executable, "-m", f"autox3d.stages.{name}", *flags.split()]
    done = programs.run("data", command, folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1] if code else done.stdout


def index(folder: Path, code: int = 0) -> str:
    """What the stage `index` says."""
    flags = "--videos data/videos.parquet --index data/index --clips data/clips.parquet"
    return stage(
        folder, "index", f"{flags} --unused data/unused.csv --report results/data.json", code
    )


def annotated(folder: Path, code: int = 0) -> str:
    """What the stage `annotate` says."""
    return stage(folder, "annotate", "--videos data/videos.parquet --lists data/lists", code)


def transcoded(folder: Path, shard: int = 0) -> str:
    """What the stage `transcode` says."""
    return stage(
        folder,
        "transcode",
        f"--list data/lists/{shard}.parquet --shard data/shards/{shard}.tar "
        f"--index data/index/{shard}.parquet",
    )


def settings(folder: Path, shards: int = 8, max_lost: float = 0.2, **annotate: object) -> None:
    """Writes params.yaml."""
    content = yaml.safe_load((ROOT / "params/folder.yaml").read_text())
    content["annotate"] |= {"shards": list(range(shards))} | annotate
    content["transcode"] |= {"short": 48, "preset": "ultrafast", "max_lost": max_lost}
    content["subset"]["classes"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def video(path: Path, hue: int = 0) -> None:
    """Makes a short one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10", "-vf", f"hue=h={hue}")
    corpus.ffmpeg(*picture, *corpus.H264, seconds=0.3, to=path)


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


# ---- nothing in silence


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
