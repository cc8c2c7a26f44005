"""Video files as they come: opened so that nothing but the file itself is touched.

A file is whatever its content says, not its name, and it may have been made to do harm: a
playlist named .mp4 that opens other files or hosts, a picture that fills the memory. So only
regular files under the data root are opened, only through the `file` protocol, only as one of
`FORMATS` (none of which refers to other files), and a decoder refuses frames over `max_pixels`.
"""

from __future__ import annotations

import errno
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

FORMATS = "mov,mp4,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg"  # as libavformat names them
PROTOCOLS = "file"
MAX_PIXELS = 7680 * 4320  # of a frame, where no setting says otherwise
WHOLE = 0.5  # s before its declared end at which a file counts as whole
PAUSE = 0.5  # s without a frame that stand out
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # of a Windows Media file

REASONS = {
    "missing": "there is no such file",
    "outside": "the path leaves the data root",
    "unreadable": "the system does not let us read it",
    "empty": "the file has no content",
    "not_a_video": "no video container that we know",
    "no_video": "a container without a video track",
    "undecodable": "not one frame decodes",
    "too_large": "a frame has more pixels than `max_pixels`",
    "too_long": "more seconds than `max_seconds`",
    "truncated": "fewer frames than its duration declares",
    "bad_times": "time stamps that crowd its frames together",
    "corrupt": "too many of its frames are damaged",
    "timeout": "more time than `timeout`",
    "crashed": "the decoder crashed, or needed more memory than `memory_mb`",
    "not_encoded": "ffmpeg could not write it anew",
    "copy": "a training video with the content of one that is held out",
}


class BadVideo(ValueError):
    """A video that cannot be used; `reason` is a key of `REASONS`, the message says more."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # both, so that it can be sent between processes
        assert reason in REASONS
        self.reason, self.message = reason, message

    def __str__(self) -> str:
        return self.message


class Probe(NamedTuple):
    """What a file says of itself, its first frame, and when its packets come."""

    stream: int  # number of the video track within the file
    height: int  # px, upright: rotation applied
    width: int
    seconds: float | None  # declared duration of the video, where there is one
    rate: float | None  # declared frames a second, the mean
    gaps: float = 0.0  # s, in pauses between frames that stand out


class Turn(NamedTuple):
    """What makes a frame upright, in this order."""

    transpose: bool
    mirror: bool  # left and right change places
    flip: bool  # top and bottom do


def locate(root: Path, path: str) -> Path:
    """The regular file that `path`, relative to the data root, names.

    Raises:
        BadVideo: missing, unreadable, no regular file, or (through links) outside the root.
    """
    root = root.resolve()
    try:
        found = (root / path).resolve(strict=True)
        mode = found.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadVideo("missing", "there is no such file") from error
    except OSError as error:
        raise BadVideo("unreadable", f"cannot be opened ({_first_line(error)})") from error
    except (RuntimeError, ValueError) as error:  # how pathlib names a loop; a NUL in the name
        raise BadVideo("unreadable", "the path leads nowhere") from error
    if not found.is_relative_to(root):
        raise BadVideo("outside", "a link leads outside the data root")
    if not stat.S_ISREG(mode):
        raise BadVideo("not_a_video", "no regular file")
    return found


@contextmanager
def opened(
    path: Path, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and its first video track that is no cover picture; decoders on one thread.

    Raises:
        BadVideo: nothing to decode in it.
    """
    options = {"protocol_whitelist": PROTOCOLS, "format_whitelist": FORMATS}
    options["max_pixels"] = str(max_pixels)  # must hold while streams are probed, too
    try:
        if path.stat().st_size == 0:
            raise BadVideo("empty", "the file has no content")
        container = av.open(address(path), options=options, metadata_errors="replace")
    except PermissionError as error:
        raise BadVideo("unreadable", f"cannot be opened ({_first_line(error)})") from error
    except (FFmpegError, OSError) as error:
        _refuse_without_memory(error)
        raise BadVideo("not_a_video", f"no video container ({_first_line(error)})") from error
    with container:
        stream = _video_track(container)
        stream.codec_context.thread_type = ThreadType.NONE
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        yield container, stream


