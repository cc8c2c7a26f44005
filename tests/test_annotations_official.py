"""Official files of Kinetics, UCF101 and Something-Something; a wrong row is refused by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.annotation_files import HEADER, KINETICS_HEAD, TRAIN, VAL, refusal, rows, touch, write

from autox3d.datasets import annotations

# ---- Kinetics


def test_kinetics_reads_the_official_rows(tmp_path):
    """Labels may be quoted, ids begin with "-", val be `validate`, and test rows lack labels."""
    test = "youtube_id,time_start,time_end,split\nCCCCCCCCCCC,1,11,test\n"
    files = write(tmp_path, train=TRAIN, val=VAL, test=test)

    annotated = annotations.read("kinetics", tmp_path, "v", files)

    assert annotated.classes == ("abseiling", "zumba")
    assert rows(annotated) == [
        ("-abcdefghij_000012_000022", "v/-abcdefghij_000012_000022.mp4", "abseiling", "train"),
        ("AAAAAAAAAAA_000000_000010", "v/AAAAAAAAAAA_000000_000010.mp4", "zumba", "train"),
        ("BBBBBBBBBBB_000003_000013", "v/BBBBBBBBBBB_000003_000013.mp4", "abseiling", "val"),
        ("CCCCCCCCCCC_000001_000011", "v/CCCCCCCCCCC_000001_000011.mp4", None, "test"),
    ]
    assert annotated.videos[0].source == "-abcdefghij"


@pytest.mark.parametrize(
    "folder", ["", "train/", "playing squash/", "playing_squash/", "train/playing_squash/"]
)
def test_kinetics_finds_files_flat_and_in_folders(tmp_path, folder):
    """Copies of Kinetics have various layouts and containers; a video is found in all of them."""
    files = write(tmp_path, train=HEADER + "playing squash,AAAAAAAAAAA,0,10,train\n", val=HEADER)
    touch(tmp_path, f"v/{folder}AAAAAAAAAAA_000000_000010.mkv")

    annotated = annotations.read("kinetics", tmp_path, "v", files)

    assert annotated.videos[0].path == f"v/{folder}AAAAAAAAAAA_000000_000010.mkv"


def test_kinetics_follows_links_to_folders(tmp_path):
    """Large copies are spread over disks; a circle of links is not followed for ever."""
    files = write(tmp_path, train=TRAIN, val=VAL)
    touch(tmp_path, "disk2/AAAAAAAAAAA_000000_000010.mp4")
    (tmp_path / "v").mkdir()
    (tmp_path / "v/zumba").symlink_to(tmp_path / "disk2")
    (tmp_path / "v/round").symlink_to(tmp_path / "v")

    annotated = annotations.read("kinetics", tmp_path, "v", files)

    assert annotated.videos[1].path == "v/zumba/AAAAAAAAAAA_000000_000010.mp4"


def test_kinetics_takes_no_file_from_another_class(tmp_path):
    """A file in the folder of another class is not the video of this row."""
    files = write(tmp_path, train=TRAIN, val=VAL)
    touch(tmp_path, "v/abseiling/AAAAAAAAAAA_000000_000010.mp4")

    annotated = annotations.read("kinetics", tmp_path, "v", files)

    assert annotated.videos[1].path == "v/AAAAAAAAAAA_000000_000010.mp4"


def test_kinetics_finds_files_in_capitals(tmp_path):
    """Recordings come as .MP4, too."""
    touch(tmp_path, "v/aaaaaaaaaaa_000001_000011.MP4", "v/._aaaaaaaaaaa_000001_000011.mp4")
    rows = "cat,aaaaaaaaaaa,1,11,train\n"
    files = write(tmp_path, train=f"{KINETICS_HEAD}\n{rows}", val=f"{KINETICS_HEAD}\n")

    (found,) = annotations.read("kinetics", tmp_path, "v", files).videos

    assert found.path == "v/aaaaaaaaaaa_000001_000011.MP4"


KINETICS_FAULTS = [
    (
        "zumba,#NAME?,0,10,train",
        "line 4: 'youtube_id' must be an id of 11 characters, not '#NAME?'.",
    ),
    ("zumba,DDDDDDDDDDD,0.5,10,train", "line 4: 'time_start' must be whole seconds, not '0.5'."),
    ("zumba,DDDDDDDDDDD,10,10,train", "line 4: 'time_end' 10 is not after 'time_start' 10."),
    (",DDDDDDDDDDD,0,10,train", "line 4: no label. Only videos of split 'test' may lack one."),
    (
        "zumba,DDDDDDDDDDD,0,10,val",
        "line 4: split 'val' in the file of annotate.files.train. "
        "Fix the row, or the file's name in params.yaml.",
    ),
    (
        "a, b,DDDDDDDDDDD,0,10,train",
        "line 4: 6 cells under 5 columns. Quote cells with commas.",
    ),
    (
        "zumba,AAAAAAAAAAA,0,10,train",
        "line 4: video 'AAAAAAAAAAA_000000_000010' is listed twice (first: raw/train line 3). "
        "Delete one of the two.",
    ),
]


@pytest.mark.parametrize(("row", "message"), KINETICS_FAULTS)
def test_kinetics_names_a_wrong_row(tmp_path, row, message):
    """The refusal has the file, the line, the problem and the fix."""
    files = write(tmp_path, train=f"{TRAIN}{row}\n", val=VAL)

    assert refusal(tmp_path, "kinetics", files) == f"raw/train {message}"


def test_a_video_in_two_splits_is_refused(tmp_path):
    """Other seconds of a training video do not count as a held-out video."""
    files = write(tmp_path, train=TRAIN, val=VAL + "zumba,AAAAAAAAAAA,50,60,val\n")

    assert refusal(tmp_path, "kinetics", files) == (
        "raw/val line 3: video 'AAAAAAAAAAA' is in split 'val', and in 'train' too "
        "(raw/train line 3). Delete one of the two."
    )


def test_an_unknown_class_is_refused(tmp_path):
    """A class without a training video is refused, and the closest class is proposed."""
    files = write(tmp_path, train=TRAIN, val=VAL + "abseilling,DDDDDDDDDDD,0,10,val\n")

    assert refusal(tmp_path, "kinetics", files) == (
        "raw/val line 3: unknown class 'abseilling'. Did you mean 'abseiling'?"
    )


def test_a_missing_column_is_refused(tmp_path):
    """The header is checked before any row."""
    files = write(tmp_path, train="label,youtube_id,split\n", val=VAL)

    assert refusal(tmp_path, "kinetics", files) == (
        "raw/train line 1: no column 'time_start'. There are: label, youtube_id, split."
    )


# ---- UCF101

CLASSES = "1 ApplyEyeMakeup\r\n2 YoYo\r\n"


def test_ucf101_reads_the_official_lists(tmp_path):
    """Lists may have the number of the class (train) or lack it (test)."""
    files = write(
        tmp_path,
        classes=CLASSES,
        train="ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\nYoYo/v_YoYo_g08_c01.avi 2\n",
        test="YoYo/v_YoYo_g01_c01.avi\n",
    )

    annotated = annotations.read("ucf101", tmp_path, "ucf", files)

    assert annotated.classes == ("ApplyEyeMakeup", "YoYo")
    assert rows(annotated) == [
        (
            "v_ApplyEyeMakeup_g08_c01",
            "ucf/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
            "ApplyEyeMakeup",
            "train",
        ),
        ("v_YoYo_g08_c01", "ucf/YoYo/v_YoYo_g08_c01.avi", "YoYo", "train"),
        ("v_YoYo_g01_c01", "ucf/YoYo/v_YoYo_g01_c01.avi", "YoYo", "test"),
    ]


UCF101_FAULTS = [
    ("YoYo/a.avi 1", "raw/train line 1: class 'YoYo', but number 1 is ApplyEyeMakeup."),
    ("YoYo/a.avi 9", "raw/train line 1: class 'YoYo', but number 9 is no class."),
    ("Yoyo/a.avi 2", "raw/train line 1: unknown class 'Yoyo'. Did you mean 'YoYo'?"),
    (
        "../YoYo/a.avi 2",
        "raw/train line 1: path '../YoYo/a.avi' is not a path below the folder of the videos.",
    ),
]


@pytest.mark.parametrize(("row", "message"), UCF101_FAULTS)
def test_ucf101_checks_the_number_against_the_folder(tmp_path, row, message):
    """A list that numbers the classes in another order would shift every label."""
    files = write(tmp_path, classes=CLASSES, train=row, test="YoYo/b.avi")

    assert refusal(tmp_path, "ucf101", files) == message


# ---- Something-Something


def something(
    root: Path, train: list[dict[str, str]], test: list[dict[str, str]]
) -> dict[str, str]:
    labels = {"Holding something": "0", "Moving something up": "1"}
    lists = {"labels": labels, "train": train, "val": [], "test": test}
    return write(root, **{name: json.dumps(content) for name, content in lists.items()})


def test_somethingv2_reads_the_official_lists(tmp_path):
    """The class is the template without its brackets; test entries are bare ids."""
    entry = {"id": "74225", "label": "moving a pen up", "template": "Moving [something] up"}
    files = something(tmp_path, [entry], [{"id": "1420"}])

    annotated = annotations.read("somethingv2", tmp_path, "ssv2", files)

    assert annotated.classes == ("Holding something", "Moving something up")
    assert rows(annotated) == [
        ("74225", "ssv2/74225.webm", "Moving something up", "train"),
        ("1420", "ssv2/1420.webm", None, "test"),
    ]


def test_somethingv2_names_a_wrong_entry(tmp_path):
    """The refusal has the file and the number of the entry, or the line where JSON is broken."""
    good = {"id": "1", "template": "Holding [something]"}
    files = something(tmp_path, [good, {"id": "2", "template": "Holding [something] up"}], [])
    assert refusal(tmp_path, "somethingv2", files) == (
        "raw/train entry 2: unknown class 'Holding something up'. Did you mean 'Holding something'?"
    )
    files = something(tmp_path, [good, {"template": "Holding [something]"}], [])
    assert refusal(tmp_path, "somethingv2", files) == (
        "raw/train entry 2: no 'id'. Each entry is a table with id and template."
    )
    (tmp_path / "train").write_text('[{"id": "1",\n]')
    assert refusal(tmp_path, "somethingv2", files).startswith("raw/train line 2: not JSON:")
