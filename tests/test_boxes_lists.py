"""Lists of films with boxes: the official files of AVA, own lists, and those of generated films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.lists import refusal

from autox3d.core.settings import Demo
from autox3d.datasets import annotations, demo_boxes
from autox3d.datasets.annotations import KeyBox

CLASSES = """item {
  name: "bend/bow (at the waist)"
  id: 1
}
item {
  name: "watch (a person)"
  id: 80
}
"""
TRAIN = """-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1
-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,9,1
-5KQ66BBWC4,0902,0.226,0.032,0.366,0.497,1,0
-5KQ66BBWC4,0903,0.332,0.194,0.481,0.891,9,2
-5KQ66BBWC4,0904,0.332,0.194,0.481,0.891,80,2
-5KQ66BBWC4,0905,0.500,0.194,0.481,0.891,80,2
"""
VAL = """1j20qq1JyX4,0902,0.002,0.118,0.714,0.977,1,0
1j20qq1JyX4,1798,0.444,0.054,0.992,0.990,80,1
"""
EXCLUDED = "-5KQ66BBWC4,0904\n"
PROPOSED = """1j20qq1JyX4,0902,0.004,0.120,0.712,0.975,,0.995518
1j20qq1JyX4,0902,0.100,0.120,0.200,0.975,,0.800000
1j20qq1JyX4,0930,0.100,0.120,0.200,0.975,,0.900000
"""
LIST = """path,second,x1,y1,x2,y2,label,split
a.mp4,1.5,0.1,0.2,0.3,0.4,walk,train
a.mp4,1.5,0.1,0.2,0.3,0.4,talk,train
a.mp4,1.5,0.5,0.2,0.8,0.4,,train
a.mp4,30,0.5,0.2,0.8,0.4,walk;talk,train
b.mp4,2,0.1,0.2,0.3,0.4,walk,val
"""


def ava(root: Path, **changes: str) -> dict[str, str]:
    """The files in their official layout, all of them."""
    files = {"classes": CLASSES, "train": TRAIN, "val": VAL, "excluded_train": EXCLUDED}
    files |= {"proposals_val": PROPOSED} | changes
    for name, text in files.items():
        (root / name).write_text(text)
    return {name: name for name in files}


def own(root: Path, **changes: str) -> dict[str, str]:
    files = {"list": LIST} | changes
    for name, text in files.items():
        (root / name).write_text(text)
    return {name: name for name in files}


# ---- AVA


def test_ava_reads_its_official_files(tmp_path):
    """Without excluded moments, boxes without area and proposals of 0.8 or less; 9 is no class."""
    folder = tmp_path / "v"
    folder.mkdir()
    (folder / "-5KQ66BBWC4.mkv").touch()
    found = annotations.read("ava", tmp_path, "v", ava(tmp_path))
    bend, watch = "bend/bow (at the waist)", "watch (a person)"

    assert (found.task, found.classes) == ("detect", (bend, watch))
    train, first, proposed, last = found.videos
    assert (train.id, train.source, train.path) == (
        "-5KQ66BBWC4-00897",
        "-5KQ66BBWC4",
        "v/-5KQ66BBWC4.mkv",
    )
    one, other = (0.077, 0.151, 0.283, 0.811), (0.226, 0.032, 0.366, 0.497)
    assert train.boxes == (
        KeyBox(902.0, one, watch),
        KeyBox(902.0, one, ""),
        KeyBox(902.0, other, bend),
        KeyBox(903.0, (0.332, 0.194, 0.481, 0.891), ""),
    )
    assert (train.begin, train.end) == (897.0, 909.0)
    assert (first.path, first.begin, first.end) == ("v/1j20qq1JyX4.mp4", 897.0, 908.0)
    assert [(one.second, one.proposed) for one in first.boxes] == [(902.0, False), (902.0, True)]
    assert [(one.second, one.proposed) for one in proposed.boxes] == [(930.0, True)]
    assert (last.begin, last.boxes[-1].name) == (1793.0, watch)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"train": TRAIN.replace("0902,0.226", "0902;0.226")},
            "train line 3: '-5KQ66BBWC4,0902;0.226,0.032,0.366,0.497,1,0' is not VIDEO,SECOND,X1,"
            "Y1,X2,Y2,CLASS,PERSON, such as '-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1'.",
        ),
        (
            {"train": TRAIN.replace("0.226,0.032", "72.3,7.7")},
            "train line 3: corner 72.3 is over 1: no share of the frame.",
        ),
        (
            {"classes": CLASSES.replace("80", "81").replace("id: 1", "id: 82")},
            "train: no class number is in classes (last: 80). Are they of one version?",
        ),
        (
            {"classes": "bend\nwatch\n"},
            "classes: has no item. Is it ava_action_list_..._activitynet_....pbtxt?",
        ),
        (
            {"classes": CLASSES.replace("id: 80", "id: 1")},
            "classes: 'name: \"watch (a person)\" id: 1' is no new name and id, such as name: "
            '"bend/bow (at the waist)" id: 1. Is it the list of classes?',
        ),
        (
            {"proposals_val": PROPOSED.replace("1j20qq1JyX4", "2bxKkUgcqpk")},
            "proposals_val: no film of val has a box with a score over 0.8. Is it of this split?",
        ),
        (
            {"proposals_val": VAL.replace(",1,0", ",,high")},
            "proposals_val line 1: 'high' is no score. Give the detector's as the last.",
        ),
        (
            {"excluded_train": "-5KQ66BBWC4 0904\n"},
            "excluded_train line 1: '-5KQ66BBWC4 0904' is not VIDEO,SECOND, such as "
            "'-IELREHX_js,0902'.",
        ),
    ],
)
def test_ava_refuses_by_file_and_line(tmp_path, changes, line):
    assert refusal(tmp_path, "ava", ava(tmp_path, **changes)) == line


# ---- Own lists


def test_own_films_have_a_row_a_box(tmp_path):
    """Labels in several rows, or with ";" between them, or none; a film far apart is cut in two."""
    found = annotations.read("boxes", tmp_path, "v", own(tmp_path))
    assert (found.task, found.classes) == ("detect", ("talk", "walk"))
    assert [(one.id, one.path, one.split, one.begin, one.end) for one in found.videos] == [
        ("a.mp4-00000", "v/a.mp4", "train", 0.0, 8.0),
        ("a.mp4-00025", "v/a.mp4", "train", 25.0, 36.0),
        ("b.mp4-00000", "v/b.mp4", "val", 0.0, 8.0),
    ]
    assert [one.name for one in found.videos[0].boxes] == ["walk", "talk", ""]
    assert [one.name for one in found.videos[1].boxes] == ["walk", "talk"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"list": LIST.replace("b.mp4,2,0.1", "b.mp4,2,64")},
            "list line 6: corner 64 is over 1. Divide x by the width of the film in px, and y by "
            "its height.",
        ),
        (
            {"list": LIST.replace("30,0.5,0.2,0.8", "30,0.8,0.2,0.5")},
            "list line 5: the box has no area. x1 must be below x2, and y1 below y2.",
        ),
        (
            {"list": LIST.replace("a.mp4,30", "a.mp4,0:30")},
            "list line 5: 'second' must be seconds of the film, such as 12.5, not '0:30'.",
        ),
        (
            {"list": LIST.replace("talk,train\na", "talk,val\na")},
            "list line 3: film 'a.mp4' is in split 'val', and in 'train' too (list line 2). Give "
            "all its rows one split.",
        ),
        (
            {"list": LIST.replace("walk,val", "Walk,val")},
            "list line 6: unknown class 'Walk'. Did you mean 'walk'?",
        ),
        (
            {"proposals": "path,second,x1,y1,x2,y2\nB.mp4,2,0.1,0.2,0.3,0.4\n"},
            "proposals: no film of list has a box, such as 'B.mp4'. Write its path as it is there.",
        ),
    ],
)
def test_own_lists_are_refused_by_file_and_line(tmp_path, changes, line):
    assert refusal(tmp_path, "boxes", own(tmp_path, **changes)) == line


# ---- The generated films


def test_the_demos_boxes_are_where_its_discs_are(tmp_path):
    """Three of three classes at each moment; drifting discs go their way, others stay."""
    settings = Demo(seed=1, train=6, val=1, test=1, paces=1, speed=1.0, classes="motions")
    found = demo_boxes.prepare(tmp_path, "v", settings, lambda tasks, _: tasks)
    assert found.classes == ("down", "left", "right", "spin", "still", "up")
    assert len(found.videos) == 16
    again = demo_boxes.describe("v", {"train": 6, "val": 1, "test": 1}, 1)
    assert again == found
    for video in found.videos[:6]:
        by_moment: dict[float, list[KeyBox]] = {}
        for box in video.boxes:
            by_moment.setdefault(box.second, []).append(box)
        assert sorted(by_moment) == [1.0, 1.5, 2.0]
        for own in by_moment.values():
            truth = [box for box in own if not box.proposed]
            assert len({box.name for box in truth}) == 3
            near = [box for box in own if box.proposed]
            best = [
                max(demo_boxes.overlap(box.corners, one.corners) for box in near) for one in truth
            ]
            assert min(best) > 0.8
            apart = [
                max(demo_boxes.overlap(box.corners, one.corners) for one in truth) for box in near
            ]
            assert sum(one < 0.1 for one in apart) == 1
        for name in {box.name for box in video.boxes if box.name}:
            first, _, last = (box.corners for box in video.boxes if box.name == name)
            moved = np.subtract(last[:2], first[:2])
            way = demo_boxes.WAYS.get(name, (0, 0))
            assert np.sign(np.round(moved, 6)).tolist() == list(way)