def address(path: Path) -> str:
    """A file name that no protocol, option or pattern can hide in."""
    return f"file:{path.absolute()}"


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> Probe:
    """Raises BadVideo where not even the first frame can be had."""
    with opened(path, max_pixels) as (container, stream):
        frame = next(frames(container, stream), None)
        if frame is None:
            raise BadVideo("undecodable", "not one frame decodes")
        height, width = upright(frame)
        rate = float(stream.average_rate) if stream.average_rate else None
    with opened(path, max_pixels) as (container, stream):  # anew: not every file can be wound back
        stamps, others = _times(container, stream)
        seconds = _seconds(path, container, stream, stamps, others)
        return Probe(stream.index, height, width, seconds, rate, _gaps(stamps))


def frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame that decodes, in order of output; damaged packets are passed over."""
    for packet in _packets(container, stream):
        yield from decoded(packet)


def _packets(container: InputContainer, *streams: VideoStream) -> Iterator[av.Packet]:
    """Those of all streams, if none is named, as far as the container holds together."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:  # what was read is still decoded
            packet = None
        if packet is None:
            return
        yield packet


def decoded(packet: av.Packet) -> Iterator[VideoFrame]:
    try:
        found = packet.decode()
    except FFmpegError as error:
        _refuse_without_memory(error)
        return
    yield from (frame for frame in found if isinstance(frame, VideoFrame))


def turn(frame: VideoFrame) -> Turn:
    """What the file asks for; angles that are not right are taken to the nearest that is."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Turn(False, False, False)
    # A pixel (x, y) is shown at (a x + c y, b x + d y), besides a shift
    a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].tolist()
    if abs(a) >= abs(b):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def upright(frame: VideoFrame) -> tuple[int, int]:
    """Height and width of a frame that is turned as the file asks."""
    turned = turn(frame).transpose
    return (frame.width, frame.height) if turned else (frame.height, frame.width)


def _video_track(container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise BadVideo("undecodable", "there is no decoder for its codec")
            return stream
    raise BadVideo("no_video", "a container without a video track")


def _times(container: InputContainer, stream: VideoStream) -> tuple[list[float], float]:
    """Seconds of each packet of the video, in order; where the longest other track ends."""
    stamps, others = [], 0.0
    for packet in _packets(container):
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or packet.time_base is None:
            continue
        if packet.stream_index == stream.index:
            stamps.append(float(stamp * packet.time_base))
        else:
            others = max(others, float((stamp + (packet.duration or 0)) * packet.time_base))
    return sorted(stamps), others


def _seconds(
    path: Path, container: InputContainer, stream: VideoStream, stamps: list[float], others: float
) -> float | None:
    """Declared duration of the video, if the file declares one."""
    kind = container.format.name
    if kind == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # libav cuts the duration to what is left
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None:
        return _asf_seconds(path) if kind == "asf" else None
    seconds = container.duration / av.time_base
    # Matroska and its like count from zero, wherever the first frame is
    begin = max(0.0, stamps[0]) if stamps else 0.0
    if stamps and others > seconds - WHOLE:  # that is the sound's length, and the file is whole
        return stamps[-1] - begin + float(1 / (stream.average_rate or 1))
    return seconds - begin


def _asf_seconds(path: Path) -> float | None:
    """Of a Windows Media file; libav believes its header only where the file has its full size."""
    with path.open("rb") as file:
        header = file.read(1 << 16)
    at = header.find(ASF_PROPERTIES)
    if at < 0 or len(header) < at + 92:
        return None
    play, _, preroll, flags = struct.unpack_from("<QQQI", header, at + 64)
    live = flags & 1
    return None if live else play / 1e7 - preroll / 1e3


def _gaps(stamps: list[float]) -> float:
    """Seconds in pauses of half a second or more, and of several times the usual step."""
    steps = np.diff(stamps)
    if not steps.size:
        return 0.0
    return float(steps[steps > max(PAUSE, 4 * float(np.median(steps)))].sum())


def _refuse_without_memory(error: BaseException) -> None:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        raise BadVideo("crashed", "the decoder needs more memory than it may have") from error


def _first_line(error: BaseException) -> str:
    """Without the path that the system's messages repeat."""
    reason = getattr(error, "strerror", None) or str(error)
    return reason.splitlines()[0] if reason else type(error).__name__
