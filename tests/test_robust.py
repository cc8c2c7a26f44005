"""Whatever a file does inside the decoder costs one line; every other file is answered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideDataType
from support import corpus, shards, whole
from support.trained import saved

from autox3d.core.errors import Refused
from autox3d.core.reasons import Unusable
from autox3d.datasets.reading import csv_rows
from autox3d.inference import files
from autox3d.inference.files import FileVideo
from autox3d.ingest import encode, source
from autox3d.ingest.source import BadVideo
from autox3d.vision.clips.format.decode import IndexedVideo

ENCRYPTED = "its pictures are encrypted"
FIX = "Give another file, or leave it out."


def half(path: Path, *arguments: str) -> Path:
    """The first half of a file of two seconds."""
    corpus.cut_to(0.5, *corpus.H264, *arguments, suffix=path.suffix)(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of weights."""
    return saved(tmp_path_factory)


@pytest.mark.parametrize("suffix", ["mov", "avi"])
def test_pictures_with_exif_are_read(tmp_path, suffix):
    """PyAV 18.1 has no name for the side data that libav makes of EXIF."""
    path = corpus.photographed(tmp_path / f"camera.{suffix}")

    clip = encode.encode(path, shards.encoding(short=96), tmp_path / "x.mp4")
    raw = FileVideo(path, 30).frames(range(12))

    assert (clip.frames, clip.height, clip.width) == (12, 96, 160)
    assert raw.shape == (12, 96, 160, 3)
    assert raw[:, 8:40, 8:72].min() > 240
    assert raw[:, 56:].max() < 15


@pytest.mark.parametrize(
    ("orientation", "white"),
    [(1, "upper left"), (3, "lower right"), (6, "upper right"), (8, "lower left")],
)
def test_pictures_are_turned_as_their_exif_asks(tmp_path, orientation, white):
    """The raw file and its clip have the white quarter in the same corner."""
    path = corpus.photographed(tmp_path / "camera.mov", orientation)
    clip = encode.encode(path, shards.encoding(short=96), tmp_path / "x.mp4")

    for video in (FileVideo(path, 30), IndexedVideo(clip.data)):
        frame = video.frames([5])[0]
        height, width = frame.shape[:2]
        assert (height > width) == (orientation in (6, 8))
        tops = frame[: height // 2].mean() > frame[height // 2 :].mean()
        lefts = frame[:, : width // 2].mean() > frame[:, width // 2 :].mean()
        assert f"{'upper' if tops else 'lower'} {'left' if lefts else 'right'}" == white


def test_the_turn_may_change_within_a_file(tmp_path):
    """All frames have the size of the first one; a found file of the fuzzer ended predict."""
    path = corpus.photographed(tmp_path / "camera.mov", 1, 6)
    frames = FileVideo(path, 30).frames(range(12))

    assert frames.shape == (12, 96, 160, 3)
    assert np.array_equal(frames[0], frames[2])
    assert frames[0, :40, :72].min() > 240  # the white quarter is upper left,
    assert frames[1, :40, 88:].min() > 240  # and upper right once it is turned


def test_every_kind_of_side_data_has_a_name():
    """Those that PyAV knows keep theirs; libav may add kinds, such as the views of MV-HEVC (29)."""
    assert SideDataType(6) is SideDataType.DISPLAYMATRIX
    assert [SideDataType(number).value for number in range(1000)] == [*range(1000)]


def test_colours_that_cannot_be_converted_are_named(tmp_path):
    """Both readers say so: YCgCo, which ffmpeg and libswscale do not convert."""
    path = corpus.miscoloured(tmp_path / "green.mp4", 8)

    with pytest.raises(BadVideo) as raw:
        FileVideo(path, 30).frames([0])
    with pytest.raises(BadVideo) as clip:
        encode.encode(path, shards.encoding(), tmp_path / "x.mp4")

    cannot = "its colours (matrix 8) cannot be converted (Operation not supported)"
    assert (raw.value.reason, str(raw.value)) == ("unsupported", cannot)
    assert clip.value.reason == "not_encoded"
    assert str(clip.value) == "its colours (ycgco) cannot be converted"


def test_encrypted_pictures_are_no_noise(tmp_path):
    """Both readers refuse them by name."""
    path = corpus.encrypted(tmp_path / "secret.mp4")

    for read in (lambda: FileVideo(path, 30), lambda: source.probe(path)):
        with pytest.raises(BadVideo) as caught:
            read()
        assert (caught.value.reason, str(caught.value)) == ("encrypted", ENCRYPTED)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("half.mp4", ("-movflags", "+faststart")),
        ("half.webm", ("-c:v", "libvpx", "-deadline", "realtime")),
        ("half.mkv", ()),
        ("half.flv", ("-c:v", "flv1")),
        ("half.avi", ("-c:v", "mpeg4")),
    ],
)
def test_a_missing_end_is_told(tmp_path, name, codec):
    """What is there is read; a whole file has nothing to tell."""
    video = FileVideo(half(tmp_path / name, *codec), 30)
    video.frames(range(video.count))

    told = video.lost().split(",")[0]
    seconds = video.count / 30
    assert 0.4 < seconds < 1.7
    assert told == f"the end is missing: {seconds:.2f} s of 2.00 s are there"
    corpus.ffmpeg(*corpus.SOURCE, *corpus.H264, *codec, to=tmp_path / f"whole_{name}")
    whole = FileVideo(tmp_path / f"whole_{name}", 30)
    whole.frames([3])
    assert whole.lost() == ""


