"""How long a video is by what its file declares, and where its packets leave gaps.

Containers do not agree on what they declare: the length of the video or of the longest track, from
the first frame on or from zero, or nothing at all. Times are in seconds.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from autox3d.ingest.clock import MICRO, Clock

END_TOLERANCE = 0.5  # s: a file whose content ends that close to its declared end is complete
MIN_GAP = 0.5  # s without a frame that count as a gap
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # of a Windows Media file
BOXES = 100  # of an MP4, among which the first fragment is, if there is one
MAX_BOX = 1 << 62  # bytes


class Times(NamedTuple):
    """The times of the packets of a file."""

    stamps: list[float]  # of the video, sorted, as the file has them but for discontinuities
    others: float  # the end of the longest other track
    shift: float  # by how much discontinuities have moved the clock
    first: float  # when the first frame is shown, since the start of the file


UNKNOWN = Times([], 0.0, 0.0, 0.0)


def times(
    packets: Iterable[av.Packet], container: InputContainer, stream: VideoStream, first: float
) -> Times:
    """Reads the times of all packets of a file; `first` is when its first frame is shown, in s."""
    stamps, others, clock = [], 0.0, Clock(container, stream)
    for packet in packets:
        ours = packet.stream_index == stream.index
        if ours:
            clock.correct(packet)
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or packet.time_base is None:
            continue
        if ours:
            stamps.append(float((stamp + clock.start) * packet.time_base))
        else:
            others = max(others, float((stamp + (packet.duration or 0)) * packet.time_base))
    return Times(sorted(stamps), others, clock.shift / MICRO, first)


def seconds(
    path: Path, container: InputContainer, stream: VideoStream, times: Times
) -> float | None:
    """Returns the declared duration of the video in seconds, if the file declares one."""
    kind, unit = container.format.name, stream.time_base
    if kind == "avi" and stream.frames and stream.average_rate:
        # libav lowers the duration of a cut file; empty frames may stand before the first one
        return float(stream.frames / stream.average_rate) - times.first
    if stream.duration is not None and unit is not None:
        declared = float(stream.duration * unit)
    elif container.duration is not None:
        declared = container.duration / av.time_base
    else:
        declared = _asf_seconds(path) if kind == "asf" else None
    if declared is None or not times.stamps:
        return declared
    begin, last = max(0.0, times.stamps[0]), times.stamps[-1]
    if stream.duration is None and times.others > declared - END_TOLERANCE:
        # the sound's length, and it is complete
        return last - begin + float(1 / (stream.average_rate or 1))
    if _counts_from_zero(kind, path, abs(declared - last)):
        return declared - begin
    return declared + min(0.0, times.shift)


def _counts_from_zero(kind: str, path: Path, rest: float) -> bool:
    """Whether a declared duration counts from zero, wherever the first frame is.

    It ends `rest` seconds before or after the last frame. Writers of Flash video do not agree.
    """
    if "mp4" in kind:
        return _is_fragmented(path)
    return kind == "asf" or "matroska" in kind or (kind == "flv" and rest < END_TOLERANCE)


def _is_fragmented(path: Path) -> bool:
    """Whether an MP4 has fragments; the duration that libav then gives counts from zero."""
    with path.open("rb") as file:
        for _ in range(BOXES):
            if len(head := file.read(16)) < 8:
                return False
            size, kind = struct.unpack_from(">I4s", head)
            if kind == b"moof":
                return True
            if size == 1 and len(head) == 16:
                (size,) = struct.unpack_from(">Q", head, 8)
            if not 8 <= size < MAX_BOX:  # the last box, or none at all
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
