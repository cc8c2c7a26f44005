"""One source video, checked and encoded anew for sparse random access.

H.264 without CABAC or loop filter, groups of one reference and its disposable B-frames, a key
frame at least every `keyint` frames: a clip of few frames out of many needs few packets. Colours
become BT.601 at limited range, and are tagged so: what readers assume that do not look. Rotation
is applied; the shape of pixels is ignored, as everywhere in this field. Interlaced video stays
woven. Frames are repeated or left out to a constant rate.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import shutil
import subprocess
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, NamedTuple

import ffmpeg
import imageio_ffmpeg
import numpy as np

from autox3d.core.values import Encoding
from autox3d.ingest import source
from autox3d.ingest.source import BadVideo, Probe
from autox3d.vision.clips.format.decode import IndexedVideo

COLOURS = "smpte170m"  # BT.601 in libav's words
READ_BACK = 8  # frames of each clip that our reader must be able to give
DECODED = re.compile(r"\(video\): .*; (\d+) frames decoded;(?: (\d+) decode errors;)?")
FULL = 1 << 20  # bytes; a disk with less is why ffmpeg failed
CROWDED = 2  # times the declared rate: mean rates of variable ones are rough
DAMAGED = "corrupt decoded frame"
NOTHING = "nothing was encoded"
FAILURE = re.compile(r"\[(?:error|fatal)\] (.+)")
LEVEL = re.compile(r"\[(?:fatal|error|warning|info|verbose)\] ")
TOO_LARGE = re.compile(rb"Picture size (\d+x\d+) exceeds specified max pixel count")
ADDRESS = re.compile(r"\[[^\]]* @ 0x[0-9a-f]+\] ")  # ffmpeg's messages name objects in memory


class Encoded(NamedTuple):
    """A clip of our own making: an MP4 with one H.264 track."""

    data: bytes
    frames: int
    height: int  # px
    width: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@functools.cache
def program() -> str:
    """imageio-ffmpeg's own ffmpeg; another only by its IMAGEIO_FFMPEG_EXE (then, other bytes)."""
    return imageio_ffmpeg.get_ffmpeg_exe()


