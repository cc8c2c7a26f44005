"""Files that no program writes: small videos of ten containers, each with seeded damage."""

from __future__ import annotations

import random
import struct
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from autox3d.inference.stream import windows
from autox3d.ingest import encode
from autox3d.ingest.isolate import run_isolated
from autox3d.ingest.source import BadVideo
from support import corpus, shards

TIMEOUT = 60.0  # s for one file and one reader
MEMORY_MB = 4096
KINDS = {
    "h264.mp4": (*corpus.H264, "-bf", "2"),
    "fragmented.mp4": (*corpus.H264, "-g", "6", "-movflags", "frag_keyframe+empty_moov"),
    "mpeg4.mov": ("-c:v", "mpeg4",),
    "h264.mkv": (*corpus.H264, "-bf", "2"),
    "hevc.mkv": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0"),
    "vp8.webm": ("-c:v", "libvpx", "-deadline", "realtime"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    "xvid.avi": ("-c:v", "mpeg4", "-bf", "2"),
    "jpeg.avi": ("-c:v", "mjpeg",),
    "h264.ts": (*corpus.H264, "-g", "6"),
    "flash.flv": ("-c:v", "flv1",),
    "theora.ogv": ("-c:v", "libtheora",),
    "windows.wmv": ("-c:v", "wmv2",),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-r", "25"),
    "h263.3gp": ("-c:v", "h263", "-s", "128x96"),
}  # fmt: skip
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def originals(folder: Path) -> list[bytes]:
    """One good video of each kind, of 12 pictures."""
    made = []
    for name, codec in KINDS.items():
        corpus.ffmpeg(*corpus.pictures("64x48"), *codec, seconds=0.8, to=folder / name)
        made.append((folder / name).read_bytes())
    return [*made, corpus.photographed(folder / "exif.mov", 6).read_bytes()]


def flip(data: bytearray, rng: random.Random) -> None:
    """Changes a few bytes anywhere."""
    for _ in range(rng.choice((1, 2, 5, 20, 100))):
        data[rng.randrange(len(data))] = rng.randrange(256)


def flip_head(data: bytearray, rng: random.Random) -> None:
    """Changes a few bytes of the first kilobyte, where most headers are."""
    for _ in range(rng.choice((1, 2, 5))):
        data[rng.randrange(min(len(data), 1024))] = rng.randrange(256)


def overwrite(data: bytearray, rng: random.Random) -> None:
    """Writes an extreme number, of 1 to 8 bytes in either order, over what was there."""
    for _ in range(rng.choice((1, 3))):
        kind = rng.choice(("B", ">H", "<H", ">I", "<I", ">Q", "<Q"))
        size = struct.calcsize(kind)
        number = rng.choice(EXTREMES) & ((1 << (8 * size)) - 1)
        struct.pack_into(kind, data, rng.randrange(len(data) - size), number)


def cut(data: bytearray, rng: random.Random) -> None:
    """Ends the file early."""
    del data[rng.randrange(1, len(data)) :]


def zero(data: bytearray, rng: random.Random) -> None:
    """A stretch of zeros, as in a download of which a part has not arrived."""
    begin, end = stretch(data, rng)
    data[begin:end] = bytes(end - begin)


def insert(data: bytearray, rng: random.Random) -> None:
    """Random bytes in between."""
    begin, end = stretch(data, rng)
    data[begin:begin] = rng.randbytes(end - begin)


def remove(data: bytearray, rng: random.Random) -> None:
    """A stretch is missing."""
    begin, end = stretch(data, rng)
    del data[begin:end]


def repeat(data: bytearray, rng: random.Random) -> None:
    """A stretch comes twice, the second time elsewhere."""
    begin, end = stretch(data, rng)
    at = rng.randrange(len(data))
    data[at:at] = data[begin:end]


def swap_boxes(data: bytearray, rng: random.Random) -> None:
    """Exchanges two boxes of an MP4, or two stretches of another file."""
    found = boxes(data) or [stretch(data, rng) for _ in range(2)]
    (a, b), (c, d) = sorted((rng.choice(found), rng.choice(found)))
    if b <= c:
        data[:] = data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def boxes(data: bytearray) -> list[tuple[int, int]]:
    """(begin, end) of what looks like a box: a size, and four letters."""
    found = []
    for at in range(4, len(data) - 4):
        size = int.from_bytes(data[at - 4 : at], "big")
        if 8 <= size <= len(data) - at + 4 and bytes(data[at : at + 4]).isalnum():
            found.append((at - 4, at - 4 + size))
    return found


def stretch(data: bytearray, rng: random.Random) -> tuple[int, int]:
    """(begin, end) of a few bytes up to half the file."""
    length = rng.randrange(1, max(2, len(data) // rng.choice((2, 10, 100))))
    begin = rng.randrange(max(1, len(data) - length))
    return begin, min(begin + length, len(data))


HARMS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip, flip_head, overwrite, cut, zero, insert, remove, repeat, swap_boxes,
)  # fmt: skip


def mutated(made: list[bytes], number: int) -> bytes:
    """The file `number`: one of `made` with one to three harms; the same in every run."""
    rng = random.Random(number)
    data = bytearray(made[number % len(made)])
    for _ in range(rng.choice((1, 1, 2, 3))):
        if len(data) > 16:
            rng.choice(HARMS)(data, rng)
    return bytes(data)


def read(path: Path) -> str:
    """Reads a file as `predict` does: "ok", a reason, or the traceback of another error."""
    try:
        shown = sum(1 for _ in windows(path, 3, 4, 2, 32, "linspace"))
        return "ok" if shown else "nothing"
    except BadVideo as error:
        return error.reason if str(error).strip() else "empty reason"
    except Exception:  # noqa: BLE001  # what a fuzzer looks for
        return traceback.format_exc()


def transcode(path: Path) -> str:
    """Encodes a file as a worker of `transcode` does: "ok", a reason, or a traceback."""
    scratch = path.with_name(f"{path.name}.scratch.mp4")
    try:
        return "ok" if encode.encode(path, shards.encoding(timeout=TIMEOUT), scratch) else ""
    except BadVideo as error:
        return error.reason if str(error).strip() else "empty reason"
    except Exception:  # noqa: BLE001
        return traceback.format_exc()


def outcomes(numbers: range, workers: int = 1) -> list[tuple[int, str, str]]:
    """(number, what `predict` and what `transcode` made of it) for each of these files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = originals(folder)
        paths = []
        for number in numbers:
            path = folder / f"{number}.bin"
            path.write_bytes(mutated(made, number))
            paths.append(path)
        found = [
            list(run_isolated(work, paths, workers=workers, timeout=TIMEOUT, memory_mb=MEMORY_MB))
            for work in (read, transcode)
        ]
    words = [[x if isinstance(x, str) else f"worker {x.reason}" for x in row] for row in found]
    return [*zip(numbers, *words, strict=True)]
