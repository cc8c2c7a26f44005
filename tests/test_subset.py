"""Mini-Kinetics-200, by its lists or by its rule, and its two halves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from autox3d.core.errors import Refused
from autox3d.datasets import subset

CLASSES = ("ant", "bee", "cat", "dog")


def clips(sizes: dict[str, tuple[int, int]], prefix: str = "") -> pd.DataFrame:
    """So many (training, validation) clips of each class, and an unlabelled test clip."""
    rows = [
        (f"{prefix}{name}-{split}-{number:03d}", CLASSES.index(name), split)
        for name, counts in sizes.items()
        for split, count in zip(("train", "val"), counts, strict=True)
        for number in range(count)
    ]
    frame = pd.DataFrame([*rows, ("test-0", -1, "test")], columns=["key", "label", "split"])
    return frame.assign(video=frame["key"]).sort_values(["split", "key"], ignore_index=True)


def draw(frame: pd.DataFrame, keep: int, seed: int = 1) -> pd.DataFrame:
    return subset.by_rule(frame, CLASSES, keep, {"train": 5, "val": 2}, seed)


def test_the_rule_keeps_the_largest_classes():
    """By training clips, ties by name; of each so many as are asked for, no test clips."""
    frame = clips({"ant": (7, 3), "bee": (9, 3), "cat": (8, 3), "dog": (8, 3)})
    found, classes = subset.renumber(draw(frame, 2), CLASSES)

    assert classes == ("bee", "cat")
    assert found.groupby(["label", "split"]).size().to_dict() == {
        (0, "train"): 5, (0, "val"): 2, (1, "train"): 5, (1, "val"): 2,
    }  # fmt: skip
    assert all(
        key.startswith(classes[label]) for key, label in zip(found.key, found.label, strict=True)
    )


def test_a_small_class_gives_all_that_it_has():
    """As every real copy of Kinetics has lost some."""
    found = draw(clips({"ant": (3, 1), "bee": (9, 3)}), 2)

    assert found.groupby(["label", "split"]).size().to_dict() == {
        (0, "train"): 3, (0, "val"): 1, (1, "train"): 5, (1, "val"): 2,
    }  # fmt: skip


def test_too_few_classes_are_refused():
    """With the number that there is."""
    with pytest.raises(Refused) as error:
        draw(clips({"ant": (3, 1), "bee": (9, 3)}), 3)
    assert str(error.value) == (
        "params.yaml: 'subset.classes' is 3, but only 2 classes have training clips. "
        "Ask for at most 2."
    )


def keys(frame: pd.DataFrame, label: int) -> set[str]:
    return set(frame["key"][frame["label"] == label])


def test_the_draw_depends_on_the_seed_and_the_class_alone():
    """Clips of another class change nothing; one more of the class changes at most one clip."""
    one = draw(clips({"ant": (30, 9), "bee": (40, 9)}), 2)
    other = draw(clips({"ant": (30, 9), "bee": (50, 3), "cat": (90, 9)}).sample(frac=1), 3)
    more = draw(clips({"ant": (31, 9), "bee": (40, 9)}), 2)
    seeded = draw(clips({"ant": (30, 9), "bee": (40, 9)}), 2, seed=2)

    assert keys(one, 0) == keys(other, 0)
    assert len(keys(one, 0) - keys(more, 0)) <= 1
    assert keys(one, 0) != keys(seeded, 0)


def test_halves_are_balanced_in_each_class():
    """Training clips alone; an odd one goes to the weights; the seed decides."""
    frame = clips({"ant": (20, 4), "bee": (7, 4)})
    found = subset.halve(frame, CLASSES, 1)
    other = subset.halve(frame, CLASSES, 2)

    assert found.groupby(["label", "half"]).size().to_dict() == {
        (0, "alpha"): 10, (0, "weights"): 10, (1, "alpha"): 3, (1, "weights"): 4,
    }  # fmt: skip
    assert found["half"][found["split"] != "train"].isna().all()
    assert not found["half"].equals(other["half"])


def test_clips_of_one_recording_share_a_half():
    """Else alpha would be learnt on what the weights have seen."""
    frame = clips({"ant": (40, 0)}).assign(video=lambda rows: rows["key"].str[-2:-1])
    found = subset.halve(frame[frame["split"] == "train"], CLASSES, 1)

    assert (found.groupby("video")["half"].nunique() == 1).all()
    assert set(found["half"]) == {"weights", "alpha"}


def lists(folder: Path, train: str, val: str) -> dict[str, Path]:
    (folder / "train.txt").write_text(train)
    (folder / "val.txt").write_text(val)
    return {"train": folder / "train.txt", "val": folder / "val.txt"}


def kinetics() -> pd.DataFrame:
    rows = [
        ("-0abcdefghi", 1, "train"), ("--_bcdefghi", 3, "train"), ("AAAAAAAAAAA", 0, "train"),
        ("-1abcdefghi", 1, "val"), ("BBBBBBBBBBB", 0, "val"),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["video", "label", "split"])
    return frame.assign(key=frame["video"] + "_000001_000011")


def test_official_lists_join_on_the_id(tmp_path):
    """Bare ids, some begin with "-"; ids that this copy has lost and blank lines do no harm."""
    files = lists(tmp_path, "-0abcdefghi\n--_bcdefghi\n\nLOSTLOSTLOS\n", "-1abcdefghi\r\n")
    found, classes = subset.renumber(subset.by_ids(kinetics(), files), CLASSES)

    assert classes == ("bee", "dog")
    assert found[["video", "label", "split"]].to_numpy().tolist() == [
        ["-0abcdefghi", 0, "train"], ["--_bcdefghi", 1, "train"], ["-1abcdefghi", 0, "val"],
    ]  # fmt: skip


def test_wrong_lists_are_refused(tmp_path):
    """Missing, with an id twice, or of another data set."""
    with pytest.raises(Refused) as error:
        subset.by_ids(kinetics(), {"train": tmp_path / "no.txt"})
    assert str(error.value) == (
        f"{tmp_path}/no.txt: cannot be read (No such file or directory). "
        "Mend subset.ids in params.yaml: its paths are under the data root."
    )
    with pytest.raises(Refused) as error:
        subset.by_ids(kinetics(), lists(tmp_path, "AAAAAAAAAAA\n-\nAAAAAAAAAAA\n", ""))
    assert str(error.value) == (
        f"{tmp_path}/train.txt line 3: id 'AAAAAAAAAAA' stands twice. Delete one of the two."
    )
    with pytest.raises(Refused) as error:
        subset.by_ids(kinetics(), lists(tmp_path, "AAAAAAAAAAA\n", "AAAAAAAAAAA\n"))
    assert str(error.value) == (
        f"{tmp_path}/val.txt: none of its 1 ids has a usable clip in split 'val'. "
        "Is it the list for this data set?"
    )
