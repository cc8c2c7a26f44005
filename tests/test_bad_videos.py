"""Each kind of good and bad video in `corpus.KINDS` is used, or refused for its reason."""

import hashlib
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from support import corpus, shards, whole

from autox3d.datasets import catalogue
from autox3d.inference.files import open_video
from autox3d.ingest import encode, source
from autox3d.ingest.isolate import WorkerFailure, run_isolated
from autox3d.vision.clips.format.decode import IndexedVideo

GOOD = [name for name, (verdict, _) in corpus.KINDS.items() if verdict == "ok"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """The folder with a video of each kind."""
    root = tmp_path_factory.mktemp("raw")
    corpus.make(root)
    return root


@pytest.fixture(scope="module")
def shard(videos, tmp_path_factory):
    """The shard with all kinds: its folder and its index."""
    out = tmp_path_factory.mktemp("out")
    return out, shards.any_files(videos, list(corpus.KINDS), out)


def clip(shard, name):
    out, index = shard
    row = index.loc[name]
    data = (out / "0.tar").read_bytes()[row["offset"] : row["offset"] + row["length"]]
    return data, row


@pytest.mark.parametrize("name", corpus.KINDS)
def test_each_kind_is_used_or_refused_for_its_reason(shard, name):
    verdict = corpus.KINDS[name][0]
    row = shard[1].loc[name]
    assert (row["reason"] or "ok") == verdict, row["message"]
    assert row["status"] == {"ok": "ok", "missing": "missing"}.get(verdict, "refused")
    assert bool(row["message"]) == (verdict != "ok")


@pytest.mark.parametrize("name", GOOD)
def test_what_the_index_says_is_in_the_shard(shard, name):
    """Offset, length, hash, size and number of frames fit the clip; all its frames decode."""
    data, row = clip(shard, name)
    video = IndexedVideo(data)
    assert hashlib.sha256(data).hexdigest() == row["sha256"]
    assert (video.count, video.height, video.width) == (row["frames"], row["height"], row["width"])
    assert video.rate == row["rate"] == 30
    assert len(video.frames(range(video.count))) == video.count


@pytest.mark.parametrize("name", [name for name in GOOD if name != "size_changes.ts"])
def test_a_clip_shows_the_frames_of_its_source(videos, shard, name):
    """Of all frames of the source, the one at the same time is nearest to the clip's frame."""
    data, row = clip(shard, name)
    ours, raw = IndexedVideo(data), open_video(videos / name)
    assert ours.count == raw.count
    theirs = torch.from_numpy(raw.frames(range(raw.count))).permute(0, 3, 1, 2)
    size = (row["height"], row["width"])
    theirs = F.interpolate(theirs, size, mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    picks = np.linspace(0, raw.count - 1, 4).astype(int)
    for pick, frame in zip(picks, ours.frames(picks), strict=True):
        distance = np.abs(theirs.numpy().astype(np.int16) - frame).mean((1, 2, 3))
        assert distance[pick] < min(distance.min() + 0.5, 15)


def test_a_change_of_size_costs_two_frames_at_most(videos, shard):
    """ffmpeg restarts its filters there; the second half has the size of the first."""
    assert shard[1].loc["size_changes.ts", "frames"] >= 58
    assert open_video(videos / "size_changes.ts").count == 60


@pytest.mark.parametrize("name", GOOD)
def test_chosen_frames_are_those_of_a_decode_from_end_to_end(videos, name):
    """They are equal for all good kinds, whether or not the file's time stamps are usable."""
    video = open_video(videos / name)
    expected = whole.frames(videos / name)
    assert (video.count, video.height, video.width) == expected.shape[:3]
    rng = np.random.default_rng(0)
    for _ in range(8):
        chosen = rng.integers(0, video.count, rng.integers(1, 7))
        assert np.array_equal(video.frames(chosen), expected[chosen])


def test_rotation_is_applied(shard):
    """A picture that is turned by 90 or 270 degrees becomes upright: higher than wide."""
    sizes = {n: tuple(shard[1].loc[n, ["height", "width"]]) for n in GOOD if "rotated" in n}
    assert sizes == {
        "rotated_90.mp4": (86, 64),
        "rotated_180.mp4": (64, 86),
        "rotated_270.mp4": (86, 64),
    }


def test_pixels_are_square_whatever_the_source_says(shard, tmp_path):
    """128 x 96 at 16:11 would be 186 wide; the pixel aspect ratio is ignored on purpose."""
    data, row = clip(shard, "wide_pixels.mp4")
    assert (row["height"], row["width"]) == (64, 86)
    (tmp_path / "clip.mp4").write_bytes(data)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == 1


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("ten_bits.mkv", "yuv420p10le"),
        ("444.mp4", "yuv444p"),
        ("grey.avi", "gray"),
        ("full_range.mp4", "yuvj420p"),
        ("alpha.mov", "argb"),
    ],
)
def test_kinds_of_pixels_are_what_they_are_called(videos, name, pixels):
    with av.open(str(videos / name)) as container:
        assert next(container.decode(video=0)).format.name == pixels


