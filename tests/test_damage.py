"""A file with a lost part is detected in every container; one that only looks odd is accepted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support import corpus, shards

from autox3d.inference.files import FileVideo
from autox3d.ingest import encode, source
from autox3d.ingest.source import BadVideo
from autox3d.vision.clips.format.decode import IndexedVideo
from autox3d.vision.clips.transform import resized

SECONDS = 4
PICTURE = corpus.pictures("128x96", 30)
CONTAINERS = {
    "mkv": ("-c:v", "libx264"),
    "webm": ("-c:v", "libvpx"),
    "ts": ("-c:v", "libx264"),
    "flv": ("-c:v", "flv1"),
    "avi": ("-c:v", "mpeg4"),
    "wmv": ("-c:v", "wmv2"),
    "mpg": ("-c:v", "mpeg2video"),
    "ogv": ("-c:v", "libtheora"),
}
UNBOUND = {"ts", "mpg", "ogv"}  # these declare no duration: half of one is a shorter video


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder with a good file in each container."""
    folder = tmp_path_factory.mktemp("whole")
    for kind, codec in CONTAINERS.items():
        corpus.ffmpeg(*PICTURE, *codec, seconds=SECONDS, to=folder / f"film.{kind}")
    return folder


def encoded(path: Path) -> encode.Encoded:
    return encode.encode(path, shards.encoding(), path.with_suffix(".scratch.mp4"))


def refusal(path: Path) -> BadVideo:
    with pytest.raises(BadVideo) as caught:
        encoded(path)
    return caught.value


def harmed(source: Path, target: Path, harm: Callable[[bytes], bytes]) -> Path:
    target.write_bytes(harm(source.read_bytes()))
    return target


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def hole(data: bytes) -> bytes:
    """Zeros from 30 to 80 %, as in a download whose parts have not all arrived."""
    begin, end = int(0.3 * len(data)), int(0.8 * len(data))
    return data[:begin] + bytes(end - begin) + data[end:]


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_good_file_has_all_its_frames(whole, kind):
    """It is four seconds long, without a gap between frames."""
    probe = source.probe(whole / f"film.{kind}")

    assert probe.seconds == pytest.approx(SECONDS, abs=0.05)
    assert probe.gaps == 0
    assert encoded(whole / f"film.{kind}").frames == pytest.approx(30 * SECONDS, abs=2)


@pytest.mark.parametrize("kind", sorted(set(CONTAINERS) - UNBOUND))
def test_half_a_file_is_truncated(whole, tmp_path, kind):
    """Also where libav reports the length of the rest (AVI), or none (Windows Media)."""
    error = refusal(harmed(whole / f"film.{kind}", tmp_path / f"half.{kind}", half))

    assert error.reason == "truncated"
    assert str(error).endswith(f"s of {SECONDS}.00 s that it declares")


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_hole_is_not_filled_with_a_still_picture(whole, tmp_path, kind):
    """ffmpeg repeats the last frame before the hole and exits with status 0."""
    error = refusal(harmed(whole / f"film.{kind}", tmp_path / f"hole.{kind}", hole))

    assert error.reason in ("corrupt", "truncated")


def test_the_refusal_of_a_hole_quotes_ffmpeg(whole, tmp_path):
    """It has the seconds without frames, and ffmpeg's first error."""
    error = refusal(harmed(whole / "film.ogv", tmp_path / "hole.ogv", hole))

    assert (error.reason, str(error).split(" for ")[0]) == ("corrupt", "no frames")
    assert str(error).endswith("s of 4.00 s, and: CRC mismatch!")


def test_gaps_in_a_file_without_errors_are_accepted(tmp_path):
    """As in a recorded screen that rarely changes: two of four seconds have no new frame."""
    path = tmp_path / "screen.mkv"
    still = "select='lt(t,1)+gt(t,3)'"
    corpus.ffmpeg(*PICTURE, "-vf", still, "-fps_mode", "vfr", seconds=SECONDS, to=path)

    assert source.probe(path).gaps == pytest.approx(2, abs=0.1)
    assert encoded(path).frames == pytest.approx(30 * SECONDS, abs=2)


