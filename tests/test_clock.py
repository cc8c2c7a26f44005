"""Both readers show the same frames of every file, by one rule of time: `autox3d.ingest.clock`.

Every picture carries its number (`support.numbered`), so the order and the count are exact. What
`predict` reads, what is in the clip that training reads, and what ffmpeg itself shows must be the
same numbers; and they must be those that were put in, at the rate at which they were put in.
"""

from __future__ import annotations

import hashlib
import struct
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support import corpus, shards
from support.numbered import FPS, HEIGHT, by_ffmpeg, by_predict, by_training, make

from autox3d.inference.files import FileVideo
from autox3d.ingest import encode, source
from autox3d.ingest.clock import Frames, at_rate
from autox3d.vision.clips.format.decode import IndexedVideo

COUNT = 60
STAMP = Fraction(1, 1000)  # s, to which some containers round both ends of a film
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "15")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
X265 = "log-level=0:pools=none:frame-threads=1:keyint=15:bframes="
VPX = ("-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M")
GOOD = ("-q:v", "3")
CODECS = {
    "h264": (*H264, "-bf", "0"),
    "h264_b": (*H264, "-bf", "2"),
    "hevc": (*HEVC, "-x265-params", f"{X265}0"),
    "hevc_b": (*HEVC, "-x265-params", f"{X265}2"),
    "mpeg4": ("-c:v", "mpeg4", *GOOD, "-bf", "0"),
    "mpeg4_b": ("-c:v", "mpeg4", *GOOD, "-bf", "2"),
    "xvid": ("-c:v", "libxvid", *GOOD, "-bf", "0"),
    "xvid_b": ("-c:v", "libxvid", *GOOD, "-bf", "2"),
    "mpeg2": ("-c:v", "mpeg2video", *GOOD, "-bf", "0"),
    "mpeg2_b": ("-c:v", "mpeg2video", *GOOD, "-bf", "2"),
    "mpeg1_b": ("-c:v", "mpeg1video", *GOOD, "-bf", "2"),
    "mjpeg": ("-c:v", "mjpeg", *GOOD, "-pix_fmt", "yuvj420p"),
    "vp8": ("-c:v", "libvpx", *VPX),
    "vp9": ("-c:v", "libvpx-vp9", *VPX),
    "av1": ("-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-crf", "20"),
    "theora": ("-c:v", "libtheora", "-q:v", "8"),
    "wmv2": ("-c:v", "wmv2", *GOOD),
    "flv1": ("-c:v", "flv1", *GOOD),
    "h263": ("-c:v", "h263", *GOOD),
    "prores": ("-c:v", "prores_ks"),
    "ffv1": ("-c:v", "ffv1"),
}
CONTAINERS = {
    "mp4": "h264 h264_b hevc hevc_b mpeg4 mpeg4_b mpeg2 mpeg2_b mjpeg vp9 av1",
    "mov": "h264 h264_b mpeg4_b mjpeg prores",
    "fragmented.mp4": "h264 h264_b hevc_b",
    "mkv": "h264 h264_b hevc hevc_b mpeg4_b xvid xvid_b mpeg2_b vp8 vp9 av1 theora ffv1 mjpeg wmv2",
    "webm": "vp8 vp9 av1",
    "avi": "h264 h264_b mpeg4 mpeg4_b xvid xvid_b mpeg2 mpeg2_b mjpeg ffv1 vp8 wmv2",
    "flv": "h264 h264_b hevc_b flv1",
    "ts": "h264 h264_b hevc hevc_b mpeg2 mpeg2_b mpeg4_b",
    "m2ts": "h264_b",
    "mpg": "mpeg1_b mpeg2 mpeg2_b",
    "3gp": "h263 h264 h264_b mpeg4_b",
    "ogg": "theora",
    "wmv": "wmv2 mpeg4 mpeg4_b h264 h264_b",
}
FLAGS = {"fragmented.mp4": ("-movflags", "+frag_keyframe+empty_moov"), "mpg": ("-f", "mpeg")}
VARIABLE = ("-vf", "select=not(mod(n\\,7))+lt(n\\,10)+gt(n\\,40)", "-fps_mode", "vfr")
RATES = ("24", "25", "30000/1001", "30", "variable", "10", "50", "60000/1001")
STARTS = ("0", "0.117", "5.02")
MATRIX = [
    (container, codec, rate, start)
    for container, codecs in CONTAINERS.items()
    for codec in codecs.split()
    for rate in RATES
    for start in STARTS
]
# Each container, codec, rate and start at least once; the rest is in the long tests
SHORT = [
    ("mp4", "h264_b", "25", "0"), ("mp4", "hevc_b", "24", "0.117"), ("mp4", "av1", "30", "0"),
    ("mov", "prores", "30000/1001", "0.117"), ("fragmented.mp4", "h264_b", "24", "5.02"),
    ("mkv", "h264_b", "24", "0.117"), ("mkv", "xvid_b", "30", "0"), ("mkv", "ffv1", "10", "5.02"),
    ("webm", "vp9", "30000/1001", "0.117"), ("webm", "vp8", "variable", "0"),
    ("avi", "h264_b", "30", "0"), ("avi", "xvid_b", "25", "0"), ("avi", "mpeg4_b", "24", "0"),
    ("avi", "h264", "25", "0.117"), ("flv", "h264_b", "24", "0.117"), ("flv", "flv1", "50", "5.02"),
    ("ts", "h264_b", "24", "0"), ("ts", "mpeg2_b", "25", "0.117"), ("ts", "hevc", "variable", "0"),
    ("m2ts", "h264_b", "60000/1001", "0"), ("mpg", "mpeg2_b", "25", "0"),
    ("mpg", "mpeg1_b", "24", "0"), ("3gp", "h263", "30000/1001", "0"),
    ("ogg", "theora", "24", "0.117"), ("wmv", "wmv2", "25", "0"), ("wmv", "h264_b", "24", "5.02"),
]  # fmt: skip


