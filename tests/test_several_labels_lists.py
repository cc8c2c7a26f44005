"""Lists of several labels a video: Charades' official files, CSV lists, and those of a start."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from support.lists import refusal

from autox3d.datasets import annotations
from autox3d.datasets.annotations import Label
from autox3d.planning import own_lists, own_videos, splitting, workspace

HEAD = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
TRAIN = f"""{HEAD}
46GP8,HR43,Kitchen,6,7,Yes,"A person cooks food, then looks out.",food;stove;window,\
"A person cooks; another, ""Ann"", reads.",c092 11.90 21.20;c147 0.00 12.60,24.83
N11GT,0KZ7,Stairs,7,7,Yes,A person sits on the stairs.,,Someone sits.,c147 3.00 9.50,10.00
"""
TEST = f"""{HEAD}
YSKX3,OUKK,Bedroom,6,7,No,Nothing happens.,,Nothing.,,31.00
KRF68,7EO5,Other,5,7,Yes,A person cooks.,,A person cooks.,c092 0.00 4.10,30.12
"""
CLASSES = "c092 Watching/Looking outside of a window\nc147 Someone is cooking something\n"
WINDOW, COOKING = CLASSES.splitlines()


def charades(root: Path, **changes: str) -> dict[str, str]:
    """The three files in their official layout."""
    files = {"classes": CLASSES, "train": TRAIN, "val": TEST} | changes
    for name, text in files.items():
        (root / name).write_text(text)
    return {name: name for name in files}


# ---- Charades


def test_charades_reads_its_official_files(tmp_path):
    """Quoted commas, several actions a video, none at all; the second list is val."""
    found = annotations.read("charades", tmp_path, "Charades_v1", charades(tmp_path))

    assert (found.task, found.classes) == ("multilabel", (WINDOW, COOKING))
    assert [(one.path, one.split, one.label, one.labels) for one in found.videos] == [
        (
            "Charades_v1/46GP8.mp4",
            "train",
            None,
            (Label(WINDOW, 11.9, 21.2), Label(COOKING, 0.0, 12.6)),
        ),
        ("Charades_v1/N11GT.mp4", "train", None, (Label(COOKING, 3.0, 9.5),)),
        ("Charades_v1/YSKX3.mp4", "val", None, ()),
        ("Charades_v1/KRF68.mp4", "val", None, (Label(WINDOW, 0.0, 4.1),)),
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"train": TRAIN.replace("c147 3.00", "c157 3.00")},
            "train line 3: action 'c157' is none of the 2 classes of classes.",
        ),
        (
            {"val": TEST.replace("c092 0.00 4.10", "c092 4.10")},
            "val line 3: action 'c092 4.10' is not CLASS START END, such as 'c092 11.90 21.20'.",
        ),
        (
            {"val": TEST.replace("c092 0.00 4.10", "c092 4.10 0.00")},
            "val line 3: action 'c092 4.10 0.00' ends before it starts. Fix the row.",
        ),
        (
            {"classes": "Holding some clothes\n"},
            "classes line 1: 'Holding some clothes' is not a new number and a name, such as "
            "'c000 Holding some clothes'. Is it Charades_v1_classes.txt?",
        ),
        (
            {"train": TRAIN.replace(",actions", ",action")},
            "train line 1: no column 'actions'. There are: id, subject, scene, quality, "
            "relevance, verified, script, objects, descriptions, action, length.",
        ),
    ],
)
def test_charades_refuses_by_file_and_line(tmp_path, changes, line):
    assert refusal(tmp_path, "charades", charades(tmp_path, **changes)) == line


# ---- CSV


def test_a_list_has_several_labels_a_row_or_several_rows_a_video(tmp_path):
    """Labels of one row share its times; a row without any has none."""
    (tmp_path / "own.csv").write_text(
        "path,labels,split,start,end\n"
        "a.mp4,run; jump,train,,\n"
        "b.mp4,run,train,1.5,2\n"
        "b.mp4,jump,train,4,\n"
        "c.mp4,,train,,\n"
        "d.mp4,jump,val,,\n"
    )
    found = annotations.read("csv", tmp_path, "v", {"list": "own.csv"})

    assert (found.task, found.classes) == ("multilabel", ("jump", "run"))
    assert {video.id: video.labels for video in found.videos} == {
        "a.mp4": (Label("run"), Label("jump")),
        "b.mp4": (Label("run", 1.5, 2.0), Label("jump", 4.0, math.inf)),
        "c.mp4": (),
        "d.mp4": (Label("jump"),),
    }


def test_a_list_with_one_label_stays_what_it_was(tmp_path):
    """A semicolon is part of a class's name where the column is `label`."""
    (tmp_path / "own.csv").write_text("path,label,split\na.mp4,run;jump,train\n")
    found = annotations.read("csv", tmp_path, "v", {"list": "own.csv"})

    assert (found.task, found.classes) == ("classify", ("run;jump",))
    assert found.videos[0].labels == ()


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            "a.mp4,run,train,2,1\n",
            "own.csv line 2: 'end' 1 is before 'start' 2. Fix the row.",
        ),
        (
            "a.mp4,run,train,0:01,2\n",
            "own.csv line 2: 'start' must be seconds, such as 12.5, not '0:01'.",
        ),
        (
            "a.mp4,run,train,,\na.mp4,run,val,,\n",
            "own.csv line 3: video 'a.mp4' is in split 'val', and in 'train' too (own.csv line 2). "
            "Give all its rows one split.",
        ),
        (
            "a.mp4,run,train,,\nb.mp4,runs,val,,\n",
            "own.csv line 3: unknown class 'runs'. Did you mean 'run'?",
        ),
        (
            "a.mp4,,train,,\nb.mp4,,val,,\n",
            "own.csv line 2: no training video has a label. Is it the right file?",
        ),
    ],
)
def test_a_list_refuses_by_line(tmp_path, rows, line):
    (tmp_path / "own.csv").write_text(f"path,labels,split,start,end\n{rows}")

    assert refusal(tmp_path, "csv", {"list": "own.csv"}) == line


