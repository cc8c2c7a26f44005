"""Videos as they turn up: good ones of many kinds, and all that goes wrong; made with ffmpeg.

`KINDS` names each with what becomes of it: `ok`, or the reason why it is refused.
"""

from __future__ import annotations

import io
import os
import struct
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from PIL import Image

SECONDS = 2.0
SOURCE = ("-f", "lavfi", "-i", "testsrc2=s=128x96:r=15")
TONE = ("-f", "lavfi", "-i", "sine=f=440:r=8000")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1")
Maker = Callable[[Path], object]


def ffmpeg(*arguments: str | Path, seconds: float = SECONDS, to: Path | None = None) -> None:
    """Runs ffmpeg; `to` is the output, `seconds` its length."""
    output = ["-t", str(seconds), f"file:{to}"] if to else []
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y"]
    subprocess.run([*command, *map(str, arguments), *output], check=True)


def encoded(*arguments: str, seconds: float = SECONDS, source: tuple[str, ...] = SOURCE) -> Maker:
    """A file that ffmpeg makes of its test picture."""
    return lambda path: ffmpeg(*source, *arguments, seconds=seconds, to=path)


def pictures(size: str = "128x96", rate: int = 15) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}")


def content(data: bytes) -> Maker:
    def make(path: Path) -> None:
        path.write_bytes(data)

    return make


def cut_to(share: float, *arguments: str, suffix: str = ".mp4") -> Maker:
    """A good file that ends too early."""

    def make(path: Path) -> None:
        whole = path.with_name(f"whole{suffix}")
        ffmpeg(*pictures("320x240"), *arguments, to=whole)
        data = whole.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        whole.unlink()

    return make


def damaged(holes: int) -> Maker:
    """A transport stream with stretches of zeros, evenly over the file."""

    def make(path: Path) -> None:
        ffmpeg(*pictures("320x240"), *H264, "-g", "4", "-f", "mpegts", to=path)
        data = bytearray(path.read_bytes())
        for hole in range(1, holes + 1):
            begin = len(data) * hole // (holes + 1)
            data[begin : begin + 300] = bytes(300)
        path.write_bytes(data)

    return make


def rotated(degrees: int) -> Maker:
    def make(path: Path) -> None:
        upright = path.with_name("upright.mp4")
        ffmpeg(*SOURCE, *H264, to=upright)
        ffmpeg("-display_rotation", str(degrees), "-i", upright, "-c", "copy", to=path)
        upright.unlink()

    return make


def joined(path: Path) -> None:
    """A transport stream whose second half is larger."""
    parts = []
    for size in ("128x96", "160x120"):
        part = path.with_name(f"{size}.ts")
        ffmpeg(*pictures(size), *H264, seconds=1, to=part)
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))


def stamped(times: str, order: str = "") -> Maker:
    """A Matroska file whose packets carry time stamps as `times` says, decoded by `order`."""
    stamps = ("-bsf:v", f"setts=pts={times}:dts={order or times}")
    return encoded(*H264, "-bf", "0", *stamps, "-f", "matroska")


def miscounted(path: Path) -> None:
    """An AVI whose header declares twice its frames."""
    ffmpeg(*SOURCE, "-c:v", "mpeg4", to=path)
    data = bytearray(path.read_bytes())
    (frames,) = struct.unpack_from("<I", data, data.index(b"avih") + 8 + 16)
    for at in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
        struct.pack_into("<I", data, at, 2 * frames)
    path.write_bytes(data)


def covered(*arguments: str) -> Maker:
    """With a cover picture, which is no video."""

    def make(path: Path) -> None:
        cover = path.with_name("cover.jpg")
        ffmpeg(*SOURCE, "-frames:v", "1", to=cover)
        ffmpeg(*TONE, "-i", cover, *arguments, "-disposition:v:0", "attached_pic", to=path)
        cover.unlink()

    return make


