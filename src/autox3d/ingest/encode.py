"""Checks one source video and encodes it for sparse random access.

The output is H.264 without CABAC or loop filter, in groups of one reference and its disposable
B-frames, with a key frame at least every `keyint` frames: a clip of a few frames out of many needs
few packets. Colours become BT.601 at limited range, which is what readers assume that ignore the
tags. Rotation is applied. The pixel aspect ratio is ignored, as is usual for video datasets.
Interlaced video stays interlaced. Frames are repeated or dropped to give a constant rate, by the
rule of `ingest.clock`.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, NamedTuple

import ffmpeg
import imageio_ffmpeg
import numpy as np

from autox3d.core.values import Encoding
from autox3d.ingest import clock, source
from autox3d.ingest.source import BadVideo, Probe
from autox3d.ingest.upright import Turn
from autox3d.vision.clips.format.decode import IndexedVideo

COLOURS = "smpte170m"  # BT.601, as libav calls it
LEAD = 2  # s before a part from which its film is decoded, so that nothing refers further back
READ_BACK = 8  # frames of each clip that our reader must be able to decode
DECODED = re.compile(r"\(video\): .*; (\d+) frames decoded;(?: (\d+) decode errors;)?")
MIN_FREE_DISK = 1 << 20  # bytes; with less, the full disk is why ffmpeg failed
MAX_CROWDING = 2  # times the declared rate, since the mean of a variable rate is rough
DAMAGED = "corrupt decoded frame"
NOTHING = "nothing was encoded"
FAILURE = re.compile(r"\[(?:error|fatal)\] (.+)")
UNCONVERTIBLE = re.compile(r"Color spaces:\n.* src: (\S+)\n.* dst: ")  # of the filters' formats
LEVEL = re.compile(r"\[(?:fatal|error|warning|info|verbose)\] ")
TOO_LARGE = re.compile(rb"Picture size (\d+x\d+) exceeds specified max pixel count")
ADDRESS = re.compile(r"\[[^\]]* @ 0x[0-9a-f]+\] ")  # ffmpeg's messages name objects in memory


class Encoded(NamedTuple):
    """An encoded clip: an MP4 with one H.264 track."""

    data: bytes
    frames: int
    height: int  # px
    width: int

    @property
    def sha256(self) -> str:
        """Returns the hash of the clip's bytes, in hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()


class Part(NamedTuple):
    """A part of a film, by its own time stamps."""

    begin: float  # s, from a whole second on its frames are those of the whole film
    end: float  # s


@functools.cache
def program() -> str:
    """Returns the path of ffmpeg: imageio-ffmpeg's own, or the one in IMAGEIO_FFMPEG_EXE.

    Another version encodes to other bytes.
    """
    return imageio_ffmpeg.get_ffmpeg_exe()


@functools.cache
def version() -> str:
    """Returns the version that ffmpeg prints."""
    ended = subprocess.run([program(), "-version"], capture_output=True, text=True, check=True)
    return ended.stdout.split()[2]


def encode(path: Path, settings: Encoding, scratch: Path, part: Part | None = None) -> Encoded:
    """Encodes the video `path`; the file `scratch` is written meanwhile and removed afterwards.

    Args:
        part: what of it is encoded; None: all

    Raises:
        BadVideo: the video cannot be used, with the reason.
        OSError: the disk is full, which is not the video's fault.
    """
    try:
        probe = (_probe_film if part else source.probe)(path, settings.max_pixels)
    except BadVideo as error:
        raise _explained(error, path, settings) from error
    expected = _seconds(probe, part)
    if (expected or 0) > settings.max_seconds:
        raise BadVideo("too_long", f"{expected:.0f} s are over {settings.max_seconds:.0f}")
    log = scratch.with_suffix(".log")
    try:
        failed = _ffmpeg(arguments(path, scratch, probe, settings, part), settings.timeout, log)
        decoded, damaged = _counts(log)
        if damaged > (1 - settings.min_share) * decoded:
            raise BadVideo("corrupt", f"{damaged} of {decoded} frames are damaged")
        if failed:
            _refuse_full_disk(scratch.parent)
            raise BadVideo("not_encoded", _why_failed(log, path))
        if decoded and NOTHING in log.read_text(errors="replace"):
            raise BadVideo("bad_times", f"none of its {decoded} frames has a place in time")
        _check_gaps(probe, _first_failure(log, path), settings)
        clip = _read_back(scratch.read_bytes())
    finally:
        scratch.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    crowded = 0 if part else decoded  # of a part, the frames before it are counted too
    _check_length(clip.frames, crowded, probe._replace(seconds=expected), settings)
    return clip


