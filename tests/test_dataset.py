"""A batch depends on seed, epoch and clip alone; a test video is decoded once, for all views."""

import multiprocessing
import os
import signal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from support import shards

from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec, Sampling
from autox3d.vision.clips import views
from autox3d.vision.clips.augment import chunks
from autox3d.vision.clips.autoaugment import autoaugment
from autox3d.vision.clips.loader import TrainLoader
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.order import epoch_order, epoch_shape
from autox3d.vision.clips.transform import cut, resized
from autox3d.vision.clips.videos import ViewLoader

FRAMES, STRIDE, CROP, SHORT = 4, 3, 32, 40
SPEC = ClipSpec(frames=FRAMES, stride=STRIDE, crop=CROP, short=SHORT)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return shards.make(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def clips(table):
    return shards.clips(table)


def sampling(**changes):
    plain = {
        "jitter": (36, 44),
        "flip": True,
        "autoaugment": False,
        "rule": "linspace",
        "repeats": 1,
    }
    return Sampling(**plain | changes)


def batches(clips, settings=None, **changes):
    epoch, start = changes.pop("epoch", 0), changes.pop("start", 0)
    return list(loader(clips, settings, **changes).epoch(epoch, start))


def loader(clips, settings=None, **changes):
    plain: dict[str, Any] = {"seed": 1, "batch": 4, "chunk": 2, "workers": 0}
    given = {"clips": clips, "spec": SPEC, "sampling": settings or sampling()}
    return TrainLoader(**given, **plain | changes)


def same(one, other):
    return (
        len(one) == len(other)
        and all(
            a[3:] == b[3:]  # chunks, their sizes, operations
            and all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
            for a, b in zip(one, other, strict=True)
        )
    )


def test_a_process_may_take_chunks_in_any_order(clips):
    """The last chunk is smaller; it comes first where that is asked, with its own clips."""
    given = batches(clips, batch=5, numbers=[2, 0])[0]
    plain = batches(clips, batch=5)[0]
    wanted = [plain.clips.split([2, 2, 1])[number] for number in (2, 0)]

    assert (list(given.chunks), list(given.sizes)) == ([2, 0], [1, 2])
    assert torch.equal(given.clips, torch.cat(wanted))
    found = {number: len(part) for number, part, _ in chunks(given, torch.device("cpu"))}
    assert found == {2: 1, 0: 2}


def test_a_batch_is_uint8_with_labels_and_rows(clips):
    batch = batches(clips)[0]
    assert batch.clips.shape == (4, FRAMES, CROP, CROP, 3)
    assert batch.clips.dtype == torch.uint8
    assert batch.clips.is_contiguous()
    assert batch.labels.tolist() == clips.labels[batch.rows].tolist()
    assert list(batch.chunks) == [0, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(clips, workers):
    assert same(batches(clips), batches(clips, workers=workers))


def test_processes_change_nothing(clips):
    """Two ranks' chunks, put in their places, are one process's batch."""
    whole = batches(clips)
    parts = [batches(clips, world=(rank, 2)) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        for rank in (0, 1):
            part = parts[rank][step]
            assert list(part.chunks) == [rank]
            assert torch.equal(part.clips, batch.clips[2 * rank : 2 * rank + 2])
            assert torch.equal(part.rows, batch.rows[2 * rank : 2 * rank + 2])


def test_a_resumed_epoch_goes_on_and_decodes_nothing_to_catch_up(clips, monkeypatch):
    whole = batches(clips, batch=2)
    read = []
    plain = clips.bytes
    monkeypatch.setattr(clips, "bytes", lambda row: read.append(row) or plain(row))
    rest = batches(clips, batch=2, start=3)
    assert same(rest, whole[3:])
    assert read == torch.cat([batch.rows for batch in whole[3:]]).tolist()


def test_epochs_and_seeds_differ_and_repeat(clips):
    assert same(batches(clips), batches(clips))
    assert not same(batches(clips), batches(clips, epoch=1))
    assert not same(batches(clips), batches(clips, seed=2))


def test_a_clip_does_not_depend_on_its_place_in_the_epoch(clips):
    """The same (seed, epoch, clip) in batches of another size: the same pixels."""
    by_row = {}
    for size in (2, 4, 8):
        for batch in batches(clips, batch=size):
            for row, pixels in zip(batch.rows.tolist(), batch.clips, strict=True):
                assert torch.equal(by_row.setdefault(row, pixels), pixels)


def test_an_epoch_shows_no_clip_twice_and_pads_nothing():
    order = epoch_order(10, 4, seed=1, epoch=0)
    assert order.shape == (2, 4)
    assert len(set(order.ravel().tolist())) == 8
    seen = {row for epoch in range(9) for row in epoch_order(10, 4, 1, epoch).ravel().tolist()}
    assert seen == set(range(10))


def test_fewer_clips_than_a_batch_are_one_step(clips):
    assert epoch_shape(8, 64) == (1, 8)
    (batch,) = batches(clips, batch=64, chunk=3)
    assert sorted(batch.rows.tolist()) == list(range(8))
    assert list(batch.chunks) == [0, 1, 2]


def test_too_many_processes_are_refused(clips):
    with pytest.raises(Refused) as caught:
        batches(clips, world=(2, 3))
    assert str(caught.value) == (
        "params.yaml: a step of 4 clips is 2 chunks of 2, too few for 3 processes. "
        "Raise the batch, or use fewer."
    )


def test_a_mistake_in_a_worker_is_one_line(table, tmp_path):
    clips = shards.Clips.load(table, split="train", shards=tmp_path)
    with pytest.raises(Refused, match=r"\d\.tar: there is no such file\. Run the stage"):
        batches(clips, workers=1)


def test_flips_are_half_of_all_and_can_be_off(clips):
    """The cut of a clip is the same with and without flips; only its columns are turned."""
    turned = 0
    for epoch in range(4):
        plain = torch.cat([b.clips for b in batches(clips, sampling(flip=False), epoch=epoch)])
        maybe = torch.cat([b.clips for b in batches(clips, epoch=epoch)])
        for one, other in zip(plain, maybe, strict=True):
            if not torch.equal(one, other):
                assert torch.equal(one.flip(2), other)
                turned += 1
    assert 8 < turned < 24  # of 32


def test_autoaugment_is_drawn_for_each_clip_and_changes_no_pixel_yet(clips):
    """The device does it: the loader sends the same pixels, and what is to be done to them."""
    plain, augmented = batches(clips), batches(clips, sampling(autoaugment=True))
    drawn = [some for batch in augmented for some in batch.operations]
    assert len(drawn) == len(clips)
    assert len(set(drawn)) > 3
    for one, other in zip(plain, augmented, strict=True):
        assert one.operations == [()] * len(one.clips)
        assert torch.equal(one.clips, other.clips)


def test_a_clip_is_augmented_on_its_way_to_the_network(clips):
    """Each with its own operations, before it is normalised."""
    for batch in batches(clips, sampling(autoaugment=True)):
        (_, first, _), (_, second, _) = chunks(batch, torch.device("cpu"))
        pairs = zip(batch.clips, batch.operations, strict=True)
        wanted = normalise(torch.stack([autoaugment(clip, some) for clip, some in pairs]))
        assert torch.equal(torch.cat((first, second)), wanted)


def test_each_view_is_cut_as_if_alone(table):
    """Against decoding every frame, then resizing and cutting each view by itself."""
    clips = shards.clips(table, "test")
    made = list(views_of(clips, [1, 3], ("center", "lcr")))
    assert [v.row for v in made] == sorted([*range(len(clips))] * 2)
    for one in made:
        video = clips.video(one.row)
        every = video.frames(range(video.count))
        assert len(one.views) == len(one.clips) == 3 * (1 if one.crops == "center" else 3)
        for view, pixels in zip(one.views, one.clips, strict=True):
            start = view.place * views.last_start(video.count, Fraction(FRAMES * STRIDE))
            times = views.clip_frames(start, FRAMES, STRIDE, 30, "stride")
            frames = torch.from_numpy(every[views.clamp(times, video.count)])
            frames = resized(frames, *views.test_frame(video.height, video.width, SHORT))
            size = views.test_size(one.crops, SHORT, CROP)
            _, height, width, _ = frames.shape
            box = views.test_box(height, width, view.side, size)
            assert torch.equal(pixels, cut(frames.numpy(), box, size))


def views_of(clips, counts, crops, **changes):
    plain = {"sampling": "stride", "crops": crops, "workers": 0}
    given = {"clips": clips, "spec": SPEC, "counts": counts, "rule": "ends"}
    return ViewLoader(**given, **plain | changes).videos()


def test_each_test_video_is_in_one_process(table):
    """And the views do not depend on the number of processes or workers."""
    clips = shards.clips(table, "test")
    whole = list(views_of(clips, [3], ("lcr",)))
    parts = [
        one
        for rank in (0, 1, 2)
        for one in views_of(clips, [3], ("lcr",), world=(rank, 3), workers=1)
    ]
    parts.sort(key=lambda one: one.row)
    assert [one.row for one in parts] == [one.row for one in whole] == list(range(len(clips)))
    assert all(torch.equal(a.clips, b.clips) for a, b in zip(parts, whole, strict=True))


def test_a_cut_is_the_mean_of_what_it_shrinks():
    """Antialiased: 64 px of noise to 8 px keep the mean and lose the noise; a box is exact."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 70, 90, 3), np.uint8)
    small = cut(noise, views.Box(3, 5, 64), 8).numpy().astype(float)
    assert small.std() < 20 < noise.std()
    assert small.mean() == pytest.approx(noise.mean(), abs=4)
    same_size = cut(noise, views.Box(3, 5, 64), 64)
    assert np.array_equal(same_size, noise[:, 3:67, 5:69])
    assert np.array_equal(cut(noise, views.Box(3, 5, 64), 64, flip=True), same_size.flip(2))


def test_a_signal_to_all_processes_ends_no_batch(clips):
    """A cluster's warning reaches the workers too; the main process goes on to its checkpoint."""
    made = loader(clips, batch=2, workers=1).epoch(0)
    first = next(made)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGTERM)
    assert same([first, *made], batches(clips, batch=2))
    assert multiprocessing.active_children() == []


def test_workers_end_with_the_loop_that_used_them(clips):
    """Left in the middle, or by an error: none stays behind."""
    made = loader(clips, batch=2, workers=2).epoch(0)
    next(made)
    made.close()
    assert multiprocessing.active_children() == []


def test_repeats_are_other_clips_of_the_same_videos(clips):
    """Side by side, as many steps as without, the first of each as without; half the reading."""
    once, twice = batches(clips), batches(clips, sampling(repeats=2))
    assert len(once) == len(twice)
    alone = {row: clip for b in once for row, clip in zip(b.rows.tolist(), b.clips, strict=True)}
    for batch in twice:
        assert torch.equal(batch.rows[::2], batch.rows[1::2])
        assert len(set(batch.rows.tolist())) == len(batch.rows) // 2
        assert torch.equal(batch.labels, torch.from_numpy(clips.labels)[batch.rows])
        for first, second, row in zip(
            batch.clips[::2], batch.clips[1::2], batch.rows[::2].tolist(), strict=True
        ):
            assert torch.equal(first, alone[row])
            assert not torch.equal(first, second)


def test_repeats_are_decoded_together(clips, monkeypatch):
    """One reading and one decoder for all clips that a chunk has of a video."""
    read = []
    plain = clips.bytes
    monkeypatch.setattr(clips, "bytes", lambda row: read.append(row) or plain(row))
    made = batches(clips, sampling(repeats=4), batch=8, chunk=4)
    assert read == torch.cat([batch.rows[::4] for batch in made]).tolist()


@pytest.mark.parametrize("repeats", [2, 3])
def test_neither_workers_nor_processes_nor_restarts_change_repeats(clips, repeats):
    """Also where the clips of a video lie in two chunks, or in two steps."""
    settings = sampling(repeats=repeats, autoaugment=True)
    whole = batches(clips, settings)
    assert same(whole, batches(clips, settings, workers=2))
    assert same(whole[1:], batches(clips, settings, start=1))
    parts = [batches(clips, settings, world=(rank, 2)) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        for rank in (0, 1):
            mine = slice(2 * rank, 2 * rank + 2)
            assert torch.equal(parts[rank][step].clips, batch.clips[mine])
            assert parts[rank][step].operations == batch.operations[mine]
