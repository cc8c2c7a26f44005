"""`predict` of a stream while it runs: same frames as of a file, constant memory, a clean end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.corpus import KINDS
from support.trained import CLASSES, ready, saved, trained

import autox3d
from autox3d import cli
from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec
from autox3d.inference import live
from autox3d.inference.files import FileVideo
from autox3d.inference.stream import small, windows
from autox3d.ingest.encode import program
from autox3d.vision.clips import views
from autox3d.vision.models import weights

SPEC = ClipSpec(frames=4, stride=2, crop=32, short=40)
SPAN = 8  # ticks of a clip
PREDICT = (sys.executable, "-c", "from autox3d import cli; cli.main()", "predict")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return saved(tmp_path_factory)


def film(path: Path, seconds: float, *before: str) -> Path:
    """Makes moving pictures at 30 frames a second."""
    picture = ("-f", "lavfi", "-i", f"testsrc=s=64x48:r=30:d={seconds}")
    settings = ("-c:v", "mpeg4", "-q:v", "5", "-y", str(path))
    subprocess.run([program(), "-v", "error", *before, *picture, *settings], check=True)
    return path


@contextmanager
def piped(path: Path) -> Iterator[None]:
    """Makes standard input a pipe with the content of a file, which cannot be sought in."""
    before = os.dup(0)
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        assert cat.stdout
        os.dup2(cat.stdout.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(before, 0)
            os.close(before)
            cat.stdout.close()


STREAMED = ("vp9.webm", "late_start.mkv", "duplicate_times.mkv", "size_changes.ts")
STREAMED += ("slightly_damaged.ts", "hevc.mkv", "flash.flv", "stream.ts", "ten_bits.mkv")


@pytest.mark.parametrize("rule", ["linspace", "stride"])
@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_shows_the_frames_of_the_file(name, rule, tmp_path):
    """Clip k has the frames at its ticks of the whole file, whatever its times, to the pixel."""
    KINDS[name][1](tmp_path / name)
    video = FileVideo(tmp_path / name, rate=30)
    with piped(tmp_path / name), live.opened("-") as stream:
        found = list(stream.windows(SPEC, rule))

    assert len(found) == max(video.count // SPAN, 1)
    for number, window in enumerate(found):
        start = number * SPAN
        times = views.clip_frames(Fraction(start), SPEC.frames, SPEC.stride, 30, rule)
        frames = video.frames(views.clamp(times, video.count))
        expected = torch.stack([small(frame, SPEC.short) for frame in frames])
        assert torch.equal(window.frames, expected)
        end = min(start + SPAN, video.count)
        assert (window.begin, window.end) == pytest.approx((start / 30, end / 30))


def test_a_clip_that_a_file_has_too_is_answered_alike(folder, tmp_path):
    """Where clips of 64 frames touch without overlap, `predict` of the file has the same ones."""
    path = film(tmp_path / "film.ts", 64 / 30)
    of_file = autox3d.load(folder).predict(path, clips=1).moments
    command = [*PREDICT, "-", "--weights", folder, "--json", "--scores", "all"]
    with path.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=-1) as cat:
        done = subprocess.run(command, stdin=cat.stdout, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert (done.returncode, done.stderr) == (0, "-: ended after 2.13 s, 8 clips.\n")
    assert len(lines) == len(of_file) == 8
    for number, (line, moment) in enumerate(zip(lines, of_file, strict=True)):
        assert (line["begin"], line["end"]) == (round(moment.begin, 3), round(moment.end, 3))
        assert scores(line["top"]) == pytest.approx(moment.scores.tolist(), abs=1e-6)
        mean = torch.stack([one.scores for one in of_file[: number + 1]]).mean(0)
        assert scores(line["so_far"]) == pytest.approx(mean.tolist(), abs=1e-5)


def scores(top: list[dict[str, Any]]) -> list[float]:
    found = {one["class"]: one["score"] for one in top}
    return [found[name] for name in CLASSES]


def test_a_shorter_stream_is_one_clip(tmp_path):
    """As a file is: its last frame is repeated."""
    path = film(tmp_path / "film.ts", 0.2)
    (of_file,) = windows(path, 1, SPEC.frames, SPEC.stride, SPEC.short, "linspace")
    with piped(path), live.opened("-") as stream:
        (found,) = stream.windows(SPEC, "linspace")
    assert torch.equal(found.frames, of_file.frames)
    assert (found.begin, found.end) == (of_file.begin, of_file.end)


def test_a_still_picture_of_an_hour_is_not_a_thousand_clips(tmp_path):
    """The clips begin anew with the frame after it, and keep the time of the stream."""
    path, before = tmp_path / "still.mkv", film(tmp_path / "before.mkv", 2)
    shift = "setpts=PTS+gte(N\\,20)*3600/TB"
    words = ["-i", before, "-vf", shift, "-fps_mode", "vfr", "-c:v", "mpeg4", "-y", path]
    subprocess.run([program(), "-v", "error", *map(str, words)], check=True)
    with piped(path), live.opened("-") as stream:
        begins = [round(one.begin * 30) for one in stream.windows(SPEC, "linspace")]

    after = 3600 * 30 + 20
    assert begins == [0, 8, 16, after, after + 8, after + 16, after + 24, after + 32]


PEAK = """
import sys
from pathlib import Path
from typing import Any
from autox3d import cli
sys.argv = ["autox3d", *sys.argv[1:]]
try:
    cli.main()