def film(folder: Path, container: str, codec: str, rate: str, start: str) -> Path:
    """A file of the matrix."""
    words = [*CODECS[codec], *FLAGS.get(container, ())]
    words += VARIABLE if rate == "variable" else ()
    words += ("-output_ts_offset", start) if start != "0" else ()
    made = folder / f"film.{container}"
    return make(made, *words, count=COUNT, rate="30" if rate == "variable" else rate)


def check(path: Path, codec: str, rate: str) -> None:
    """Both readers show what ffmpeg shows, and that is the film at its own speed.

    Where the file tells its speed: not AVI that begins late, nor XviD with B-frames in Matroska.
    """
    shown = by_ffmpeg(path)

    assert by_predict(path) == shown
    assert by_training(path) == shown
    assert -1 not in shown
    assert all(after >= before for before, after in pairwise(shown))
    if rate != "variable" and path.suffix != ".avi" and codec != "xvid_b":
        length = COUNT * FPS / Fraction(rate)
        assert abs(len(shown) - length) <= 1 + 2 * FPS * STAMP
        times = [float(number / Fraction(rate)) for number in shown]
        off = np.arange(len(shown)) / FPS - times
        assert np.ptp(off) < 1 / FPS + 1 / float(Fraction(rate))


@pytest.mark.parametrize("case", SHORT, ids="-".join)
def test_both_readers_show_the_same_frames(case, tmp_path):
    """Of each container and codec, at each rate and first stamp."""
    check(film(tmp_path, *case), *case[1:3])


@pytest.mark.long
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("container", CONTAINERS)
def test_both_readers_show_the_same_frames_of_every_kind(container, rate, tmp_path):
    """Containers x codecs x B-frames x rates x first stamps: 1,776 files."""
    for case in (case for case in MATRIX if case[::2] == (container, rate)):
        try:
            path = film(tmp_path, *case)
        except subprocess.CalledProcessError:  # no such file: MPEG-2 has no 10 frames a second
            assert case[1][:5] in ("mpeg1", "mpeg2")
            assert case[2] == "10"
            continue
        check(path, *case[1:3])
        path.unlink()


# Files that ffmpeg does not make by itself


def remade(path: Path, *words: object) -> Path:
    """Runs ffmpeg over files that are there."""
    command = [encode.program(), "-v", "error", "-y", *map(str, words), str(path)]
    subprocess.run(command, check=True)
    return path


def both(path: Path) -> list[int]:
    """The numbers that both readers show."""
    shown = by_predict(path)
    assert by_training(path) == shown
    return shown


@pytest.mark.parametrize(("gap", "pause"), [("40", 0), ("5", 88), ("0", 0), ("-1", 0)])
def test_joined_recordings_follow_on(gap, pause, tmp_path):
    """A clock that jumps by 40 s, or back, is another recording's; one of 5 s has paused."""
    first = make(tmp_path / "1.ts", *CODECS["h264_b"])
    second = make(tmp_path / "2.ts", *CODECS["h264_b"], "-output_ts_offset", gap)
    (tmp_path / "joined.ts").write_bytes(first.read_bytes() + second.read_bytes())

    shown = both(tmp_path / "joined.ts")

    assert shown == [*range(COUNT), *[COUNT - 1] * pause, *range(COUNT)]
    seconds = source.probe(tmp_path / "joined.ts").seconds
    assert seconds == pytest.approx(len(shown) / 30, abs=0.1) or gap in ("0", "-1")  # as libav says