@pytest.mark.parametrize("name", ["film.mkv", "film.webm", "film.flv", "film.mp4"])
def test_sound_may_last_longer_than_the_picture(tmp_path, name):
    """The declared length is then that of the sound; no frame is missing."""
    sound = ("-f", "lavfi", "-i", f"sine=d={SECONDS + 2}")
    codec = {"film.webm": ("-c:v", "libvpx", "-c:a", "libopus")}.get(name, ("-ar", "44100"))
    picture = ("-f", "lavfi", "-i", f"testsrc2=s=128x96:r=30:d={SECONDS}")
    corpus.ffmpeg(*picture, *sound, *codec, seconds=SECONDS + 2, to=tmp_path / name)

    assert source.probe(tmp_path / name).seconds == pytest.approx(SECONDS, abs=0.1)
    assert encoded(tmp_path / name).frames == pytest.approx(30 * SECONDS, abs=2)


def test_a_video_may_last_just_as_long_as_the_longest(whole):
    """A video of exactly `max_seconds` is accepted."""
    settings = shards.encoding(max_seconds=float(SECONDS))
    path = whole / "film.mkv"

    assert encode.encode(path, settings, whole / "x.mp4").frames == 30 * SECONDS
    settings = shards.encoding(max_seconds=SECONDS - 0.5)
    with pytest.raises(BadVideo, match="4 s are over 4"):
        encode.encode(path, settings, whole / "x.mp4")


@pytest.mark.parametrize(
    ("kind", "codec", "no_cuts"), [("ts", "libx264", "0"), ("mpg", "mpeg2video", "1000000000")]
)
def test_a_stream_may_begin_within_a_group_of_pictures(tmp_path, kind, codec, no_cuts):
    """A recording that is cut there is used from its first key frame on: here, its second half."""
    path = tmp_path / f"film.{kind}"
    group = ("-c:v", codec, "-g", "60", "-bf", "0", "-sc_threshold", no_cuts)
    corpus.ffmpeg(*PICTURE, *group, seconds=SECONDS, to=path)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 // 2048 * 2048 :])

    assert source.probe(path).seconds == pytest.approx(SECONDS / 2, abs=0.1)
    assert encoded(path).frames == pytest.approx(15 * SECONDS, abs=2)
    assert FileVideo(path, 30).count == pytest.approx(15 * SECONDS, abs=2)


TURNS = {
    "left": ("-display_rotation", "90"),
    "right": ("-display_rotation", "270"),
    "over": ("-display_rotation", "180"),
    "mirrored": ("-display_hflip",),
    "upside_down": ("-display_vflip",),
    "mirrored_left": ("-display_rotation", "90", "-display_hflip"),
}


@pytest.mark.parametrize("name", TURNS)
def test_raw_and_encoded_frames_have_the_same_orientation(tmp_path, name):
    """FileVideo turns and mirrors frames as ffmpeg does, whatever the file asks for."""
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    corpus.ffmpeg(*PICTURE, "-c:v", "libx264", "-crf", "10", seconds=1, to=plain)
    corpus.ffmpeg(*TURNS[name], "-i", plain, "-c", "copy", to=turned)

    clip = encode.encode(turned, shards.encoding(short=96), tmp_path / "x.mp4")
    ours, raw = IndexedVideo(clip.data).frames([7]), FileVideo(turned, 30).frames([7])

    assert ours.shape == raw.shape
    assert np.abs(ours.astype(int) - raw).mean() < 4
    other = FileVideo(plain, 30).frames([7])
    if other.shape == raw.shape:
        assert np.abs(other.astype(int) - raw).mean() > 20


def test_the_shorter_side_of_a_turned_video_is_scaled(tmp_path):
    """Sizes refer to the upright picture."""
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    corpus.ffmpeg(*PICTURE, "-c:v", "libx264", seconds=1, to=plain)
    corpus.ffmpeg(*TURNS["mirrored_left"], "-i", plain, "-c", "copy", to=turned)

    clip = encoded(turned)

    assert (clip.height, clip.width) == (86, 64)
    frames = torch.from_numpy(FileVideo(turned, 30).frames([0]))
    assert resized(frames, clip.height, clip.width).shape == (1, 86, 64, 3)
