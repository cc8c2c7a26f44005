"""Pieces of films and their tables of clips: each moment has its frames, and its boxes follow."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import numbered, shards

from autox3d.core import tables
from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec, Sampling
from autox3d.datasets import annotations, catalogue, listing, moments
from autox3d.datasets.annotations import Annotations, KeyBox, Video
from autox3d.ingest import encode, transcode
from autox3d.ingest.encode import Part
from autox3d.ingest.source import BadVideo
from autox3d.vision.clips.format.decode import IndexedVideo
from autox3d.vision.clips.loader import TrainLoader
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import ViewLoader, shown_in_tests
from autox3d.vision.tasks.boxes import LEARNT

# ---- Pieces of films


def test_every_moment_is_in_one_piece_with_time_around_it():
    """For 300 random films; pieces begin at whole seconds, and none is longer than it may be."""
    rng = np.random.default_rng(1)
    for _ in range(300):
        seconds = np.sort(rng.choice([rng.uniform(0, 200), 7.0], rng.integers(1, 40)))
        seconds = np.round(np.concatenate([seconds, rng.uniform(0, 300, 9)]), 2)
        film = Video("f", "f", "f", None, "train", "", boxes=tuple(
            KeyBox(second, (0.0, 0.0, 1.0, 1.0), "x") for second in rng.permutation(seconds)
        ))  # fmt: skip
        cut = list(moments.pieces(film))
        found = sorted(box.second for piece in cut for box in piece.boxes)
        assert found == sorted(seconds.tolist())
        assert len({piece.id for piece in cut}) == len(cut)
        for piece in cut:
            own = [box.second for box in piece.boxes]
            assert piece.begin == int(piece.begin) == max(0, int(min(own) - 5))
            assert max(own) + 5 < piece.end <= piece.begin + moments.PIECE + 2 * 5 + 3


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of 25 s whose pictures have numbers, in several containers."""
    folder = tmp_path_factory.mktemp("films")
    x264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "70")
    numbered.make(folder / "a.mp4", *x264, count=250, rate="10")
    numbered.make(folder / "a.mkv", *x264, count=250, rate="10")
    numbered.make(folder / "a.ts", *x264, "-f", "mpegts", count=250, rate="10")
    numbered.make(folder / "a.avi", "-c:v", "mpeg4", "-q:v", "3", count=250, rate="10")
    return folder


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize("part", [Part(0, 4), Part(1, 3), Part(9, 17), Part(20, 60)])
def test_a_part_has_the_frames_of_the_whole_film(films, tmp_path, name, part):
    """By the numbers in the pictures, tick by tick; the last part ends with the film."""
    whole = numbered.by_training(films / name)
    settings = shards.encoding(short=numbered.HEIGHT)
    clip = encode.encode(films / name, settings, tmp_path / "x.mp4", part)
    video = IndexedVideo(clip.data)
    found = numbered.numbers(video.frames(np.arange(video.count)))
    assert found == whole[int(30 * part.begin) : int(30 * part.end)]
    assert -1 not in found


def test_a_part_may_be_of_a_long_film(films, tmp_path):
    """`max_seconds` is the limit of a part, and not of the film that it is cut from."""
    settings = shards.encoding(short=numbered.HEIGHT, max_seconds=8.0)
    with pytest.raises(BadVideo, match=r"25 s are over 8"):
        encode.encode(films / "a.mp4", settings, tmp_path / "x.mp4")
    assert encode.encode(films / "a.mp4", settings, tmp_path / "x.mp4", Part(9, 17)).frames == 240
    with pytest.raises(BadVideo, match=r"9 s are over 8"):
        encode.encode(films / "a.mp4", settings, tmp_path / "x.mp4", Part(9, 18))