CODECS = {
    "h264": ("-c:v", "libx264", "-bf", "2"),
    "hevc": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0"),
    "mpeg4": ("-c:v", "mpeg4", "-bf", "2"),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seed", range(3))
def test_damaged_frames_are_those_of_a_whole_decode_and_told(tmp_path, codec, seed):
    """Concealment depends on the frames before, so none may be skipped in a damaged file."""
    path = tmp_path / "damaged.mp4"
    corpus.ffmpeg(*corpus.pictures("128x96", 30), *CODECS[codec], "-g", "30", seconds=3, to=path)
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    media = data.index(b"mdat")
    last = media + int.from_bytes(data[media - 4 : media], "big") - 8
    for at in rng.integers(media + 200, last, 12):
        data[at] = rng.integers(256)
    path.write_bytes(data)
    frames = whole.frames(path)

    for _ in range(6):
        video = FileVideo(path, 30)
        chosen = np.sort(rng.choice(min(video.count, len(frames)), 3, replace=False))
        same = np.array_equal(video.frames(chosen), frames[chosen])
        assert same or "damaged" in video.lost()
    video = FileVideo(path, 30)
    assert np.array_equal(video.frames(range(len(frames))), frames)
    assert "decoded frames are damaged" in video.lost() or codec == "hevc"  # which seldom says so


@pytest.mark.parametrize("message", ["", " ", "\n"])
def test_no_refusal_is_without_a_reason(message):
    """Not even by mistake: the types refuse it."""
    for kind in (BadVideo, Unusable):
        with pytest.raises(AssertionError):
            kind("corrupt", message)
        assert kind("corrupt", "half of it").message == "half of it"


ERRORS = [
    ValueError("77 is not a valid Type"),
    OSError(95, "Operation not supported"),
    MemoryError(),
    ZeroDivisionError("division by zero"),
    UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"),
    NotImplementedError("no such format"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("call", ["decoded", "upright"])
def test_an_error_of_the_decoder_is_a_line(tmp_path, monkeypatch, error, call):
    """Whichever it is, wherever it comes from, the line repeats its words."""
    corpus.ffmpeg(*corpus.SOURCE, *corpus.H264, seconds=0.4, to=tmp_path / "a.mp4")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(source, call, fail)
    monkeypatch.setattr(files, "upright", fail if call == "upright" else files.upright)
    for read in (source.probe, lambda path: FileVideo(path, 30)):
        with pytest.raises(BadVideo) as caught:
            read(tmp_path / "a.mp4")
        wanted = getattr(error, "strerror", None) or str(error) or "more memory than it may have"
        assert wanted in str(caught.value)


def test_every_other_file_is_answered(folder, tmp_path):
    """The program is started with a strict stdout, on a folder with a name that is not UTF-8."""
    odd = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    for path in (tmp_path / "a.mp4", odd, tmp_path / "z.mp4"):
        corpus.ffmpeg(*corpus.SOURCE, *corpus.H264, seconds=0.4, to=tmp_path / "made.mp4")
        (tmp_path / "made.mp4").rename(path)
    corpus.photographed(tmp_path / "camera.mov")
    corpus.miscoloured(tmp_path / "green.mp4", 14)
    half(tmp_path / "half.mp4", "-movflags", "+faststart")
    corpus.encrypted(tmp_path / "secret.mp4")
    given = ("a.mp4", "camera.mov", "green.mp4", "half.mp4", "secret.mp4")
    names = [os.fsencode(tmp_path / name) for name in given]
    program = ("-c", "from autox3d.cli import main; main()", "predict")
    command = [sys.executable, *program, *names, odd, tmp_path / "z.mp4"]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}

    ended = subprocess.run(
        [*command, "--weights", folder, "--top", "1"],
        capture_output=True, text=True, env=strict, check=False,
    )  # fmt: skip

    shown = [line for line in ended.stdout.splitlines() if not line.startswith(" ")]
    wanted = ("a.mp4", "camera.mov", "half.mp4", "caf\\udce9.mp4", "z.mp4")
    assert shown == [f"{tmp_path}/{name}" for name in wanted]
    cannot = "its colours (matrix 14) cannot be converted (Operation not supported)"
    missing = "the end is missing: 0.93 s of 2.00 s are there, 1 of 15 decoded frames are damaged"
    assert ended.stderr.splitlines() == [
        f"{tmp_path}/green.mp4: {cannot}. {FIX}",
        f"{tmp_path}/half.mp4: warning: {missing}.",
        f"{tmp_path}/secret.mp4: its pictures are encrypted. {FIX}",
    ]
    assert ended.returncode == 1


def test_a_quote_that_is_not_closed_is_named_by_its_line(tmp_path):
    """It would swallow the rest of the file; Python's reader stops after 128 KB of it."""
    path = tmp_path / "list.csv"
    rest = "".join(f"d{number}.mp4,walk,train\n" for number in range(9000))
    path.write_text(f'path,label,split\na.mp4,walk,train\nc.mp4,walk,"train\n{rest}')

    with pytest.raises(Refused) as caught:
        list(csv_rows(path, ("path", "label", "split")))

    limit = "field larger than field limit (131072)"
    assert str(caught.value) == f"{path} line 3: not CSV ({limit}). Close its quotes."


PEAK = """
import sys
from pathlib import Path
from autox3d.inference.stream import windows

def kilobytes(name):
    return int(Path("/proc/self/status").read_text().split(name)[1].split()[0])

small, large = map(Path, sys.argv[1:])
clips = 10, 4, 2, 40, "linspace"
list(windows(small, *clips))
Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS:")
frames = sum(len(window.frames) for window in windows(large, *clips))
print(frames, kilobytes("VmHWM:") - before)
"""
LARGE = [("3840x2160", 1.0), pytest.param("7680x4320", 2.0, marks=pytest.mark.long)]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux measures it")
@pytest.mark.parametrize(("size", "seconds"), LARGE, ids=["4K", "8K"])
def test_memory_is_so_many_bytes_a_pixel(tmp_path, size, seconds):
    """They are 20 where the codec keeps two frames, as `windows` states: 1.5 bytes a pixel each.

    All frames of the video would need more than twice that.
    """
    small, large = tmp_path / "small.mp4", tmp_path / "large.mp4"
    corpus.ffmpeg(*corpus.pictures(), *corpus.H264, seconds=1, to=small)
    corpus.ffmpeg(*corpus.pictures(size, 30), *corpus.H264, seconds=seconds, to=large)
    command = [sys.executable, "-c", PEAK, small, large]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    frames, kilobytes = map(int, ended.stdout.split())
    width, height = map(int, size.split("x"))

    assert frames == 40
    assert 1024 * kilobytes < 20 * width * height