@functools.lru_cache(maxsize=1)
def _probe_film(path: Path, max_pixels: int) -> Probe:
    """Probes a film once for all of its parts that one process encodes in a row."""
    return source.probe(path, max_pixels)


def _seconds(probe: Probe, part: Part | None) -> float | None:
    """How long the clip is to be, by the declared duration; None: nothing is declared.

    Raises:
        BadVideo: the file ends before the part begins.
    """
    if part is None or not probe.seconds:
        return probe.seconds
    if probe.seconds <= part.begin:
        ends = f"it ends after {probe.seconds:.2f} s"
        raise BadVideo("truncated", f"{ends}, and a part of it is to begin at {part.begin:.0f} s")
    return min(part.end, probe.seconds) - part.begin


def arguments(
    path: Path, target: Path, probe: Probe, settings: Encoding, part: Part | None = None
) -> list[str]:
    """Returns ffmpeg's command line; file names are single arguments, and no shell reads them."""
    height, width = size(probe.height, probe.width, settings.short)
    colours = f"out_color_matrix={COLOURS}:out_range=tv"
    lead = min(part.begin, LEAD if probe.seeks else part.begin) if part else 0.0
    filters = (
        *_turned(probe.turn),
        *_paced(settings.fps, part, lead),
        f"scale={width}:{height}:flags=bicubic+accurate_rnd+bitexact:{colours}",
        "format=yuv420p",
        "setsar=1",
        f"setparams=color_primaries={COLOURS}:color_trc={COLOURS}:colorspace={COLOURS}:range=tv",
    )
    # Threads and instruction sets change the bytes, so both are fixed (threads alone is not enough)
    x264 = f"keyint={settings.keyint}:bframes={settings.bframes}:b-adapt=0:b-pyramid=none"
    ours = {"noautorotate": None} if probe.turn else {}
    sought = {"ss": part.begin - lead} if part and lead < part.begin else {}
    guards = _guards(settings)
    video = ffmpeg.input(source.address(path), **guards, **clock.FFMPEG, **ours, **sought)
    longest = settings.max_seconds + 1  # enough to see that a video is too long
    output = video.output(
        source.address(target),
        **{"map": f"0:{probe.stream}", "map_metadata": -1, "map_chapters": -1},
        **{"filter_threads": 1, "vf": ",".join(filters), "t": longest},
        **{"c:v": "libx264", "preset": settings.preset, "crf": settings.crf},
        **{"tune": settings.tune, "x264-params": f"{x264}:threads=1:asm=avx2", "threads": 1},
        **{"fps_mode": "passthrough", "movflags": "+faststart", "f": "mp4"},
        **{"fflags": "+bitexact", "flags:v": "+bitexact"},
    )
    flags = ("-hide_banner", "-nostdin", "-nostats", "-v", "level+verbose")
    command = ffmpeg.compile(output.global_args(*flags), cmd=program(), overwrite_output=True)
    return [str(part) for part in command]


def _paced(fps: int, part: Part | None, lead: float) -> Iterator[str]:
    """Yields the filters that make the rate constant, and keep a part on the film's own ticks.

    The film is decoded from `lead` seconds before the part on.
    """
    if part is None:
        yield f"fps={fps}"
        return
    yield f"fps={fps}:start_time={lead:g}"
    yield f"trim=start={lead:g}:end={lead + part.end - part.begin:g}"
    yield "setpts=PTS-STARTPTS"


def _turned(turn: Turn | None) -> Iterator[str]:
    """Yields the filters for a turn that ffmpeg would not round to a right angle, as readers do."""
    if turn:
        steps = zip(("transpose=cclock_flip", "hflip", "vflip"), turn, strict=True)
        yield from (name for name, asked in steps if asked)
        yield "sidedata=mode=delete:type=DISPLAYMATRIX"


def _explained(error: BadVideo, path: Path, settings: Encoding) -> BadVideo:
    """Asks ffmpeg why nothing decodes, which PyAV does not say; returns a more exact error."""
    if error.reason != "undecodable":
        return error
    video = ffmpeg.input(source.address(path), **_guards(settings)).output("-", f="null")
    command = ffmpeg.compile(video.global_args("-nostdin", "-v", "error"), cmd=program())
    try:
        ended = subprocess.run(command, capture_output=True, timeout=settings.timeout)
    except subprocess.TimeoutExpired:
        return BadVideo("timeout", f"not done after {settings.timeout:.0f} s")
    if size := TOO_LARGE.search(ended.stderr):
        text = f"{size[1].decode()} pixels are over max_pixels ({settings.max_pixels})"
        return BadVideo("too_large", text)
    return error