finally:
    peak = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
    print(peak.split()[1], file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux measures it")
def test_memory_does_not_grow_with_a_stream(tmp_path):
    """Two minutes need what twelve seconds need; their frames alone would be 133 MB."""
    _, genotype, classes = trained()
    slow = replace(genotype, input=replace(genotype.input, stride=30, short=96))
    weights.save(tmp_path / "net", ready(slow), slow, classes, {})
    peaks = {}
    for seconds in (12, 120):
        source = [
            program(),
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            f"testsrc=s=128x96:r=30:d={seconds}",
        ]
        source += ["-c:v", "mpeg4", "-q:v", "5", "-f", "mpegts", "-"]
        words = ["predict", "-", "--weights", tmp_path / "net", "--crops", "center", "--json"]
        with subprocess.Popen(source, stdout=subprocess.PIPE) as sender:
            done = subprocess.run(
                [sys.executable, "-c", PEAK, *words],
                stdin=sender.stdout, capture_output=True, text=True,
            )  # fmt: skip
        line, peak = done.stderr.splitlines()
        assert (done.returncode, line) == (
            0,
            f"-: ended after {seconds}.00 s, {seconds // 4} clips.",
        )
        peaks[seconds] = int(peak)
    assert peaks[120] - peaks[12] < 20_000  # kB


def test_ctrl_c_ends_it_with_a_line(folder, tmp_path):
    """While it waits for more: the answers so far are there, and the status says interrupted."""
    path = film(tmp_path / "film.ts", 3)
    command = [*PREDICT, "-", "--weights", folder, "--json"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background is deaf
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, preexec_fn=heard) as running:
        assert running.stdin
        assert running.stdout
        running.stdin.write(path.read_bytes())
        running.stdin.flush()
        assert json.loads(running.stdout.readline())["begin"] == 0.0
        for _ in range(6):  # of 90 frames the decoder holds some back, waiting for more
            running.stdout.readline()
        running.send_signal(signal.SIGINT)
        running.wait(60)
        assert running.stderr
        last = running.stderr.read().decode()
    assert running.returncode == 130
    assert re.fullmatch(r"-: stopped after \d+\.\d\d s, \d+ clips\.\n", last)


def served(path: Path, rate: str = "1") -> tuple[subprocess.Popen[bytes], str]:
    """A real server on this machine that sends a file, paced as a camera would, to one reader."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/live.ts"
    words = ["-readrate", rate, "-i", str(path), "-c", "copy", "-f", "mpegts", "-listen", "1"]
    return subprocess.Popen([program(), "-v", "error", *words, address]), address


def test_an_address_is_watched(folder, tmp_path):
    """Over HTTP, until the sender ends."""
    sender, address = served(film(tmp_path / "film.ts", 2), "8")
    try:
        time.sleep(1)
        command = [*PREDICT, "--live", address, "--weights", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    finally:
        sender.kill()
        sender.wait()
    assert done.returncode == 0
    assert done.stderr == f"{address}: ended after 1.87 s, 7 clips.\n"
    assert len(done.stdout.splitlines()) == 7
    assert "(so far" in done.stdout


def test_a_lost_connection_is_told_from_an_end(folder, tmp_path, monkeypatch, capsys):
    """The sender falls silent: what was answered before stays, and the status is 1."""
    monkeypatch.setattr(live, "SILENCE", 2.0)
    sender, address = served(film(tmp_path / "film.ts", 60))
    threading.Timer(4, sender.send_signal, [signal.SIGSTOP]).start()
    words = ["autox3d", "predict", "--live", address, "--weights", str(folder)]
    monkeypatch.setattr(sys, "argv", words)
    try:
        time.sleep(1)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sender.kill()
        sender.wait()
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "(so far" in said.out
    line = rf"{address}: lost \(no data for 2 s\) after \d+\.\d\d s, \d+ clips?\.\n"
    assert re.fullmatch(line, said.err)


@pytest.mark.parametrize(
    ("address", "line"),
    [
        (
            "file:///etc/passwd",
            "cannot be watched. Give /dev/video0, or what begins rtsp://, rtsps://, http://, https://.",
        ),
        ("/dev/video99", "cannot be read (No such file or directory). Check that it sends video."),
        ("http://127.0.0.1:9/", "cannot be read (Connection refused). Check that it sends video."),
        ("rtsp://127.0.0.1:9/", "cannot be read (Connection refused). Check that it sends video."),
    ],
)
def test_what_cannot_be_watched_is_a_line(address, line):
    """A file is no stream: it is opened as all files are."""
    with pytest.raises(Refused) as refused, live.opened(address):
        pass
    assert str(refused.value) == f"{address}: {line}"


def test_a_pipe_without_video_is_a_line(tmp_path):
    (tmp_path / "words.txt").write_text("no video\n" * 1000)
    with piped(tmp_path / "words.txt"), pytest.raises(Refused) as refused, live.opened("-"):
        pass
    why = "Invalid data found when processing input"
    assert str(refused.value) == f"-: cannot be read ({why}). Check that it sends video."