def test_a_part_behind_the_end_is_refused(films, tmp_path):
    with pytest.raises(BadVideo) as caught:
        encode.encode(films / "a.mp4", shards.encoding(), tmp_path / "x.mp4", Part(897, 909))
    assert str(caught.value) == "it ends after 25.00 s, and a part of it is to begin at 897 s"


# ---- Tables


def made(films: Path, out: Path, rows: list[tuple[str, str, list[KeyBox]]]) -> Path:
    """The table of clips of films, through the real stages' functions."""
    cut = [
        piece
        for name, split, own in rows
        for piece in moments.pieces(
            Video(name, name, name, None, split, f"l {name}", boxes=tuple(own))
        )
    ]
    classes = tuple(sorted({box.name for one in cut for box in one.boxes if box.name}))
    found = annotations.check(Annotations(cut, classes, tables.DETECT))
    videos = listing.list_videos(found, films, ".", [0, 1])
    listing.write(videos, found, out / "videos.parquet", out / "lists", [0, 1])
    for number in (0, 1):
        transcode.transcode(
            out / f"lists/{number}.parquet",
            films,
            out / f"shards/{number}.tar",
            out / f"index/{number}.parquet",
            shards.encoding(short=numbered.HEIGHT),
            workers=1,
            progress=lambda items, _: items,
        )
    joined = catalogue.join(tables.read_table(out / "videos.parquet"), out / "index")
    clips = catalogue.clips(joined, classes, Path("videos"))
    tables.write_table(clips, out / "clips.parquet", classes, tables.DETECT)
    return out / "clips.parquet"