def trimmed(path: Path) -> None:
    """Cut without encoding: an edit list hides the first half, and the frames stay in the file."""
    whole = path.with_name("whole.mp4")
    ffmpeg(*SOURCE, *H264, "-g", "100", to=whole)
    ffmpeg("-ss", "1", "-i", whole, "-c", "copy", to=path)
    whole.unlink()


def before_zero(path: Path) -> None:
    """Its clock begins at -0.5 s: Windows Media counts from a preroll, here more than there is."""
    ffmpeg(*SOURCE, "-c:v", "wmv2", "-f", "asf", to=path)
    data = bytearray(path.read_bytes())
    properties = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    for at, more in ((properties + 64, 5_000_000), (properties + 80, 500)):  # length, preroll
        struct.pack_into("<Q", data, at, struct.unpack_from("<Q", data, at)[0] + more)
    path.write_bytes(data)


def cut_in_index(path: Path) -> None:
    """The index comes first, and ends in its middle."""
    ffmpeg(*SOURCE, *H264, "-movflags", "+faststart", to=path)
    data = path.read_bytes()
    path.write_bytes(data[: (data.index(b"moov") + data.index(b"mdat")) // 2])


def late_bomb(path: Path) -> None:
    """Ten small frames, then three of 81 million pixels."""
    parts = []
    for picture, count in ((pictures("128x96", 25), 10), ((*LAVFI, "color=s=9000x9000:r=25"), 3)):
        part = path.with_name("part.ts")
        ffmpeg(*picture, "-frames:v", str(count), "-c:v", "mpeg2video", to=part)
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))


def referring(path: Path, to: str) -> None:
    """QuickTime: a movie whose frames lie in another file beside it, named by an alias."""
    ffmpeg(*SOURCE, *H264, "-f", "mov", to=path)
    data = bytearray(path.read_bytes())
    name = b"/" + to.encode()
    alias = bytes(10) + bytes([6]) + b"volume".ljust(27, b"\0") + bytes(12)
    alias += bytes([len(to)]) + to.encode().ljust(63, b"\0") + bytes(16)
    alias += struct.pack(">HH", 1, 1) + bytes(16)  # how many folders up, and down again
    alias += struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2)
    alias += struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    references = data.index(b"dref") - 4
    size, old = struct.unpack_from(">I", data, references)[0], references + 16
    grown = len(entry) - (references + size - old)
    boxes = [data.rindex(kind, 0, old) for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf")]
    for at in [*boxes, references + 4]:
        struct.pack_into(">I", data, at - 4, struct.unpack_from(">I", data, at - 4)[0] + grown)
    data[old : references + size] = entry
    path.write_bytes(data)


def photographed(path: Path, *orientations: int) -> Path:
    """Motion JPEG as digital cameras write it: each of 12 pictures has a block of EXIF.

    The orientations of EXIF take turns; upright without any.
    """
    exif = Image.Exif()
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:48, :80] = 255  # the upper left quarter is white
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p"
        for number in range(12):
            exif[0x0112] = orientations[number % len(orientations)] if orientations else 1
            data = io.BytesIO()
            Image.fromarray(picture).save(data, "JPEG", exif=exif)
            packet = av.Packet(data.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 30)
            packet.pts = packet.dts = number
            container.mux(packet)
    return path


def miscoloured(path: Path, matrix: int = 8) -> Path:
    """H.264 whose colours are tagged with a matrix that libswscale does not know: 8 is YCgCo."""
    tag = f"h264_metadata=matrix_coefficients={matrix}"
    ffmpeg(*SOURCE, *H264, "-bsf:v", tag, seconds=0.4, to=path)
    return path


def encrypted(path: Path) -> Path:
    """MP4 with Common Encryption, whose key nobody gives us."""
    key = ("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb")
    kid = ("-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")
    ffmpeg(*SOURCE, *H264, "-encryption_scheme", "cenc-aes-ctr", *key, *kid, seconds=1, to=path)
    return path


def link(target: str) -> Maker:
    return lambda path: path.symlink_to(target)


HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nplain.mp4\n#EXT-X-ENDLIST\n"
LAVFI = ("-f", "lavfi", "-i")
KINDS: dict[str, tuple[str, Maker]] = {
    # good, whatever they look like
    "plain.mp4": ("ok", encoded(*H264)),
    "again.mp4": ("ok", encoded(*H264)),
    "mpeg4.avi": ("ok", encoded("-c:v", "mpeg4")),
    "vp9.webm": ("ok", encoded("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
    "vp8.webm": ("ok", encoded("-c:v", "libvpx", "-deadline", "realtime", "-auto-alt-ref", "1")),
    "hevc.mkv": (
        "ok",
        encoded("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0"),
    ),
    "av1.mp4": ("ok", encoded("-c:v", "libsvtav1", "-preset", "13")),
    "mpeg2.mpg": ("ok", encoded("-c:v", "mpeg2video", "-r", "25")),
    "flash.flv": ("ok", encoded("-c:v", "flv1")),
    "windows.wmv": ("ok", encoded("-c:v", "wmv2")),
    "stream.ts": ("ok", encoded(*H264)),
    "with_sound.mp4": ("ok", encoded(*TONE, *H264)),
    "wrong_extension.mp4": ("ok", encoded("-c:v", "libvpx", "-deadline", "realtime", "-f", "webm")),
    "no_extension": ("ok", encoded(*H264, "-f", "mp4")),
    "one_frame.mp4": ("ok", encoded(*H264, "-frames:v", "1")),
    "short.mp4": ("ok", encoded(*H264, seconds=0.3)),
    "no_duration.webm": ("ok", encoded("-c:v", "libvpx", "-deadline", "realtime", "-live", "1")),
    "variable_rate.mp4": (
        "ok",
        encoded(*H264, "-vf", "select=not(mod(n\\,7))+lt(n\\,10)", "-fps_mode", "vfr"),
    ),
    "late_start.mkv": ("ok", stamped("PTS+5/TB")),
    "shifted_times.mkv": ("ok", stamped("PTS-0.5/TB")),
    "negative_times.wmv": ("ok", before_zero),
    "duplicate_times.mkv": ("ok", stamped("floor(N/2)*2/15/TB")),
    "rotated_90.mp4": ("ok", rotated(90)),
    "rotated_180.mp4": ("ok", rotated(180)),
    "rotated_270.mp4": ("ok", rotated(270)),
    "odd_size.avi": ("ok", encoded("-c:v", "mpeg4", "-vf", "scale=127:95")),
    "size_changes.ts": ("ok", joined),
    "ten_bits.mkv": ("ok", encoded(*H264, "-pix_fmt", "yuv420p10le")),
    "444.mp4": ("ok", encoded(*H264, "-pix_fmt", "yuv444p")),
    "grey.mp4": ("ok", encoded(*H264, "-pix_fmt", "gray")),
    "grey.avi": ("ok", encoded("-c:v", "ffv1", "-pix_fmt", "gray")),
    "full_range.mp4": ("ok", encoded(*H264, "-pix_fmt", "yuvj420p")),
    "alpha.mov": ("ok", encoded("-c:v", "qtrle", "-pix_fmt", "argb")),
    "interlaced.mp4": ("ok", encoded(*H264, "-flags", "+ilme+ildct")),
    "wide_pixels.mp4": ("ok", encoded(*H264, "-vf", "setsar=16/11")),
    "1_fps.mp4": ("ok", encoded(*H264, source=pictures(rate=1), seconds=4)),
    "240_fps.mp4": ("ok", encoded(*H264, source=pictures(rate=240))),
    "trimmed.mp4": ("ok", trimmed),
    "slightly_damaged.ts": ("ok", damaged(1)),
    "exif.mov": ("ok", photographed),
    "tiny.mp4": ("ok", encoded(*H264, source=pictures("32x32"))),
    # names
    "two  blanks.mp4": ("ok", encoded(*H264)),
    "'quo\"ted'.mp4": ("ok", encoded(*H264)),
    "new\nline.mp4": ("ok", encoded(*H264)),
    "Überblick 视频.mp4": ("ok", encoded(*H264)),
    "-y.mp4": ("ok", encoded(*H264)),
    "%03d.mp4": ("ok", encoded(*H264)),
    "concat:plain.mp4|again.mp4": ("ok", encoded(*H264, "-f", "mp4")),
    "$(touch pwned).mp4": ("ok", encoded(*H264)),
    # files that are no videos
    "empty.mp4": ("empty", lambda path: path.touch()),
    "text.mp4": ("not_a_video", content(b"This video is not available in your country.\n" * 20)),
    "page.mp4": ("not_a_video", content(b"<!DOCTYPE html><html><body>404</body></html>" * 20)),
    "zeros.mp4": ("not_a_video", content(bytes(5000))),
    "folder.mp4": ("not_a_video", lambda path: path.mkdir()),
    "pipe.mp4": ("not_a_video", lambda path: os.mkfifo(path)),
    "loop.mp4": ("unreadable", link("loop.mp4")),
    "missing.mp4": ("missing", lambda path: None),
    "dangling.mp4": ("missing", link("nowhere.mp4")),
    # playlists in disguise
    "concat.mp4": ("not_a_video", content(b"ffconcat version 1.0\nfile plain.mp4\n")),
    "hls.mp4": ("not_a_video", content(HLS)),
    "hls.m3u8": ("not_a_video", content(HLS)),
    "referring.mov": ("undecodable", lambda path: referring(path, "plain.mp4")),
    "escape.mp4": ("outside", link("/etc/hostname")),
    # without a video, or with less of it than it says
    "sound.mp4": ("no_video", encoded(source=TONE)),
    "sound.wav": ("not_a_video", encoded(source=TONE)),
    "cover.m4a": ("no_video", covered("-c:v", "copy", "-f", "mp4")),
    "header_cut.mp4": ("not_a_video", cut_to(0.01, *H264)),
    "index_cut.mp4": ("not_a_video", cut_to(0.5, *H264)),
    "within_index_cut.mp4": ("not_a_video", cut_in_index),
    "middle_cut.mp4": ("truncated", cut_to(0.5, *H264, "-movflags", "+faststart")),
    "middle_cut.webm": (
        "truncated",
        cut_to(0.5, "-c:v", "libvpx", "-deadline", "realtime", suffix=".webm"),
    ),
    "wrong_count.avi": ("truncated", miscounted),
    "damaged.ts": ("corrupt", damaged(60)),
    "decreasing_times.mkv": ("bad_times", stamped("(30-N)/15/TB", "(N-30)/15/TB")),
    "all_at_once.mkv": ("bad_times", stamped("PTS/100")),
    "time_jump.mkv": ("too_long", stamped("PTS+gt(N\\,20)*90000/TB")),
    "hour.mp4": ("too_long", encoded(*H264, source=pictures("32x32", rate=1), seconds=3600)),
    "bomb.mov": (
        "too_large",
        encoded("-c:v", "mjpeg", "-frames:v", "1", source=(*LAVFI, "color=s=12000x12000:r=1")),
    ),
    "late_bomb.ts": ("corrupt", late_bomb),
    "ycgco.mp4": ("not_encoded", miscoloured),
    "encrypted.mp4": ("encrypted", encrypted),
}


def make(folder: Path) -> None:
    """Every kind, each a file of its name."""
    for name, (_, maker) in KINDS.items():
        maker(folder / name)


def misbehave(job):
    """A worker's job: hangs, crashes, or fills the memory, as it is told."""
    if job == "hang":
        time.sleep(60)
    if job == "crash":
        os.abort()
    if job == "eat":
        return len(bytearray(3 << 30))
    return job


def hang(folder: Path) -> None:
    """A worker's job: tells its own process and one that it starts, and does not come back."""
    started = subprocess.Popen(["sleep", "60"])
    (folder / "partial").write_text(f"{os.getpid()} {started.pid}")
    (folder / "partial").replace(folder / "pids")
    time.sleep(60)
