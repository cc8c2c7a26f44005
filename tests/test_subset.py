"""The clips of the search: Mini-Kinetics-200 by its lists or by its rule, and its two halves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from autox3d.core.errors import Refused
from autox3d.datasets import subset

CLASSES = ("ant", "bee", "cat", "dog")


def clips(sizes: dict[str, tuple[int, int]], prefix: str = "") -> pd.DataFrame:
    """Makes the given (training, validation) clips of each class, and an unlabelled test clip."""
    rows = [
        (f"{prefix}{name}-{split}-{number:03d}", CLASSES.index(name), split)
        for name, counts in sizes.items()
        for split, count in zip(("train", "val"), counts, strict=True)
        for number in range(count)
    ]
    frame = pd.DataFrame([*rows, ("test-0", -1, "test")], columns=["key", "label", "split"])
    return frame.assign(video=frame["key"]).sort_values(["split", "key"], ignore_index=True)


def sample(frame: pd.DataFrame, keep: int, seed: int = 1) -> pd.DataFrame:
    return subset.by_rule(frame, CLASSES, keep, {"train": 5, "val": 2}, seed)


def test_the_rule_keeps_the_largest_classes():
    """Classes are ranked by training clips, ties by name; no test clip is taken."""
    frame = clips({"ant": (7, 3), "bee": (9, 3), "cat": (8, 3), "dog": (8, 3)})
    chosen, classes = subset.renumber(sample(frame, 2), CLASSES)

    assert classes == ("bee", "cat")
    assert chosen.groupby(["label", "split"]).size().to_dict() == {
        (0, "train"): 5, (0, "val"): 2, (1, "train"): 5, (1, "val"): 2,
    }  # fmt: skip
    assert all(
        key.startswith(classes[label]) for key, label in zip(chosen.key, chosen.label, strict=True)
    )


def test_a_small_class_gives_all_that_it_has():
    """Every real copy of Kinetics has lost some clips."""
    chosen = sample(clips({"ant": (3, 1), "bee": (9, 3)}), 2)

    assert chosen.groupby(["label", "split"]).size().to_dict() == {
        (0, "train"): 3, (0, "val"): 1, (1, "train"): 5, (1, "val"): 2,
    }  # fmt: skip


def test_too_few_classes_are_refused():
    """The refusal has the number of classes that there are."""
    with pytest.raises(Refused) as error:
        sample(clips({"ant": (3, 1), "bee": (9, 3)}), 3)
    assert str(error.value) == (
        "params.yaml: 'subset.classes' is 3, but only 2 classes have training clips. "
        "Ask for at most 2, or write null for all."
    )


def keys(frame: pd.DataFrame, label: int) -> set[str]:
    return set(frame["key"][frame["label"] == label])


def test_the_sample_depends_on_the_seed_and_the_class_alone():
    """Clips of another class change nothing; one more of the class changes at most one clip."""
    one = sample(clips({"ant": (30, 9), "bee": (40, 9)}), 2)
    other = sample(clips({"ant": (30, 9), "bee": (50, 3), "cat": (90, 9)}).sample(frac=1), 3)
    more = sample(clips({"ant": (31, 9), "bee": (40, 9)}), 2)
    seeded = sample(clips({"ant": (30, 9), "bee": (40, 9)}), 2, seed=2)

    assert keys(one, 0) == keys(other, 0)
    assert len(keys(one, 0) - keys(more, 0)) <= 1
    assert keys(one, 0) != keys(seeded, 0)


def test_halves_are_balanced_in_each_class():
    """Only training clips have a half; an odd one goes to the weights; the seed decides which."""
    frame = clips({"ant": (20, 4), "bee": (7, 4)})
    chosen = subset.halve(frame, CLASSES, 1)
    other = subset.halve(frame, CLASSES, 2)

    assert chosen.groupby(["label", "half"]).size().to_dict() == {
        (0, "alpha"): 10, (0, "weights"): 10, (1, "alpha"): 3, (1, "weights"): 4,
    }  # fmt: skip
    assert chosen["half"][chosen["split"] != "train"].isna().all()
    assert not chosen["half"].equals(other["half"])


def test_clips_of_one_recording_share_a_half():
    """Otherwise alpha would be trained on what the weights have seen."""
    frame = clips({"ant": (40, 0)}).assign(video=lambda rows: rows["key"].str[-2:-1])
    chosen = subset.halve(frame[frame["split"] == "train"], CLASSES, 1)

    assert (chosen.groupby("video")["half"].nunique() == 1).all()
    assert set(chosen["half"]) == {"weights", "alpha"}


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
    """Ids that this copy has lost, and blank lines, are ignored; an id may begin with "-"."""
    files = lists(tmp_path, "-0abcdefghi\n--_bcdefghi\n\nLOSTLOSTLOS\n", "-1abcdefghi\r\n")
    chosen, classes = subset.renumber(subset.by_ids(kinetics(), files), CLASSES)

    assert classes == ("bee", "dog")
    assert chosen[["video", "label", "split"]].to_numpy().tolist() == [
        ["-0abcdefghi", 0, "train"], ["--_bcdefghi", 1, "train"], ["-1abcdefghi", 0, "val"],
    ]  # fmt: skip


def test_wrong_lists_are_refused(tmp_path):
    """A list is refused that is missing, has an id twice, or is for another data set."""
    with pytest.raises(Refused) as error:
        subset.by_ids(kinetics(), {"train": tmp_path / "no.txt"})
    assert str(error.value) == (
        f"{tmp_path}/no.txt: cannot be read (No such file or directory). "
        "Fix subset.ids in params.yaml: its paths are relative to the data root."
    )
    with pytest.raises(Refused) as error:
        subset.by_ids(kinetics(), lists(tmp_path, "AAAAAAAAAAA\n-\nAAAAAAAAAAA\n", ""))
    assert str(error.value) == (
        f"{tmp_path}/train.txt line 3: id 'AAAAAAAAAAA' is listed twice. Delete one of the two."
    )
    with pytest.raises(Refused) as error:
        subset.by_ids(kinetics(), lists(tmp_path, "AAAAAAAAAAA\n", "AAAAAAAAAAA\n"))
    assert str(error.value) == (
        f"{tmp_path}/val.txt: none of its 1 ids has a usable clip in split 'val'. "
        "Is it the list for this data set?"
    )


def test_too_many_classes_are_refused_early() -> None:
    """Before a video is transcoded; null is all."""
    subset.check_count(None, 1)
    subset.check_count(3, 3)
    with pytest.raises(Refused) as caught:
        subset.check_count(4, 3)
    assert str(caught.value) == (
        "params.yaml: 'subset.classes' is 4, but only 3 classes have training clips. Ask for at "
        "most 3, or write null for all."
    )
