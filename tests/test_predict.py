"""Prediction uses the views of a test, prints one line for a bad file, and bounds its memory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from support.corpus import KINDS
from support.trained import CLASSES, ready, saved, trained

import autox3d
from autox3d import cli
from autox3d.core.values import ClipSpec
from autox3d.inference import stream
from autox3d.inference.ahead import ahead
from autox3d.inference.files import FileVideo
from autox3d.inference.network import Network, Prediction, cropped
from autox3d.inference.render import plain, stamp, subtitles
from autox3d.inference.stream import windows
from autox3d.ingest.encode import program
from autox3d.ingest.source import BadVideo
from autox3d.vision.clips import views
from autox3d.vision.clips.videos import frames_at
from autox3d.vision.models import weights

SHORT, FRAMES, STRIDE = 40, 4, 2
SPEC = ClipSpec(frames=FRAMES, stride=STRIDE, crop=32, short=SHORT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of weights."""
    return saved(tmp_path_factory)


@pytest.fixture(scope="module")
def network(folder) -> Network:
    return autox3d.load(folder, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A folder with three good videos of several kinds, and a bad one."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("plain.mp4", "vp9.webm", "with_sound.mp4"):
        KINDS[name][1](folder / name)
    (folder / "words.mp4").write_text("no video")
    return folder


def film(path: Path, seconds: float, size: str = "64x48") -> Path:
    """Makes a video of moving pictures quickly."""
    picture = ("-f", "lavfi", "-i", f"testsrc=s={size}:r=30:d={seconds}")
    settings = ("-c:v", "mpeg4", "-q:v", "5", "-y", str(path))
    subprocess.run([program(), "-v", "error", *picture, *settings], check=True)
    return path


def run(*words: object, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs the program and returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["autox3d", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_package_imports_without_torch():
    """Torch is imported when `autox3d.load` is first used, and not before."""
    look = "print('torch' in sys.modules)"
    code = f"import sys, autox3d; {look}; autox3d.load; {look}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["False", "True"]


ODD = ("variable_rate.mp4", "late_start.mkv", "duplicate_times.mkv", "rotated_90.mp4", "1_fps.mp4")
ODD += ("size_changes.ts", "240_fps.mp4", "trimmed.mp4", "slightly_damaged.ts", "one_frame.mp4")


@pytest.mark.parametrize("name", ODD)
def test_a_video_plays_as_it_reads(name, tmp_path):
    """Frames read in sequence equal those of random access: rotated, variable rate, cut."""
    KINDS[name][1](tmp_path / name)
    video = FileVideo(tmp_path / name, rate=30)
    wanted = np.arange(0, video.count, 3)

    played = list(video.play(wanted))

    assert [rank for rank, _ in played] == wanted.tolist()
    for rank, frame in played[::4]:
        assert frame.shape == (video.height, video.width, 3)
        assert np.array_equal(frame, FileVideo(tmp_path / name, rate=30).frames([rank])[0])


def test_only_frames_that_a_clip_shows_are_converted(tmp_path, monkeypatch):
    """Each is converted once, however many clips it is in."""
    path, converted = film(tmp_path / "film.avi", 4), []
    plain = stream.resized
    monkeypatch.setattr(stream, "resized", lambda *a: converted.append(1) or plain(*a))

    found = list(stream.windows(path, 5, FRAMES, 12, SHORT, "stride"))

    assert len(found) == 5
    assert len(converted) == len(
        {t for start in (0, 18, 36, 54, 72) for t in range(start, start + 48, 12)}
    )


def test_clips_of_a_short_video_are_where_the_test_has_them(tmp_path):
    """There are ten, from the beginning to the end, with exactly the frames of the test."""
    path = film(tmp_path / "film.avi", 2)
    video = FileVideo(path, rate=30)
    places = views.test_places(10, "ends")
    times, read = frames_at(video, places, SPEC, "linspace")

    found = list(windows(path, 10, FRAMES, STRIDE, SHORT, "linspace"))

    assert len(found) == 10
    assert (found[0].begin, found[-1].end) == (0.0, 2.0)
    for window, row in zip(found, times, strict=True):
        assert torch.equal(window.frames, read[row])


@pytest.mark.parametrize("seconds", [3.0, 3.1, 10.0])
def test_clips_of_a_long_video_leave_no_gap(seconds, tmp_path):
    """There are as many as needed, and the last one ends with the video."""
    path = film(tmp_path / "film.avi", seconds)

    found = list(windows(path, 3, FRAMES, STRIDE, SHORT, "linspace"))

    assert len(found) >= seconds * 30 / (FRAMES * STRIDE)
    assert found[-1].end == pytest.approx(seconds)
    assert all(b.begin <= a.end for a, b in pairwise(found))


def test_a_video_shorter_than_a_clip_is_one_clip(tmp_path):
    """Its last frame is repeated."""
    (window,) = windows(film(tmp_path / "film.avi", 0.1), 10, FRAMES, STRIDE, SHORT, "linspace")

    assert window.end == pytest.approx(0.1)
    assert torch.equal(window.frames[-1], window.frames[-2])


def test_prediction_is_the_mean_over_the_network_s_views(network, folder, tmp_path):
    """It equals what `evaluate` computes: three crops of ten clips with the saved network."""
    path = film(tmp_path / "film.avi", 2)
    net = weights.load(folder).net
    every = []
    for window in windows(path, 10, FRAMES, STRIDE, SHORT, "linspace"):
        clips = cropped(window.frames, "lcr", network.input)
        with torch.inference_mode():
            logits = net(((clips / 255 - 0.45) / 0.225).permute(0, 4, 1, 2, 3))
            every.append(logits.softmax(2).mean(1))

    found = network.predict(path)

    assert len(found.moments) == 10
    torch.testing.assert_close(found.scores, torch.cat(every).mean(0), rtol=0, atol=1e-5)
    assert found.scores.std() > 0.01
    names, scores = zip(*found.top(5), strict=True)
    assert len(set(names)) == 5
    assert list(scores) == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(float(found.scores.max()))


def test_bfloat16_gives_nearly_the_same_scores(folder, network, tmp_path):
    """Scores differ by a few hundredths at most, and the class is the same."""
    path = film(tmp_path / "film.avi", 1)
    half = autox3d.load(folder, device="cpu", dtype=torch.bfloat16).predict(path)
    full = network.predict(path)

    assert half.top(1)[0][0] == full.top(1)[0][0]
    torch.testing.assert_close(half.scores, full.scores, rtol=0, atol=0.05)


def test_what_is_wrong_with_a_video_is_raised(network, videos):
    """The error is that of the loader."""
    with pytest.raises(BadVideo, match="no video container"):
        network.predict(videos / "words.mp4")


def test_the_others_are_predicted_past_a_bad_file(folder, videos, monkeypatch, capsys):
    """With a folder, a pattern and a missing file, each bad one has a line; the status is 1."""
    words = (videos, f"{videos}/pl*.mp4", videos / "gone.mp4", "--weights", folder)
    status = run("predict", *words, monkeypatch=monkeypatch)

    ended = capsys.readouterr()
    fix = "Give another file, or leave it out."
    reason = "no video container (Invalid data found when processing input)"
    assert status == 1
    assert ended.err.splitlines() == [
        f"{videos}/words.mp4: {reason}. {fix}",
        f"{videos}/gone.mp4: there is no such file. {fix}",
    ]
    names = [line for line in ended.out.splitlines() if not line.startswith(" ")]
    assert names == [f"{videos}/{name}" for name in ("plain.mp4", "vp9.webm", "with_sound.mp4")]
    assert sum(line.endswith(tuple(CLASSES)) for line in ended.out.splitlines()) == 3 * 5


def test_programs_read_a_line_of_json_a_video(folder, videos, monkeypatch, capsys):
    """With `--over-time` it has the clips in order."""
    words = (videos / "plain.mp4", videos / "vp9.webm", "--weights", folder)
    flags = ("--json", "--over-time", "--top", 2, "--clips", 4)
    assert run("predict", *words, *flags, monkeypatch=monkeypatch) == 0

    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["video"] for record in records] == [str(word) for word in words[:2]]
    for record in records:
        assert [len(moment["top"]) for moment in record["over_time"]] == [2] * record["clips"]
        assert {row["class"] for row in record["top"]} <= set(CLASSES)
        begins = [moment["begin"] for moment in record["over_time"]]
        assert begins[0] == 0
        assert begins == sorted(begins)


def test_nothing_to_predict_is_named(folder, tmp_path, monkeypatch, capsys):
    """This holds for an empty folder and for a pattern that matches nothing."""
    assert run("predict", tmp_path, "--weights", folder, monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().err == f"{tmp_path}: no video found. Check the path.\n"


def test_an_address_is_told_from_a_path(folder, monkeypatch, capsys):
    """Nothing is downloaded, and the message does not shorten the address to a path."""
    place = "https://example.org/video.mp4"
    assert run("predict", place, "--weights", folder, monkeypatch=monkeypatch) == 1
    line = f"{place}: an address. Download the video, and give the file.\n"
    assert capsys.readouterr().err == line


def test_an_annotated_video_shows_the_prediction(folder, videos, tmp_path, monkeypatch, capsys):
    """It has the same frames and sound, and white letters in a corner that was not white."""
    out = tmp_path / "out.mp4"
    words = (videos / "with_sound.mp4", "--weights", folder, "--render", out)
    assert run("predict", *words, monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().err == f"{out}: drawn\n"

    source, made = (FileVideo(path, rate=30) for path in (words[0], out))
    assert (made.count, made.height, made.width) == (source.count, source.height, source.width)
    before, after = (video.frames([10])[0].astype(int) for video in (source, made))
    corner = np.s_[: source.height // 6, : source.width // 2]
    changed = np.abs(after - before).max(-1) > 100
    assert changed[corner].sum() > 20
    assert changed[source.height // 3 :].sum() == 0
    ended = subprocess.run([program(), "-i", out], capture_output=True, text=True, check=False)
    assert "Audio: aac" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_annotated_videos_never_overwrite_each_other(folder, videos, tmp_path, monkeypatch, capsys):
    """Two files of one name, the video itself and other formats are refused before any work."""
    film(tmp_path / "plain.mkv", 0.2)
    pair = (videos / "plain.mp4", tmp_path / "plain.mkv")
    common = ("--weights", folder, "--render")
    for words in ((*pair, *common, tmp_path), (pair[0], *common, pair[0])):
        assert run("predict", *words, monkeypatch=monkeypatch) == 1
    assert run("predict", pair[0], *common, tmp_path / "a.avi", monkeypatch=monkeypatch) == 1

    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/plain.mp4: of {pair[0]} and of {pair[1]}. Render one at a time.",
        f"{pair[0]}: is the video itself. Give another name.",
        f"{tmp_path}/a.avi: only MP4 is written. Give a name that ends in .mp4.",
    ]


def test_words_are_shown_around_the_middle_of_their_clip(network, tmp_path):
    """The name of a class cannot be read as a command of the renderer."""
    found = network.predict(film(tmp_path / "film.avi", 1), clips=2)
    lines = subtitles(found._replace(classes=["{\\b1}\nrun"] * 6)).splitlines()

    begins = [line.split(",")[0].split()[1] for line in lines if line.startswith("Dialogue")]
    assert len(begins) == len(found.moments)
    assert begins[0] == "0:00:00.00"
    assert plain("{\\b1}\nrun") == "\\{\\\u2060b1} run"
    assert (stamp(65.129), stamp(3601.0)) == ("0:01:05.13", "1:00:01.00")
    assert isinstance(found, Prediction)


LONG = """
import sys, autox3d
from pathlib import Path
network = autox3d.load(sys.argv[1], device="cpu")
for path in sys.argv[2:]:
    Path("/proc/self/clear_refs").write_text("5")
    moments = network.predict(path, crops="center").moments
    peak = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
    print(len(moments), peak.split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux measures it")
def test_memory_does_not_grow_with_a_video(tmp_path):
    """Two minutes need what twenty seconds need; their frames alone would be 133 MB."""
    _, genotype, classes = trained()
    slow = replace(genotype, input=replace(genotype.input, stride=30, short=96))
    weights.save(tmp_path / "net", ready(slow), slow, classes, {})
    videos = [film(tmp_path / f"{number}.avi", s, "128x96") for number, s in enumerate((20, 120))]
    command = [sys.executable, "-c", LONG, tmp_path / "net", videos[0], *videos]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    _, (few, small), (many, large) = (map(int, row.split()) for row in ended.stdout.splitlines())

    assert (few, many) == (10, 30)
    assert large - small < 20_000  # kB


def test_prefetching_keeps_the_order_and_the_errors():
    """An error comes after the items before it; the thread ends with its reader."""

    def items():
        yield from range(3)
        raise RuntimeError("broken")

    made = ahead(items(), 2)
    assert [next(made), next(made), next(made)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="broken"):
        next(made)

    before = threading.active_count()
    endless = ahead(iter(int, 1), 2)
    assert next(endless) == 0
    endless.close()
    assert threading.active_count() == before
