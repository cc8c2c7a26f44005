"""Lists prepared for MMAction2 and SlowFast are read as they are; docs/DATA_SETS.md is right."""

from __future__ import annotations

import os
import re
import subprocess

import imageio_ffmpeg
import pytest
import yaml
from support import ROOT, corpus
from support.annotation_files import touch
from support.lists import put, refusal, rows

from autox3d.core import settings
from autox3d.datasets import annotations
from autox3d.ingest import source

PAGE = (ROOT / "docs/DATA_SETS.md").read_text()

# ---- lists with class numbers: MMAction2, SlowFast


def test_mmaction2_reads_a_list_of_videos(tmp_path):
    """That of its documentation; without a class list, the numbers in their order."""
    text = "".join(f"some/path/00{n}.mp4 {label}\n" for n, label in enumerate([1, 1, 2, 2, 10, 10]))
    files = put(
        tmp_path, train=text, val="some/path/x y.mp4 2\n", test="t.mp4\nu.mp4 -1\nw.mp4 1\n"
    )

    annotated = annotations.read("mmaction2", tmp_path, "v", files)

    assert annotated.classes == ("01", "02", "10")
    assert rows(annotated) == [
        ("v/some/path/000.mp4", "01", "train"),
        ("v/some/path/001.mp4", "01", "train"),
        ("v/some/path/002.mp4", "02", "train"),
        ("v/some/path/003.mp4", "02", "train"),
        ("v/some/path/004.mp4", "10", "train"),
        ("v/some/path/005.mp4", "10", "train"),
        ("v/some/path/x y.mp4", "02", "val"),
        ("v/t.mp4", None, "test"),
        ("v/u.mp4", None, "test"),
        ("v/w.mp4", "01", "test"),
    ]


def test_mmaction2_takes_a_label_map_and_a_folder_a_split(tmp_path):
    """As tools/data/kinetics lays them out: videos_train, videos_val, label_map_k400.txt."""
    touch(tmp_path, "v/videos_train/abseiling/a.mp4", "v/videos_val/b.mp4")
    files = put(
        tmp_path,
        classes="abseiling\nair drumming\n",
        train="abseiling/a.mp4 0\nair_drumming/c.mp4 1\n",
        val="b.mp4 1\n",
        test="t.mp4 0\n",
    )

    annotated = annotations.read("mmaction2", tmp_path, "v", files)

    assert annotated.classes == ("abseiling", "air drumming")
    assert rows(annotated) == [
        ("v/videos_train/abseiling/a.mp4", "abseiling", "train"),
        ("v/videos_train/air_drumming/c.mp4", "air drumming", "train"),
        ("v/videos_val/b.mp4", "air drumming", "val"),
        ("v/t.mp4", "abseiling", "test"),
    ]


@pytest.mark.parametrize("separator", [" ", ",", ", ", "\t"])
@pytest.mark.parametrize("absolute", [False, True])
def test_slowfast_reads_its_lists(tmp_path, separator, absolute):
    """With a blank or the comma of DATA.PATH_LABEL_SEPARATOR; absolute paths below the videos."""
    start = f"{tmp_path}/v/" if absolute else ""
    train = [f"{start}a, b c/1.mp4{separator}0", f"{start}2.mp4{separator}1"]
    files = put(
        tmp_path,
        train="\n".join(train),
        val=f"{start}3.mp4{separator}1\n",
        **{"names.json": '{"\\"air drumming\\"": 1, "abseiling": 0}'},
    )
    files["classes"] = files.pop("names.json")

    annotated = annotations.read("slowfast", tmp_path, "v", files)

    assert annotated.classes == ("abseiling", "air drumming")
    assert rows(annotated) == [
        ("v/a, b c/1.mp4", "abseiling", "train"),
        ("v/2.mp4", "air drumming", "train"),
        ("v/3.mp4", "air drumming", "val"),
    ]