@pytest.mark.parametrize("kind", ["mpg", "ogg"])
def test_other_recordings_are_joined_alike(kind, tmp_path):
    """MPEG-PS and Ogg, whose clocks may jump, too."""
    codec = CODECS["mpeg2_b" if kind == "mpg" else "theora"]
    parts = [make(tmp_path / f"1.{kind}", *codec)]
    parts.append(make(tmp_path / f"2.{kind}", *codec, "-output_ts_offset", "40"))
    (tmp_path / f"joined.{kind}").write_bytes(b"".join(part.read_bytes() for part in parts))

    shown = both(tmp_path / f"joined.{kind}")

    assert sorted(set(shown)) == list(range(COUNT))
    assert len(shown) == pytest.approx(2 * COUNT, abs=4)


def segment(folder: Path) -> Path:
    """The third segment of an HLS stream with its head: an MP4 whose fragments begin at 4 s."""
    film = make(folder / "film.mp4", *CODECS["h264"], count=240)
    hls = ("-f", "hls", "-hls_time", "2", "-hls_segment_type", "fmp4")
    names = ("-hls_fmp4_init_filename", "init.mp4", "-hls_segment_filename", folder / "%d.m4s")
    remade(folder / "list.m3u8", "-i", film, "-c", "copy", *hls, *names)
    path = folder / "segment.mp4"
    path.write_bytes((folder / "init.mp4").read_bytes() + (folder / "2.m4s").read_bytes())
    return path


def test_a_segment_of_a_stream_is_whole(tmp_path):
    """What libav calls its duration counts from zero, and is 6 s."""
    path = segment(tmp_path)

    assert both(path) == list(range(120, 180))
    assert source.probe(path).seconds == pytest.approx(2, abs=0.1)
    settings = shards.encoding(max_seconds=3.0)
    assert encode.encode(path, settings, tmp_path / "clip.mp4").frames == 60


def test_half_a_segment_is_truncated(tmp_path):
    """Its fragment lists the frames that are missing."""
    path = segment(tmp_path)
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])

    with pytest.raises(source.BadVideo, match=r"s of 2\.\d\d s that it declares"):
        by_training(path)


def test_a_packet_without_content_ends_nothing(tmp_path):
    """The frame before it is shown for longer; one at the very end is none."""
    path = make(tmp_path / "film.mp4", *CODECS["mjpeg"])
    data = bytearray(path.read_bytes())
    for number in (9, 20, COUNT - 1):  # their bytes go to the picture before, which ignores them
        at = data.index(b"stsz") + 12 + 4 * number
        before, size = struct.unpack_from(">II", data, at)
        struct.pack_into(">II", data, at, before + size, 0)
    path.write_bytes(data)

    shown = both(path)

    assert shown == by_ffmpeg(path)
    assert shown == [*range(9), 8, *range(10, 20), 19, *range(21, COUNT - 1)]


INDEXED = {"mpeg4.mp4": "mpeg4", "h263.3gp": "h263", "h264.mp4": "h264", "hevc.mp4": "hevc"}
INDEXED |= {"mpeg2.mp4": "mpeg2", "vp9.mp4": "vp9", "av1.mp4": "av1", "mpeg4_b.mov": "mpeg4_b"}


@pytest.mark.parametrize("name", INDEXED)
def test_a_key_frame_that_is_none_is_not_trusted(name, tmp_path):
    """Without a table of key frames, an MP4 says that every frame is one."""
    codec = CODECS[INDEXED[name]]
    far = ("-x265-params", f"{X265}0:keyint=300") if name == "hevc.mp4" else ("-g", "300")
    path = make(tmp_path / name, *codec, *far)
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))

    assert both(path) == list(range(COUNT))
    for number in (40, 7, COUNT - 1):
        pictures = FileVideo(path, FPS).frames([number])
        assert np.array_equal(pictures, FileVideo(path, FPS).frames(range(COUNT))[[number]])


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_the_track_that_is_shown_by_default_is_read(kind, tmp_path):
    """A small negative stands before it, whose flag is off."""
    film = make(tmp_path / "film.mp4", *CODECS["h264_b"])
    small = ("-filter_complex", "[0:v]negate,scale=80:48[t]", "-map", "[t]", "-map", "1:v")
    flags = ("-c:v:1", "copy", "-disposition:v:0", "0", "-disposition:v:1", "default")
    path = remade(tmp_path / f"two.{kind}", "-i", film, "-i", film, *small, *flags)

    assert source.probe(path).stream == 1
    assert both(path) == list(range(COUNT))