LEFT, RIGHT, WHOLE = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def table(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training film of two pieces, and a film for tests with a proposal where no truth is."""
    train = [
        KeyBox(2.0, LEFT, "run"), KeyBox(2.0, LEFT, "talk"), KeyBox(2.5, RIGHT, ""),
        KeyBox(23.9, RIGHT, "run"), KeyBox(3.0, LEFT, "", proposed=True),
        KeyBox(2.5, (0.6, 0.0, 0.97, 1.0), "", proposed=True),
    ]  # fmt: skip
    held = [KeyBox(12.0, LEFT, "run"), KeyBox(12.0, (0.0, 0.0, 0.41, 1.0), "", proposed=True),
            KeyBox(14.0, RIGHT, "", proposed=True)]  # fmt: skip
    rows = [("a.mp4", "train", train), ("a.mkv", "val", held)]
    return made(films, tmp_path_factory.mktemp("table"), rows)


def test_the_table_has_a_row_for_each_moment(table):
    """With its time in the piece; a training moment without truth is none."""
    rows = tables.read_table(table)
    assert tables.read_task(table) == "detect"
    assert rows[["key", "split", "second", "at", "frames"]].to_numpy().tolist() == [
        [f"{listing.key('a.mp4-00000')}-02000", "train", 2.0, 2.0, 270],
        [f"{listing.key('a.mp4-00000')}-02500", "train", 2.5, 2.5, 270],
        [f"{listing.key('a.mp4-00018')}-05900", "train", 23.9, pytest.approx(5.9), 210],
        [f"{listing.key('a.mkv-00007')}-05000", "val", 12.0, 5.0, 390],
        [f"{listing.key('a.mkv-00007')}-07000", "val", 14.0, 7.0, 390],
    ]
    assert [list(map(list, one)) for one in rows["labels"]] == [
        [[0, 1]],
        [[], []],
        [[0]],
        [[0], []],
        [[]],
    ]
    assert [list(one) for one in rows["asked"]] == [
        [False],
        [False, True],
        [False],
        [False, True],
        [True],
    ]
    assert sum(len(one) for one in rows["boxes"]) == 4 * 7


def test_clips_are_cut_around_their_moment(table):
    """The key frame is number T / 2, tau apart, edges repeated; the same in training and tests."""
    spec = ClipSpec(frames=4, stride=30, crop=64, short=96)
    train = Clips.load(table, split="train", shards=table.parent / "shards")
    sampling = Sampling(jitter=(96, 96), flip=False, autoaugment=False, rule="linspace", repeats=1)
    loader = TrainLoader(
        clips=train, spec=ClipSpec(frames=4, stride=30, crop=96, short=96), sampling=sampling,
        seed=1, batch=3, chunk=3, workers=0,
    )  # fmt: skip
    (batch,) = loader.epoch(0)
    seconds = [2.0, 2.5, 23.9]
    for row, clip in zip(batch.rows.tolist(), batch.clips, strict=True):
        middle = round(10 * seconds[row])
        wanted = [min(middle + 10 * step, 249) for step in (-2, -1, 0, 1)]
        assert [one >= 0 for one in wanted]
        wide = torch.nn.functional.pad(clip, (0, 0, 0, 0))  # 96 of 128 px: six of the eight bars
        bars = wide[:, 24:72].float().mean((1, 3)).unflatten(1, (-1, 16))[:, :, 4:-4].mean(2) > 128
        assert bars.shape == (4, 6)
        for number, own in zip(wanted, bars.tolist(), strict=True):
            bits = [bool(number >> (7 - bit) & 1) for bit in range(8)]
            assert any(bits[first : first + 6] == own for first in range(3))
    val = Clips.load(table, split="val", shards=table.parent / "shards")
    views = ViewLoader(
        clips=val, spec=shown_in_tests(val.task, spec), counts=[1], rule="ends",
        sampling="linspace", crops=["center"], workers=0,
    )  # fmt: skip
    found = [numbered.numbers(video.frames.numpy()) for video in views.decoded()]
    assert found == [[100, 110, 120, 130], [120, 130, 140, 150]]


def test_a_moment_behind_the_end_of_its_film_is_refused(films, tmp_path):
    """No frame of another second takes its place."""
    late = [KeyBox(24.0, LEFT, "run"), KeyBox(26.0, LEFT, "run")]
    with pytest.raises(Refused) as caught:
        made(films, tmp_path, [("a.mp4", "train", late)])
    assert str(caught.value) == (
        "videos: a.mp4 ends at 25.00 s, and has boxes at 26 s. Are the seconds those of this file? "
        "Fix them, or take them out."
    )


def test_proposals_that_meet_nothing_are_refused(films, tmp_path):
    """When the table is read, before anything is trained: not a mAP of 0 at the end."""
    rows = [
        ("a.mp4", "train", [KeyBox(2.0, LEFT, "run")]),
        ("a.mkv", "val", [KeyBox(2.0, LEFT, "run"), KeyBox(2.0, RIGHT, "", proposed=True)]),
    ]
    path = made(films, tmp_path, rows)
    assert len(Clips.load(path, split="train", shards=tmp_path / "shards")) == 1
    with pytest.raises(Refused) as caught:
        Clips.load(path, split="val", shards=tmp_path / "shards")
    assert str(caught.value) == (
        f"{path}: in split 'val', no proposal meets a truth box: of 1 and 1 boxes the best overlap "
        "is 0.00, and 0.5 would be a hit. Are the corners x1, y1, x2, y2 as shares of width and "
        "height, and the seconds those of the same film?"
    )


def test_a_clip_that_is_longer_than_a_piece_is_refused(table):
    spec = ClipSpec(frames=16, stride=24, crop=64, short=96)
    clips = Clips.load(table, split="val", shards=table.parent / "shards")
    views = ViewLoader(
        clips=clips, spec=spec, counts=[1], rule="ends", sampling="stride", crops=["center"],
        workers=0,
    )  # fmt: skip
    with pytest.raises(Refused) as caught:
        list(views.decoded())
    assert str(caught.value) == (
        "a clip of 16 frames, 24 apart, reaches 6.4 s from its moment, and a film is kept for 5 s "
        "around one. Use fewer frames, or a smaller stride."
    )


# ---- Boxes follow what is cut


def painted(out: Path) -> Path:
    """A film of a white box in black at one place, and its table; the box is its truth."""
    box = (40, 16, 80, 56)
    picture = np.zeros((96, 160), np.uint8)
    picture[box[1] : box[3], box[0] : box[2]] = 255
    data = picture.tobytes() * 60
    command = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "160x96", "-r", "30", "-i", "-"]
    words = [encode.program(), "-v", "error", "-y", *command, "-crf", "4", str(out / "w.mp4")]
    subprocess.run(words, input=data, check=True)
    corners = (box[0] / 160, box[1] / 96, box[2] / 160, box[3] / 96)
    rows = [("w.mp4", "train", [KeyBox(1.0, corners, "white")])]
    return made(out, out, rows)


def test_boxes_follow_jitter_crop_and_flip(tmp_path):
    """In 90 clips with random crops: pixels in the box are white, and those around it are not."""
    path = painted(tmp_path)
    clips = Clips.load(path, split="train", shards=tmp_path / "shards")
    sampling = Sampling(jitter=(96, 140), flip=True, autoaugment=False, rule="stride", repeats=1)
    spec = ClipSpec(frames=2, stride=4, crop=64, short=96)
    loader = TrainLoader(
        clips=clips, spec=spec, sampling=sampling, seed=1, batch=1, chunk=1, workers=0
    )
    inside, cut_off, lost = 0, 0, 0
    for epoch in range(90):
        (batch,) = loader.epoch(epoch)
        (x1, y1, x2, y2), white = 64 * batch.labels[0, 0, :4], batch.clips[0, 0, :, :, 0] > 128
        if not batch.labels[0, 0, LEARNT]:
            assert white.sum() <= 64  # at most a line of it is left
            lost += 1
            continue
        y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        deep = (x > x1 + 1) & (x < x2 - 1) & (y > y1 + 1) & (y < y2 - 1)
        far = (x < x1 - 1) | (x > x2 + 1) | (y < y1 - 1) | (y > y2 + 1)
        assert white[deep].all()
        assert not white[far].any()
        inside += 1
        cut_off += bool((torch.stack([x1, y1]) == 0).any() or (torch.stack([x2, y2]) == 64).any())
    assert inside > 40
    assert cut_off > 10
    assert lost > 0


def test_a_box_outside_of_the_square_keeps_its_row(tmp_path):
    """The test's square is 96 of 160 px: a box at the border has no area there, and is asked."""
    path = painted(tmp_path)
    rows = tables.read_table(path)
    lists = {
        "boxes": [np.array([0.0, 0.1, 0.1, 0.9, 0.25, 0.2, 0.5, 0.6])],
        "truth": [np.array([True, True])],
        "asked": [np.array([True, True])],
        "labels": [[np.array([0]), np.array([0])]],
    }
    rows = rows.assign(**{name: pd.Series(one, rows.index) for name, one in lists.items()})
    tables.write_table(rows, path, ("white",), tables.DETECT)
    clips = Clips.load(path, split="train", shards=tmp_path / "shards")
    spec = shown_in_tests(clips.task, ClipSpec(frames=2, stride=4, crop=64, short=96))
    views = ViewLoader(
        clips=clips, spec=spec, counts=[1], rule="ends", sampling="stride", crops=["center"],
        workers=0,
    )  # fmt: skip
    (video,) = views.videos()
    assert video.clips.shape == (1, 2, 96, 96, 3)
    np.testing.assert_allclose(video.boxes[0, 0], [0, 0.1, 0, 0.9], atol=1e-6)
    np.testing.assert_allclose(video.boxes[0, 1], [8 / 96, 0.2, 48 / 96, 0.6], atol=1e-6)
    assert (video.clips[0, 0, 24:54, 12:44, 0] > 200).all()
    assert clips.task.boxed is not None
    assert clips.task.boxed.answers(np.ones((2, 1)), clips.labels[0]).shape == (2, 1)