# ---- autox3d start


def own_list(root: Path, text: str) -> Path:
    """A list beside empty files of its videos."""
    for line in text.splitlines()[1:]:
        (root / line.partition(",")[0]).touch()
    (root / "list.csv").write_text(text)
    return root / "list.csv"


def test_a_list_with_several_labels_a_row_is_a_task_of_its_own(tmp_path, monkeypatch):
    """Labels in one cell are taken apart; the list that is written reads back the same."""
    rows = "".join(f"{n}.mp4,{'run;jump' if n % 2 else 'run'}\n" for n in range(8))
    given = own_list(tmp_path, f"path,label\n{rows}8.mp4,jump\n9.mp4,jump\n")
    videos, _ = own_videos.listed(given)
    grouped, _ = own_videos.grouped(videos, None)
    split, _ = splitting.split(given, grouped, [])

    assert videos[1].labels == (Label("run"), Label("jump"))
    held = [video for video in split if video.split == "val"]
    assert {name for video in held for name in video.names} == {"run", "jump"}
    monkeypatch.chdir(tmp_path)
    workspace.write_list(tmp_path / "own.csv", split)
    found = annotations.read("csv", tmp_path, ".", {"list": "own.csv"})
    assert (found.task, found.classes) == ("multilabel", ("jump", "run"))
    labels = {video.path: set(video.labels or ()) for video in split}
    assert {video.path: set(video.labels) for video in found.videos} == labels


def test_times_of_a_list_are_kept(tmp_path):
    """Several rows a video become one video, and several rows again."""
    text = "path,labels,start,end\na.mp4,run,1,2.5\na.mp4,jump,,\nb.mp4,,,\nc.mp4,jump;run,3,\n"
    videos, _ = own_videos.listed(own_list(tmp_path, text))
    workspace.write_list(tmp_path / "own.csv", [replace(v, split="train") for v in videos])

    assert (tmp_path / "own.csv").read_text() == (
        "path,labels,split,start,end\n"
        "a.mp4,run,train,1,2.5\n"
        "a.mp4,jump,train,,\n"
        "b.mp4,,train,,\n"
        "c.mp4,jump;run,train,3,\n"
    )


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ("1,2.5 3,3.5 0,9 4,4.25", 0.5),  # one of four is shorter
        (",2 ,8 1,2 0,0.5 5,5", 1.0),  # without a beginning; a moment has no length
        ("1,2 , 0,1 , ,", 1.0),  # without times a label holds all along
        ("1,2 , , ,", None),
        (",", None),
    ],
)
def test_three_of_four_actions_last_as_long(tmp_path, times, seconds):
    """By the times of the list; where most have none, no length is known."""
    rows = "".join(f"{n}.mp4,run;jump,{one}\n" for n, one in enumerate(times.split()))
    videos, _ = own_videos.listed(own_list(tmp_path, f"path,labels,start,end\n{rows}"))

    assert own_lists.action(videos) == seconds


def test_one_label_a_row_may_have_a_semicolon(tmp_path):
    """If the task is asked for."""
    given = own_list(tmp_path, "path,label\na.mp4,run;jump\nb.mp4,run\n")
    videos, _ = own_videos.listed(given, "classify")

    assert [(video.label, video.labels) for video in videos] == [("run;jump", None), ("run", None)]
