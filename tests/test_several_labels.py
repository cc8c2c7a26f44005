"""Videos of several labels: their tables, subset and clips, and the videos of the demo."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import shards

from autox3d.core.errors import Refused
from autox3d.core.settings import Demo, Subset
from autox3d.core.tables import read_table, read_task, write_table
from autox3d.core.values import ClipSpec, Sampling
from autox3d.datasets import annotations, catalogue, demo_labels, listing, subset
from autox3d.datasets.annotations import Annotations
from autox3d.vision.clips.loader import TrainLoader
from autox3d.vision.clips.store import Clips

# ---- tables


def annotated(root: Path) -> Annotations:
    """Four training videos and two others of three classes."""
    rows = [("a", "x;y", "train"), ("a", "z", "train"), ("b", "y", "train"), ("c", "", "train")]
    rows += [("d", "x", "train"), ("e", "x;z", "test"), ("f", "", "test")]
    times = {"a": "0.2,0.6", "d": "0.5,"}
    text = "".join(
        f"{name}.mp4,{names},{split},{times.get(name, ',') if names != 'z' else ','}\n"
        for name, names, split in rows
    )
    (root / "own.csv").write_text(f"path,labels,split,start,end\n{text}")
    (root / "v").mkdir(exist_ok=True)
    for name in "abcdef":
        (root / f"v/{name}.mp4").write_text(name)
    return annotations.read("csv", root, "v", {"list": "own.csv"})


def indexed(root: Path) -> pd.DataFrame:
    """The table of videos, as if all had been encoded to 30 frames at 30 a second."""
    found = annotated(root)
    rows = listing.list_videos(found, root, "v", [0])
    listing.write(rows, found, root / "videos.parquet", root / "lists", [0])
    rows = read_table(root / "videos.parquet")
    made = {"offset": 0, "length": 1, "frames": 30, "rate": 30, "width": 8, "height": 8}
    return rows.assign(status="ok", encoder="x", sha256=rows["key"], **made)


def test_tables_carry_the_labels_with_their_times(tmp_path):
    """Videos by name, clips by number; a table of one label has neither column."""
    rows = indexed(tmp_path)
    table = catalogue.clips(rows, ("x", "y", "z"), tmp_path / "videos.parquet")
    write_table(table, tmp_path / "clips.parquet", ("x", "y", "z"), "multilabel")
    read = read_table(tmp_path / "clips.parquet").set_index("key")

    assert read_task(tmp_path / "videos.parquet") == "multilabel"
    assert rows.set_index("path")["label"]["v/a.mp4"] == "x; y; z"
    assert "label" not in read
    found = dict(zip(read["video"].str[0], read["labels"].map(list), strict=True))
    assert found == {"a": [0, 1, 2], "b": [1], "c": [], "d": [0], "e": [0, 2], "f": []}
    first = read[read["video"] == "a.mp4"].iloc[0]
    assert first["starts"].tolist() == [0.2, 0.2, 0.0]
    assert first["ends"].tolist() == [0.6, 0.6, math.inf]
    counts = catalogue.account(rows, ("x", "y", "z")).by_class
    assert {name: of.listed for name, of in counts.items()} == {"x": 3, "y": 2, "z": 2}


def test_times_that_are_frame_numbers_are_refused(tmp_path):
    """A class that begins after the end of all its training videos is never seen."""
    rows = indexed(tmp_path)
    late = [np.full(len(one), 45.0) for one in rows["starts"]]
    rows = rows.assign(starts=pd.Series(late, rows.index, dtype="object"))
    with pytest.raises(Refused) as error:
        catalogue.clips(rows, ("x", "y", "z"), Path("videos.parquet"))

    assert str(error.value) == (
        "videos.parquet: class 'x' begins after the end of each of its 2 training videos (first: "
        "v/a.mp4). Times are seconds of the video."
    )


def test_the_subset_keeps_classes_and_splits_recordings(tmp_path):
    """The classes with most videos; of a video in it only those labels; both halves are used."""
    table = catalogue.clips(indexed(tmp_path), ("x", "y", "z"), Path("videos.parquet"))
    settings = Subset(seed=1, classes=2, train=10, val=10, ids=None)
    chosen, kept = subset.choose(table, ("x", "y", "z"), settings, tmp_path)

    assert kept == ("x", "y")  # z has one training video, the others two
    assert {
        key[0]: row.tolist() for key, row in zip(chosen["video"], chosen["labels"], strict=True)
    } == {
        "a": [0, 1],
        "b": [1],
        "d": [0],
    }
    assert sorted(chosen["half"]) in (
        ["alpha", "alpha", "weights"],
        ["alpha", "weights", "weights"],
    )


# ---- clips


def test_a_training_clip_has_the_labels_that_hold_in_it(tmp_path):
    """Found frame by frame from the frames that were cut, for each clip of two epochs."""
    path = shards.make(tmp_path)
    rows = read_table(path)
    times = [(0.0, math.inf), (0.3, 0.5), (1.0, 1.01), (0.9, 5.0)]
    lists = {
        "labels": [[0, 1, 2, 1]] * len(rows),
        "starts": [[start for start, _ in times]] * len(rows),
        "ends": [[end for _, end in times]] * len(rows),
    }
    rows = rows.drop(columns="label").assign(**lists)
    write_table(rows, path, ("x", "y", "z"), "multilabel")
    clips = Clips.load(path, split="train", shards=tmp_path / "shards")
    sampling = Sampling(jitter=(32, 40), flip=False, autoaugment=False, rule="stride", repeats=1)
    spec = ClipSpec(frames=4, stride=3, crop=32, short=36)
    loader = TrainLoader(
        clips=clips, spec=spec, sampling=sampling, seed=1, batch=4, chunk=2, workers=0
    )
    seen: list[set[int]] = []
    cut = TrainLoader._cut

    def watched(self, epoch, wanted):
        pixels, operations, frames = cut(self, epoch, wanted)
        for row, (first, last, _) in zip(wanted[:, 0], frames, strict=True):
            shown = [frame / 30 for frame in range(first, last + 1)]
            assert 0 <= first <= last < clips.frames[row]
            held = {n for n, (a, b) in enumerate(times) if any(a <= t <= b for t in shown)}
            seen.append({[0, 1, 2, 1][n] for n in held})
        return pixels, operations, frames

    TrainLoader._cut = watched
    try:
        found = [
            {int(n) for n in clip if n >= 0}
            for epoch in range(2)
            for batch in loader.epoch(epoch)
            for clip in batch.labels
        ]
    finally:
        TrainLoader._cut = cut

    assert found == seen
    assert {0} in seen
    assert {0, 1} in seen
    # a test video has all of its own
    assert Clips.load(path, split="test", shards=tmp_path / "shards").labels[0].tolist() == [
        0, 1, 2, 1
    ]  # fmt: skip


# ---- the demo of several labels


def test_a_generated_video_has_its_labels_in_their_halves_and_times(tmp_path):
    """The same bytes again; a second call renders nothing; each motion's frames lie in its span."""
    settings = Demo(seed=1, train=1, val=1, test=1, paces=1, speed=1.0, classes="motions")
    found = demo_labels.prepare(tmp_path, "v", settings, lambda tasks, _: tasks)
    files = sorted(tmp_path.rglob("*.mp4"))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    for path in files[:3]:
        path.unlink()
    before = [path.stat().st_ino for path in files[3:]]
    again = demo_labels.prepare(tmp_path, "v", settings, lambda tasks, _: tasks)

    assert again == found
    assert [path.stat().st_ino for path in files[3:]] == before
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in files] == digests
    assert len(found.videos) == len(files) == 18
    assert {len(video.labels) for video in found.videos} == {1, 2}
    shares = {round((one.end - one.start) / 6, 1) for v in found.videos for one in v.labels}
    assert shares == {0.1, 0.3, 1.0}
    assert all(0 <= one.start <= one.end < 6 for v in found.videos for one in v.labels)