@functools.cache
def version() -> str:
    """Of ffmpeg, as it says it."""
    told = subprocess.run([program(), "-version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[2]


def encode(path: Path, settings: Encoding, scratch: Path) -> Encoded:
    """The clip; `scratch` is the name of a file that may be written and is gone afterwards.

    Raises:
        BadVideo: it cannot be used, and why.
        OSError: the disk is full, which is no fault of the video.
    """
    try:
        found = source.probe(path, settings.max_pixels)
    except BadVideo as error:
        raise _explained(error, path, settings) from error
    if (found.seconds or 0) > settings.max_seconds:
        raise BadVideo("too_long", f"{found.seconds:.0f} s are over {settings.max_seconds:.0f}")
    log = scratch.with_suffix(".log")
    try:
        failed = _ffmpeg(arguments(path, scratch, found, settings), settings.timeout, log)
        decoded, damaged = _counts(log)
        if damaged > (1 - settings.min_share) * decoded:
            raise BadVideo("corrupt", f"{damaged} of {decoded} frames are damaged")
        if failed:
            _refuse_full_disk(scratch.parent)
            raise BadVideo("not_encoded", _last_line(log, path))
        if decoded and NOTHING in log.read_text(errors="replace"):
            raise BadVideo("bad_times", f"none of its {decoded} frames has a place in time")
        _check_gaps(found, _first_failure(log, path), settings)
        clip = _read_back(scratch.read_bytes())
    finally:
        scratch.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    _check_length(clip.frames, decoded, found, settings)
    return clip


def arguments(path: Path, target: Path, found: Probe, settings: Encoding) -> list[str]:
    """ffmpeg's command line: file names are single arguments, and no shell reads them."""
    height, width = size(found.height, found.width, settings.short)
    colours = f"out_color_matrix={COLOURS}:out_range=tv"
    filters = (
        f"fps={settings.fps}",
        f"scale={width}:{height}:flags=bicubic+accurate_rnd+bitexact:{colours}",
        "format=yuv420p",
        "setsar=1",
        f"setparams=color_primaries={COLOURS}:color_trc={COLOURS}:colorspace={COLOURS}:range=tv",
    )
    # Threads and instruction sets change the bytes, and so does a bare "threads=1" without asm
    x264 = f"keyint={settings.keyint}:bframes={settings.bframes}:b-adapt=0:b-pyramid=none"
    video = ffmpeg.input(source.address(path), **_guards(settings))
    longest = settings.max_seconds + 1  # what is too long must show
    output = video.output(
        source.address(target),
        **{"map": f"0:{found.stream}", "map_metadata": -1, "map_chapters": -1},
        **{"filter_threads": 1, "vf": ",".join(filters), "t": longest},
        **{"c:v": "libx264", "preset": settings.preset, "crf": settings.crf},
        **{"tune": settings.tune, "x264-params": f"{x264}:threads=1:asm=avx2", "threads": 1},
        **{"fps_mode": "passthrough", "movflags": "+faststart", "f": "mp4"},
        **{"fflags": "+bitexact", "flags:v": "+bitexact"},
    )
    flags = ("-hide_banner", "-nostdin", "-nostats", "-v", "level+verbose")
    command = ffmpeg.compile(output.global_args(*flags), cmd=program(), overwrite_output=True)
    return [str(part) for part in command]


def _explained(error: BadVideo, path: Path, settings: Encoding) -> BadVideo:
    """PyAV does not say why nothing decodes; ffmpeg does."""
    if error.reason != "undecodable":
        return error
    video = ffmpeg.input(source.address(path), **_guards(settings)).output("-", f="null")
    command = ffmpeg.compile(video.global_args("-nostdin", "-v", "error"), cmd=program())
    try:
        told = subprocess.run(command, capture_output=True, timeout=settings.timeout)
    except subprocess.TimeoutExpired:
        return BadVideo("timeout", f"not done after {settings.timeout:.0f} s")
    if size := TOO_LARGE.search(told.stderr):
        text = f"{size[1].decode()} pixels are over max_pixels ({settings.max_pixels})"
        return BadVideo("too_large", text)
    return error


def _guards(settings: Encoding) -> dict[str, Any]:
    """Options of every input: nothing but the file, no frame too large."""
    return {
        "protocol_whitelist": source.PROTOCOLS,
        "format_whitelist": source.FORMATS,
        "max_pixels": settings.max_pixels,
        "threads": 1,
    }


def size(height: int, width: int, short: int) -> tuple[int, int]:
    """Even, the shorter side `short` px or what the source has: nothing is enlarged."""
    target = max(2, min(short, height, width) // 2 * 2)
    scale = Fraction(target, min(height, width))
    longer = max(2, 2 * floor(max(height, width) * scale / 2 + Fraction(1, 2)))
    return (target, longer) if height <= width else (longer, target)


def _ffmpeg(command: list[str], timeout: float, log: Path) -> bool:
    """Whether it failed."""
    with log.open("wb") as file:
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise BadVideo("timeout", f"not done after {timeout:.0f} s") from error
    if ended.returncode < 0:
        raise BadVideo("crashed", f"ffmpeg ended by signal {-ended.returncode}")
    return ended.returncode != 0


def _refuse_full_disk(folder: Path) -> None:
    if shutil.disk_usage(folder).free < FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _counts(log: Path) -> tuple[int, int]:
    """Frames that came or should have come out of the decoder, and how many are damaged."""
    frames = damaged = 0
    with log.open(errors="replace") as lines:
        for line in lines:
            if DAMAGED in line:
                damaged += 1
            elif counts := DECODED.search(line):
                failed = int(counts[2] or 0)
                frames, damaged = frames + int(counts[1]) + failed, damaged + failed
    return frames, damaged


def _last_line(log: Path, path: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if "Exiting" not in line), "no message")
    return _plain(told, path)


def _first_failure(log: Path, path: Path) -> str | None:
    """What ffmpeg could not make sense of in the file."""
    with log.open(errors="replace") as lines:
        failures = (FAILURE.search(line) for line in lines)
        return next((_plain(found[1], path) for found in failures if found), None)


def _plain(line: str, path: Path) -> str:
    return LEVEL.sub("", ADDRESS.sub("", line)).replace(str(path), path.name).strip()


def _read_back(data: bytes) -> Encoded:
    """What our own reader makes of it; only that counts."""
    try:
        video = IndexedVideo(data)
        video.frames(np.linspace(0, video.count - 1, READ_BACK).astype(int))
    except ValueError as error:
        raise BadVideo("not_encoded", f"the encoded clip does not read: {error}") from error
    return Encoded(data, video.count, video.height, video.width)


def _check_gaps(found: Probe, failure: str | None, settings: Encoding) -> None:
    """Pauses may be meant, but not where ffmpeg stumbles too: there, a part of the file is gone."""
    whole = found.seconds
    if failure and whole and found.gaps > (1 - settings.min_share) * whole:
        text = f"no frames for {found.gaps:.2f} s of {whole:.2f} s, and: {failure}"
        raise BadVideo("corrupt", text)


def _check_length(frames: int, decoded: int, found: Probe, settings: Encoding) -> None:
    """The clip against what the video declares and what was decoded of it."""
    seconds = frames / settings.fps
    if seconds > settings.max_seconds:
        raise BadVideo("too_long", f"it goes on after {settings.max_seconds:.0f} s")
    tick = 1 / settings.fps
    if found.seconds and seconds + tick < settings.min_share * found.seconds:
        declared = f"{found.seconds:.2f} s that it declares"
        raise BadVideo("truncated", f"{seconds:.2f} s of {declared}")
    if found.rate and decoded > CROWDED * found.rate * (seconds + tick):
        declared = f"its rate is {found.rate:.3g} a second"
        raise BadVideo("bad_times", f"{decoded} frames within {seconds:.2f} s, where {declared}")
