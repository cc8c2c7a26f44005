"""The table of videos records which exist; adding a video changes the list of one shard."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autox3d.core.errors import Refused
from autox3d.core.tables import read_classes, read_table, read_task
from autox3d.datasets import listing
from autox3d.datasets.annotations import Annotations, Video


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"video")


def annotated(*names: str, split: str = "train") -> Annotations:
    videos = [Video(name, name, f"v/{name}", "cat", split, "here") for name in names]
    return Annotations(videos, ("cat",))


def test_the_table_records_what_exists(tmp_path):
    """Missing videos are counted, and files outside the root or not regular are refused."""
    touch(tmp_path, "root/v/good.mp4", "elsewhere.mp4")
    root = tmp_path / "root"
    os.utime(root / "v/good.mp4", ns=(5, 7))
    (root / "v/linked.mp4").symlink_to("good.mp4")
    (root / "v/out.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (root / "v/loop.mp4").symlink_to("loop.mp4")
    (root / "v/folder.mp4").mkdir()
    os.mkfifo(root / "v/pipe.mp4")
    names = ["good", "linked", "out", "loop", "folder", "pipe", "gone"]
    videos = annotated(*(f"{name}.mp4" for name in names), "concat:good.mp4|good.mp4")

    table = listing.list_videos(videos, root, "v", [0]).set_index("video")

    assert table["status"].to_dict() == {
        "good.mp4": "listed", "linked.mp4": "listed", "out.mp4": "refused", "loop.mp4": "refused",
        "folder.mp4": "refused", "pipe.mp4": "refused", "gone.mp4": "missing",
        "concat:good.mp4|good.mp4": "missing",
    }  # fmt: skip
    assert table["message"]["out.mp4"] == "a link out of the data root"
    assert (table["size"]["good.mp4"], table["mtime_ns"]["good.mp4"]) == (5, 7)


def test_a_folder_without_any_video_is_refused(tmp_path):
    """It is taken for a wrong path, and not for a data set whose videos are all missing."""
    with pytest.raises(Refused) as error:
        listing.list_videos(annotated("a.mp4", "b.mp4"), tmp_path, "v", [0])

    assert str(error.value) == (
        f"{tmp_path}/v: none of the 2 videos exists (v/a.mp4: there is no such file). "
        "Set annotate.videos in params.yaml, or the data root AUTOX3D_RAW."
    )


def test_a_class_without_videos_is_refused(tmp_path):
    """Nothing could be learnt about its label."""
    touch(tmp_path, "v/a.mp4")
    videos = annotated("a.mp4")._replace(classes=("cat", "dog"))

    with pytest.raises(Refused) as error:
        listing.list_videos(videos, tmp_path, "v", [0])

    assert str(error.value) == (
        f"{tmp_path}/v: no training video of class 'dog' exists. "
        "Add one, or take the class out of the annotations."
    )


def test_keys_are_names_for_the_members_of_a_tar():
    """An id that is such a name stays as it is; a hash keeps the others distinct."""
    assert listing.key("-abcdefghij_000012_000022") == "-abcdefghij_000012_000022"
    odd = ["a/b.mp4", "a b.mp4", "a\nb.mp4", "../b.mp4", "'.mp4", "ü.mp4", "x" * 300, "\udcff.mp4"]
    keys = [listing.key(name) for name in odd]
    assert len(set(keys)) == len(odd)
    assert all(key.isascii() and len(key) <= 100 and not set(key) & set("./ \n'") for key in keys)


def lists(folder: Path, videos: Annotations, root: Path, shards: list[int]) -> dict[str, bytes]:
    rows = listing.list_videos(videos, root, "v", shards)
    listing.write(rows, videos, folder / "videos.parquet", folder / "lists", shards)
    return {path.name: path.read_bytes() for path in sorted((folder / "lists").iterdir())}


def test_one_more_video_changes_one_list(tmp_path):
    """A corrected label or split changes none; the order of the annotations does not matter."""
    names = [f"{number}.mp4" for number in range(60)]
    touch(tmp_path, *(f"v/{name}" for name in names))
    for name in names:
        os.utime(tmp_path / "v" / name, (0, 0))
    before = lists(tmp_path, annotated(*names[:-1]), tmp_path, [0, 1, 2])
    relabelled = annotated(*reversed(names[:-1]))._replace(classes=("cat",))
    relabelled.videos[0] = relabelled.videos[0]._replace(label=None, split="test")

    assert lists(tmp_path, relabelled, tmp_path, [0, 1, 2]) == before
    after = lists(tmp_path, annotated(*names), tmp_path, [0, 1, 2])
    assert sum(before[name] != after[name] for name in before) == 1

    sizes = [len(read_table(tmp_path / "lists" / f"{shard}.parquet")) for shard in range(3)]
    assert sum(sizes) == 60
    assert min(sizes) > 8
    assert read_classes(tmp_path / "videos.parquet") == ("cat",)
    assert read_task(tmp_path / "videos.parquet") == "classify"
    lists(tmp_path, annotated(*names)._replace(task="ranked"), tmp_path, [0, 1, 2])
    assert read_task(tmp_path / "videos.parquet") == "ranked"
    assert set(read_table(tmp_path / "lists/0.parquet")) == {"key", "path", "size", "mtime_ns"}


def test_fewer_shards_leave_no_old_list(tmp_path):
    """No job would transcode the list of a shard that no longer exists."""
    touch(tmp_path, "v/a.mp4")
    lists(tmp_path, annotated("a.mp4"), tmp_path, [0, 1, 2])

    assert set(lists(tmp_path, annotated("a.mp4"), tmp_path, [0])) == {"0.parquet"}