def test_times_below_zero_are_below_zero(videos):
    with av.open(str(videos / "negative_times.wmv")) as container:
        assert [frame.pts for frame in container.decode(video=0)][:2] == [-500, -433]  # ms


def test_the_same_content_twice_has_the_same_hash(shard):
    """So copies across splits can be found."""
    assert shard[1].loc["plain.mp4", "sha256"] == shard[1].loc["again.mp4", "sha256"]


def test_no_name_runs_anything(videos, shard):
    assert shard[1].loc["$(touch pwned).mp4", "status"] == "ok"
    assert not (videos / "pwned").exists()
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("name", "frames"), [("bomb.mov", 0), ("late_bomb.ts", 10)], ids=["at_once", "later"]
)
def test_a_bomb_costs_no_memory(videos, name, frames):
    """A frame of over 80 million pixels is refused within 100 MB, PyAV and numpy included."""
    code = (
        "import sys, pathlib\n"
        "from autox3d.ingest import source\n"
        "with source.opened(pathlib.Path(sys.argv[1])) as opened:\n"
        "    print(len([*source.frames(*opened)]))\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    command = [sys.executable, "-c", code, str(videos / name)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(printed[0]) in (frames - 1, frames)
    assert int(printed[1]) < 100_000  # kB


def test_a_slow_video_is_refused_at_its_timeout(videos, tmp_path):
    with pytest.raises(source.BadVideo) as caught:
        encode.encode(videos / "plain.mp4", shards.encoding(timeout=0.001), tmp_path / "x.mp4")
    assert caught.value.reason == "timeout"
    assert list(tmp_path.iterdir()) == []


def test_a_failed_worker_costs_its_own_video_alone():
    """One may hang, crash or use too much memory; the other results keep their order."""
    jobs = ["a", "hang", "b", "crash", "c", "eat", "d"]
    results = run_isolated(corpus.misbehave, jobs, workers=2, timeout=1.0, memory_mb=2048)
    crashed = WorkerFailure("crashed")
    assert list(results) == ["a", WorkerFailure("timeout"), "b", crashed, "c", crashed, "d"]


ISOLATES = """
import sys
from pathlib import Path
from support import corpus
from autox3d.ingest.isolate import run_isolated
if __name__ == "__main__":
    list(run_isolated(corpus.hang, [Path(sys.argv[1])], workers=1, timeout=60, memory_mb=2048))
"""


def test_workers_that_hang_die_with_a_parent_that_is_killed(tmp_path):
    """The processes that they have started die, too."""
    (tmp_path / "program.py").write_text(ISOLATES)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    parent = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})
    while not (tmp_path / "pids").exists():
        assert parent.poll() is None
        time.sleep(0.01)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(map(runs, pids))
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(map(runs, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(runs, pids))


def runs(pid):
    """Whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_one_bad_video_shifts_no_other(videos, shard, tmp_path):
    """Without the bad videos, the clips of the good ones have the same bytes."""
    alone = shards.any_files(videos, GOOD[:6], tmp_path)
    together = shard[1].loc[GOOD[:6]]
    assert alone.loc[GOOD[:6], "sha256"].tolist() == together["sha256"].tolist()


def test_bad_videos_move_no_label(shard):
    """Each good video keeps the label that follows from its id, whichever others are refused."""
    out, _ = shard
    label = {name: f"class {int(shards.key(name), 16) % 5}" for name in corpus.KINDS}
    listed = pd.DataFrame({"video": [*label], "path": [*label], "label": [*label.values()]})
    listed = listed.assign(key=[shards.key(name) for name in label], split="train", shard="index")
    listed = listed.assign(status="listed", reason="", message="")
    classes = sorted(set(label.values()))
    clips = catalogue.clips(catalogue.join(listed, out), classes, Path("list"))
    labels = {k: classes[n] for k, n in zip(clips["key"], clips["label"], strict=True)}
    assert labels == {shards.key(name): label[name] for name in GOOD}


def test_a_partial_is_isolated_too():
    results = run_isolated(partial(max, 3), [1, 5], workers=1, timeout=30.0, memory_mb=2048)
    assert list(results) == [3, 5]
