"""`autox3d start` looks at a folder: its classes, its recordings, and what of them is held out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.folders import folder

from autox3d.core.errors import Refused
from autox3d.planning import own_videos, splitting
from autox3d.planning.own_lists import OwnVideo


def videos(*paths: str) -> list[OwnVideo]:
    return [OwnVideo(path=path, label=path.split("/")[0], split="") for path in paths]


# ---- what is in a folder


def test_class_folders_are_the_classes(tmp_path: Path) -> None:
    """Blanks, umlauts and deeper folders; other files are told, those of systems are not."""
    top = folder(tmp_path, "Öl gießen/a 1.MP4", "b/x/2.webm", "b/._2.webm", "b/notes.txt", "c.md")
    rows, remarks = own_videos.listed(top)

    assert [(row.path, row.label) for row in rows] == [
        ("b/x/2.webm", "b"),
        ("Öl gießen/a 1.MP4", "Öl gießen"),
    ]
    assert remarks == ["left out, as no videos by their names: 1 .md, 1 .txt"]


def test_splits_that_are_there_are_kept(tmp_path: Path) -> None:
    """As folders, and as a column of a list whose paths begin in its folder."""
    top = folder(tmp_path / "v", "train/a/1.mp4", "train/b/1.mp4", "val/a/2.mp4")
    rows, _ = own_videos.listed(top)
    assert [(row.label, row.split) for row in rows] == [
        ("a", "train"),
        ("b", "train"),
        ("a", "val"),
    ]

    folder(tmp_path, "v/1.mp4", "v/2.mp4")
    (tmp_path / "l.csv").write_text("split,label,path\ntrain,a,v/1.mp4\nval,b,v/2.mp4\n")
    rows, _ = own_videos.listed(tmp_path / "l.csv")
    assert own_videos.top_of(tmp_path / "l.csv") == tmp_path
    assert [(row.path, row.split) for row in rows] == [("v/1.mp4", "train"), ("v/2.mp4", "val")]


WRONG = {
    "gone": ((), "{}: there is no such folder. Give the folder with your class folders."),
    "loose": (
        ("1.mp4", "2.mov"),
        "{}: 2 videos in no class folder. Make a folder for each class, and put its videos into "
        "it.",
    ),
    "one class": (
        ("a/1.mp4", "a/2.mp4"),
        "{}: one class only, 'a'. Make a folder for each class, and put its videos into it.",
    ),
    "no videos": (
        ("a/1.txt", "b/2.txt"),
        "{}: no videos in class folders. Make a folder for each class, and put its videos into it.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_folder_without_classes_has_its_line(tmp_path: Path, case: str) -> None:
    """What is wrong, and what to do."""
    paths, line = WRONG[case]
    top = folder(tmp_path / "v", *paths)

    with pytest.raises(Refused) as caught:
        own_videos.listed(own_videos.top_of(top))

    assert str(caught.value) == line.format(top)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    """No stage follows it, so it must not seem to be read."""
    top = folder(tmp_path / "v", "a/1.mp4")
    (top / "b").symlink_to(top / "a")

    with pytest.raises(Refused) as caught:
        own_videos.listed(top)

    assert str(caught.value) == f"{top}/b: a link to a folder. Put the folder itself there."


# ---- recordings


def groups(rows: list[OwnVideo], pattern: str | None = None) -> dict[str, str]:
    return {row.path: row.group for row in own_videos.grouped(rows, pattern)[0]}


def test_a_recording_is_found_by_the_name() -> None:
    """Up to its last number, but only where that tells the videos of a class apart."""
    found = groups(videos("a/kitchen-7_01.mp4", "a/kitchen-7_02.mp4", "a/yard_1.mp4", "b/3.mp4"))
    assert found["a/kitchen-7_01.mp4"] == found["a/kitchen-7_02.mp4"] == "kitchen-7_"
    assert found["a/yard_1.mp4"] == "yard_"

    counted = groups(videos("a/pour_1.mp4", "a/pour_2.mp4", "b/0001.mp4", "b/0002.mp4"))
    assert counted == {path: path for path in counted}


def test_a_pattern_names_the_recording() -> None:
    """Its first group, or all that it matches; it must be in every name."""
    rows = videos("a/v_Pour_g01_c02.avi", "b/v_Stir_g01_c01.avi")
    assert set(groups(rows, "g[0-9]+").values()) == {"g01"}
    assert set(groups(rows, "_(g[0-9]+)_").values()) == {"g01"}
    for pattern, line in {
        "h[0-9]": "--groups: 'h[0-9]' is not in the name 'v_Pour_g01_c02'. Give a pattern for all "
        "names.",
        "(": "--groups: '(' is no regular expression: missing ), unterminated subpattern at "
        "position 0.",
    }.items():
        with pytest.raises(Refused) as caught:
            own_videos.grouped(rows, pattern)
        assert str(caught.value) == line


# ---- the split


def split(rows: list[OwnVideo], copies: tuple[tuple[OwnVideo, ...], ...] = ()) -> list[OwnVideo]:
    named, _ = own_videos.grouped(rows, None)
    by_path = {row.path: row for row in named}
    same = [[by_path[row.path] for row in several] for several in copies]
    return splitting.split(Path("v"), named, same)[0]


@pytest.mark.parametrize(
    ("sizes", "per_recording"),
    [
        (sizes, count)
        for sizes in ((14, 14, 14), (120, 20, 6), (4, 4), (3, 300))
        for count in (1, 2, 5)
        if count < min(sizes)  # a class of one recording has a test of its own
    ],
)
def test_recordings_stay_together_and_every_class_is_held_out(
    sizes: tuple[int, ...], per_recording: int
) -> None:
    """Near the share for each class, with something left to train on; the same each time."""
    rows = videos(
        *(
            f"c{c}/rec{c}x{i // per_recording}_{i % per_recording}.mp4"
            for c, size in enumerate(sizes)
            for i in range(size)
        )
    )
    found = split(rows)

    assert split(rows[::-1]) == found
    by_group: dict[str, set[str]] = {}
    for row in found:
        by_group.setdefault(row.group, set()).add(row.split)
    assert all(len(splits) == 1 for splits in by_group.values())
    share = splitting.SHARE_OF_FEW if sum(sizes) < splitting.FEW else splitting.SHARE
    held = Counter(row.label for row in found if row.split == "val")
    for c, size in enumerate(sizes):
        assert 1 <= held[f"c{c}"] < size
        assert abs(held[f"c{c}"] - share * size) <= per_recording + 1


def test_recordings_that_classes_share_stay_together() -> None:
    """A kitchen in which somebody pours and stirs is held out for both."""
    rows = videos(*(f"{c}/kitchen-{k}_{i}.mp4" for c in "ab" for k in range(6) for i in range(3)))
    found = split(rows)

    of = {row.group: {other.split for other in found if other.group == row.group} for row in found}
    assert len(of) == 6
    assert all(len(splits) == 1 for splits in of.values())
    assert Counter(row.split for row in found)["val"] in (6, 12)


def test_equal_files_stay_together_and_are_told(tmp_path: Path) -> None:
    """Also under two labels, where one of them must be wrong."""
    rows = videos(*(f"{c}/{i}.mp4" for c in "ab" for i in range(8)))
    for row in rows:
        folder(tmp_path, row.path)
    for path in ("a/1.mp4", "a/5.mp4", "b/7.mp4"):
        (tmp_path / path).write_text("a/0.mp4")
    named, _ = own_videos.grouped(rows, None)
    copies = own_videos.same_content(tmp_path, named)
    found, lines = splitting.split(tmp_path, named, copies)

    assert [[row.path for row in same] for same in copies] == [
        ["a/0.mp4", "a/1.mp4", "a/5.mp4", "b/7.mp4"]
    ]
    same = {row.split for row in found if row.path in {r.path for r in copies[0]}}
    assert len(same) == 1
    assert lines == [
        "equal files, kept in one split: a/0.mp4, a/1.mp4, a/5.mp4 and 1 more",
        "equal files in two classes: a/0.mp4, a/1.mp4, a/5.mp4 and 1 more. One of the labels is "
        "wrong",
    ]


def test_leaks_of_a_given_split_are_told() -> None:
    """Equal files, and names of one recording, in two splits."""
    rows = [
        OwnVideo(path=f"{split}/a/yard_{i}.mp4", label="a", split=split, group="yard_")
        for i, split in enumerate(("train", "val"))
    ]
    assert splitting.split(Path("v"), rows, [rows])[1] == [
        "leak: equal files in two splits: train/a/yard_0.mp4, val/a/yard_1.mp4",
        "leak, if these are recordings: in two splits by their names: yard_",
    ]


def test_a_class_of_one_recording_is_refused() -> None:
    """It cannot be in both splits."""
    rows, _ = own_videos.grouped(videos("a/x1_1.mp4", "a/x1_2.mp4", "b/y1.mp4", "b/z2.mp4"), "..")
    with pytest.raises(Refused) as caught:
        splitting.split(Path("v"), rows, [])
    assert str(caught.value) == (
        "v: all videos of class 'a' are of one recording, 'x1', so none can be held out. Add "
        "videos, or tell recordings apart by --groups PATTERN."
    )