FAULTS = [
    (
        "some/directory-1 163 1",
        "a list of frames, and only videos are read. Give a list of videos.",
    ),
    ("some/dir 2 10 163 1", "a list of frames, and only videos are read. Give a list of videos."),
    ("a.mp4 1 3 5", "several numbers after the video. Only one class each is read."),
    ("a.mp4", "'a.mp4' is not PATH LABEL, with the class as a number."),
    ("a.mp4 walk", "'a.mp4 walk' is not PATH LABEL, with the class as a number."),
    ("path label", "'path label' is not PATH LABEL, with the class as a number."),
    ("a.mp4 2", "class 2 is none of the classes 0 to 1 of classes. The first class is number 0."),
    ("a.mp4 -1", "class -1 is none of the classes 0 to 1 of classes. The first class is number 0."),
    ("/data/a.mp4 1", "path '/data/a.mp4' is not a path below the folder of the videos."),
    ("../a.mp4 1", "path '../a.mp4' is not a path below the folder of the videos."),
    ("b.mp4 1", "video 'b.mp4' is listed twice (first: train line 1). Delete one of the two."),
]


@pytest.mark.parametrize("dataset", ["mmaction2", "slowfast"])
@pytest.mark.parametrize(("row", "message"), FAULTS)
def test_a_list_with_numbers_names_a_wrong_row(tmp_path, dataset, row, message):
    """In one line, with its file and line."""
    files = put(tmp_path, classes="run\nwalk\n", train=f"b.mp4 0\n{row}\n")

    assert refusal(tmp_path, dataset, files) == f"train line 2: {message}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "names",
            "run\nrun\n",
            "names line 2: class 'run' or its number 1 is there twice, or none.",
        ),
        ("names", "\n", "names: no class in it. Is it the right file?"),
        ("n.json", '{"a": "0"}', "n.json: class 'a' or its number 0 is there twice, or none."),
        (
            "n.json",
            '{"a": 0, "b": 0}',
            "n.json: class 'b' or its number 0 is there twice, or none.",
        ),
    ],
)
def test_a_class_list_that_cannot_be_right_is_refused(tmp_path, name, content, message):
    put(tmp_path, **{name: content})
    files = put(tmp_path, train="a.mp4 0\n") | {"classes": name}

    assert refusal(tmp_path, "slowfast", files) == message


# ---- docs/DATA_SETS.md


def test_the_page_lists_the_data_sets():
    """Each in its table, and no other one."""
    listed = re.findall(r"(?m)^\| `(\w+)` \|", PAGE)

    assert sorted([*listed, *annotations.GENERATED]) == annotations.names()


@pytest.mark.parametrize("block", re.findall(r"(?s)```yaml\n(.*?)```", PAGE))
def test_the_settings_of_the_page_are_complete(block, tmp_path):
    """In place of the first lines of `annotate` they are right, up to the files themselves."""
    content = yaml.safe_load((ROOT / "params/folder.yaml").read_text())
    content["annotate"] |= yaml.safe_load(block)["annotate"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))

    asked = settings.load(tmp_path / "params.yaml").annotate
    line = refusal(tmp_path, asked.dataset, dict(asked.files))

    assert "annotate.files" in line
    assert any(f"{path}: " in line for path in asked.files.values()), line


def test_the_page_makes_videos_of_jester(tmp_path):
    """The commands of docs/DATA_SETS.md, on two clips of odd sizes."""
    (block,) = [part for part in re.findall(r"(?s)```sh\n(.*?)```", PAGE) if "jester" in part]
    picture = ("-f", "lavfi", "-i", "testsrc=s=65x49:r=12")
    for name in ("1", "20"):
        (tmp_path / "20bn-jester-v1" / name).mkdir(parents=True)
        corpus.ffmpeg(*picture, seconds=1, to=tmp_path / "20bn-jester-v1" / name / "%05d.jpg")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    subprocess.run(["bash", "-ec", block], cwd=tmp_path, env={"PATH": path}, check=True)

    for name in ("1", "20"):
        found = source.probe(tmp_path / f"jester/{name}.mp4")
        assert (found.width, found.seconds, found.rate) == (65, 1, 12)