def _guards(settings: Encoding) -> dict[str, Any]:
    """Returns options for every input: only the file itself is read, and no frame too large."""
    return {
        "protocol_whitelist": source.PROTOCOLS,
        "format_whitelist": source.CONTAINERS,
        "max_pixels": settings.max_pixels,
        "threads": 1,
    }


def size(height: int, width: int, short: int) -> tuple[int, int]:
    """Returns (height, width) of the clip: even, with the shorter side `short` px or less.

    A video whose shorter side has fewer pixels keeps them; nothing is enlarged.
    """
    target = max(2, min(short, height, width) // 2 * 2)
    scale = Fraction(target, min(height, width))
    longer = max(2, 2 * floor(max(height, width) * scale / 2 + Fraction(1, 2)))
    return (target, longer) if height <= width else (longer, target)


def _ffmpeg(command: list[str], timeout: float, log: Path) -> bool:
    """Runs ffmpeg with its output going to the file `log`; returns whether it failed."""
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
    if shutil.disk_usage(folder).free < MIN_FREE_DISK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _counts(log: Path) -> tuple[int, int]:
    """Counts the frames that the decoder gave or failed to give, and how many are damaged."""
    frames = damaged = 0
    with log.open(errors="replace") as lines:
        for line in lines:
            if DAMAGED in line:
                damaged += 1
            elif counts := DECODED.search(line):
                failed = int(counts[2] or 0)
                frames, damaged = frames + int(counts[1]) + failed, damaged + failed
    return frames, damaged


def _why_failed(log: Path, path: Path) -> str:
    """Returns why ffmpeg has failed, from its log."""
    if colours := UNCONVERTIBLE.search(log.read_text(errors="replace")):
        return f"its colours ({colours[1]}) cannot be converted"
    return _first_failure(log, path) or "ffmpeg failed without a message"


def _first_failure(log: Path, path: Path) -> str | None:
    """Returns the first error that ffmpeg has logged, if any."""
    with log.open(errors="replace") as lines:
        failures = (FAILURE.search(line) for line in lines)
        return next((_plain(failure[1], path) for failure in failures if failure), None)


def _plain(line: str, path: Path) -> str:
    """Strips a line of ffmpeg's log of its level, of addresses in memory and of the folder."""
    return LEVEL.sub("", ADDRESS.sub("", line)).replace(str(path), path.name).strip()


def _read_back(data: bytes) -> Encoded:
    """Reads the clip with the reader that training uses, and returns what that reader sees."""
    try:
        video = IndexedVideo(data)
        video.frames(np.linspace(0, video.count - 1, READ_BACK).astype(int))
    except ValueError as error:
        raise BadVideo("not_encoded", f"the encoded clip does not read: {error}") from error
    return Encoded(data, video.count, video.height, video.width)


def _check_gaps(probe: Probe, failure: str | None, settings: Encoding) -> None:
    """Refuses long gaps between frames in a file with errors, where a part of it is lost.

    In a file without errors they are taken for a picture that does not change.
    """
    whole = probe.seconds
    if failure and whole and probe.gaps > (1 - settings.min_share) * whole:
        text = f"no frames for {probe.gaps:.2f} s of {whole:.2f} s, and: {failure}"
        raise BadVideo("corrupt", text)


def _check_length(frames: int, decoded: int, probe: Probe, settings: Encoding) -> None:
    """Compares the clip's length with the declared duration and the number of decoded frames."""
    seconds = frames / settings.fps
    if seconds > settings.max_seconds:
        raise BadVideo("too_long", f"it goes on after {settings.max_seconds:.0f} s")
    tick = 1 / settings.fps
    if probe.seconds and seconds + tick < settings.min_share * probe.seconds:
        declared = f"{probe.seconds:.2f} s that it declares"
        raise BadVideo("truncated", f"{seconds:.2f} s of {declared}")
    if probe.rate and decoded > MAX_CROWDING * probe.rate * (seconds + tick):
        declared = f"its rate is {probe.rate:.3g} a second"
        raise BadVideo("bad_times", f"{decoded} frames within {seconds:.2f} s, where {declared}")
