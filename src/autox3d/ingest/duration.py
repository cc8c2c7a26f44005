"""How long a video is by what its file declares, which kinds of files do in different ways."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

END_TOLERANCE = 0.5  # s: a file whose content ends that close to its declared end is complete
STREAMS = {"mpegts", "mpeg"}  # containers without a beginning, by libavformat's names
MIN_GAP = 0.5  # s without a frame that count as a gap
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # of a Windows Media file


class Times(NamedTuple):
    """The times of the packets of a file, in seconds."""

    stamps: list[float]  # of the video, sorted
    others: float  # the end of the longest other track
    shift: float  # by how much discontinuities have moved the clock


def declared(
    path: Path, container: InputContainer, stream: VideoStream, times: Times
) -> float | None:
    """Returns the declared duration of the video in seconds, if the file declares one."""
    kind, unit = container.format.name, stream.time_base
    if kind == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # libav lowers the duration of a cut file
    if stream.duration is not None and unit is not None:
        seconds = float(stream.duration * unit)
    elif container.duration is not None:
        seconds = container.duration / av.time_base
    else:
        seconds = _asf_seconds(path) if kind == "asf" else None
    if seconds is None or not times.stamps:
        return seconds
    begin, last = max(0.0, times.stamps[0]), times.stamps[-1]
    if stream.duration is None and times.others > seconds - END_TOLERANCE:
        # the sound's length, and it is complete
        return last - begin + float(1 / (stream.average_rate or 1))
    if _counts_from_zero(kind, path, abs(seconds - last)):
        return seconds - begin
    return seconds + min(0.0, times.shift)


def lead(container: InputContainer, first: float) -> float:
    """Returns for how many of the declared seconds there is no frame to show yet.

    `first` is when the first frame is shown, in seconds since the start of the file. Streams can be
    cut within a group of pictures; they declare no duration, but libav takes it from the stamps,
    which begin before the first frame that decodes. AVI counts empty frames before its first one.
    """
    return max(0.0, first) if container.format.name in STREAMS | {"avi"} else 0.0


def _counts_from_zero(kind: str, path: Path, rest: float) -> bool:
    """Whether a declared duration counts from zero, wherever the first frame is.

    It ends `rest` seconds before or after the last frame. Writers of Flash video do not agree.
    """
    if "mp4" in kind:
        return _is_fragmented(path)
    return kind == "asf" or "matroska" in kind or (kind == "flv" and rest < END_TOLERANCE)


def _is_fragmented(path: Path) -> bool:
    """Whether an MP4 has fragments; the duration that libav then gives counts from zero."""
    length = path.stat().st_size
    with path.open("rb") as file:
        while len(head := file.read(16)) >= 8:
            size, kind = struct.unpack_from(">I4s", head)
            if kind == b"moof":
                return True
            if size == 1 and len(head) == 16:
                (size,) = struct.unpack_from(">Q", head, 8)
            if not 8 <= size <= length:  # the last box, or none at all
                return False
            file.seek(size - len(head), os.SEEK_CUR)
    return False


def _asf_seconds(path: Path) -> float | None:
    """Reads the declared duration of a Windows Media file, in seconds, from its header.

    libav ignores that header where the file has not its full size.
    """
    with path.open("rb") as file:
        header = file.read(1 << 16)
    at = header.find(ASF_PROPERTIES)
    if at < 0 or len(header) < at + 92:
        return None
    play, _, preroll, flags = struct.unpack_from("<QQQI", header, at + 64)
    live = flags & 1
    return None if live else play / 1e7 - preroll / 1e3


def gaps(times: Times) -> float:
    """Sums the steps, in s, that are over MIN_GAP and over four times the median step."""
    steps = np.diff(times.stamps)
    if not steps.size:
        return 0.0
    return float(steps[steps > max(MIN_GAP, 4 * float(np.median(steps)))].sum())