@pytest.mark.parametrize("angle", [45, 10, 100, 200, 300, -0.7, 90, 180])
def test_a_slanted_picture_is_upright_alike(angle, tmp_path):
    """It is turned by the nearest right angle, and not into black corners."""
    upright = tmp_path / "upright.mp4"
    corpus.ffmpeg(*corpus.pictures("128x96", 30), *CODECS["h264"], seconds=0.3, to=upright)
    path = remade(tmp_path / "turned.mp4", "-display_rotation", angle, "-i", upright, "-c", "copy")
    clip = encode.encode(path, shards.encoding(short=HEIGHT), tmp_path / "clip.mp4")

    raw, ours = FileVideo(path, FPS), IndexedVideo(clip.data)

    assert (raw.count, raw.height, raw.width) == (ours.count, ours.height, ours.width)
    assert np.abs(raw.frames([4]).astype(int) - ours.frames([4])).mean() < 6


PLAIN = {
    "30.mp4": ("30", (*H264, "-bf", "2", "-x264-params", "threads=1:asm=avx2")),
    "25.mp4": ("25", (*H264, "-bf", "2", "-x264-params", "threads=1:asm=avx2")),
    "30000-1001.mp4": ("30000/1001", CODECS["mjpeg"]),
    "30.webm": ("30", ("-c:v", "libvpx", "-b:v", "1M", "-threads", "1")),
    "24.webm": ("24", ("-c:v", "libvpx-vp9", "-b:v", "1M", "-threads", "1", "-row-mt", "0")),
}
CLIPS = {  # SHA-256 of what was made of them before there was a rule of time
    "30.mp4": "a7eedfd4fa542a2f1c5b554f48c70c5e063f0568f9a3ed9314de924cea60bd17",
    "25.mp4": "6355ef4a1d762f63e6aca1b9155765316056801eaa459a518b4c46587f74d9a7",
    "30000-1001.mp4": "6158ca8573eaa8f091f2eabd625d91a781dcf274eeb7f7760702b5dfc2fb8685",
    "30.webm": "a7eedfd4fa542a2f1c5b554f48c70c5e063f0568f9a3ed9314de924cea60bd17",
    "24.webm": "444873217d13a1cddde9ef8e32de79f573e954b77ddd84d3a5261335d3a02742",
}


@pytest.mark.parametrize("name", PLAIN)
def test_clips_of_plain_files_keep_their_bytes(name, tmp_path):
    """MP4 and WebM at a constant rate, from zero on: no archive of such is worth making anew."""
    rate, words = PLAIN[name]
    path = make(tmp_path / name, *words, rate=rate)

    clip = encode.encode(path, shards.encoding(), tmp_path / "clip.mp4")

    assert hashlib.sha256(clip.data).hexdigest() == CLIPS[name]


# The last step of the rule, against the filter of ffmpeg written out


def slow(times: list[Fraction], end: Fraction, rate: int) -> list[int]:
    """Frames by the filter `fps`: at each tick, a frame that the next one has passed is dropped."""

    def tick(time: Fraction) -> int:
        near = Fraction(abs(time) * rate + Fraction(1, 2)).__floor__()
        return near if time >= 0 else -near

    shown, now = [], tick(times[0])
    for number, after in enumerate([*times[1:], end]):
        while tick(after) > now:
            shown.append(number)
            now += 1
    return shown


@pytest.mark.parametrize("seed", range(20))
def test_frames_at_a_rate_are_those_of_the_filter(seed):
    """Crowded, set back, below zero, on the half of a tick, with pauses."""
    rng = np.random.default_rng(seed)
    unit = [Fraction(1, 1000), Fraction(1, 90_000), Fraction(1001, 60_000), Fraction(1, 60)][
        seed % 4
    ]
    steps = rng.integers(-2, 12, 40) * int(max(1, Fraction(1, 120) / unit))
    times = (np.cumsum(steps) - 30).tolist()
    last = max(times) - times[-1] + 3

    found = at_rate(Frames(times, last, unit), FPS)

    expected = slow([time * unit for time in times], (times[-1] + last) * unit, FPS)
    assert found.tolist() == expected
