"""Opens raw video files safely: nothing but the file itself is read.

A file is what its content says, whatever its name, and it may be malicious: a playlist named .mp4
that opens other files or hosts, or a picture that fills the memory. So only regular files under
the data root are opened, only through the `file` protocol and only as one of `CONTAINERS` (none of
which refers to other files), and the decoder refuses frames over `max_pixels`.
"""

from __future__ import annotations

import errno
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import SideData, SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from autox3d.core import reasons
from autox3d.core.reasons import REASONS

CONTAINERS = "mov,mp4,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg"  # as libavformat names them
PROTOCOLS = "file"
MAX_PIXELS = 7680 * 4320  # of a frame, where no setting says otherwise
END_TOLERANCE = 0.5  # s: a file whose content ends that close to its declared end is complete
COMPLETE = 0.9  # of the declared duration: a file with less of it has lost its end
TICK = 1 / 30  # s, by which the end of the last frame is uncertain
MIN_GAP = 0.5  # s without a frame that count as a gap
ENCRYPTED = "encryption_info"  # what libav attaches to packets that it has no key for
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # of a Windows Media file


class BadVideo(ValueError):
    """A video cannot be used; `reason` is a key of `REASONS`, the message describes this video."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # both, so that the error can be pickled
        assert reason in REASONS
        assert message.strip()
        self.reason, self.message = reason, message

    def __str__(self) -> str:
        return self.message


class Probe(NamedTuple):
    """What a file declares, the size of its first frame, and the times of its packets."""

    stream: int  # number of the video track within the file
    height: int  # px, upright: rotation applied
    width: int
    seconds: float | None  # declared duration of the video, where there is one
    rate: float | None  # declared frames a second, the mean
    gaps: float = 0.0  # s, the sum of the gaps between frames


@dataclass
class Tally:
    """What a decoder has given so far."""

    frames: int = 0  # also those that did not decode
    damaged: int = 0  # of these: did not decode, or were completed from other frames


class Turn(NamedTuple):
    """The steps that make a frame upright, in this order."""

    transpose: bool
    mirror: bool  # swaps left and right
    flip: bool  # swaps top and bottom


def locate(root: Path, path: str) -> Path:
    """Resolves `path`, relative to the data root, to a regular file under that root.

    Raises:
        BadVideo: the file is missing, unreadable, not regular, or (by links) outside the root.
    """
    root = root.resolve()
    try:
        file = (root / path).resolve(strict=True)
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadVideo(*reasons.MISSING) from error
    except OSError as error:
        raise BadVideo(*reasons.unreadable(_first_line(error))) from error
    except (RuntimeError, ValueError) as error:  # a loop of links; a NUL in the name
        raise BadVideo("unreadable", "the path leads nowhere") from error
    if not file.is_relative_to(root):
        raise BadVideo(*reasons.OUTSIDE)
    if not stat.S_ISREG(mode):
        raise BadVideo(*reasons.NOT_A_FILE)
    return file


@contextmanager
def opened(
    path: Path, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file, and gives its container and its first video track that is no cover picture.

    Decoders run on one thread. Whatever libav or PyAV raises while the file is open becomes a
    `BadVideo`, so that one file cannot end a run over many.

    Raises:
        BadVideo: the file has nothing that can be decoded as video, or the decoder fails on it.
    """
    options = {"protocol_whitelist": PROTOCOLS, "format_whitelist": CONTAINERS}
    options["max_pixels"] = str(max_pixels)  # the limit must hold while streams are probed, too
    with decoder_errors("the decoder fails on it"), _container(path, options) as container:
        stream = _video_track(container)
        stream.codec_context.thread_type = ThreadType.NONE
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        yield container, stream


def _container(path: Path, options: dict[str, str]) -> InputContainer:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise BadVideo("empty", "the file has no content")
    except OSError as error:
        raise BadVideo(*reasons.unreadable(_first_line(error))) from error
    try:
        return av.open(address(path), options=options, metadata_errors="replace")
    except (FFmpegError, OSError) as error:
        _refuse_without_memory(error)
        # some demuxers return -1, which reads as EPERM, for headers that make no sense
        why = "damaged header" if error.errno == errno.EPERM else _first_line(error)
        raise BadVideo("not_a_video", f"no video container ({why})") from error


@contextmanager
def decoder_errors(what: str) -> Iterator[None]:
    """Turns errors of libav and of PyAV into a `BadVideo` that says `what` failed, and why.

    PyAV's own errors are of many built-in types: ValueError for what it has no name of, OSError for
    an unsupported conversion, MemoryError, ZeroDivisionError for a clock without a unit.
    """
    try:
        yield
    except BadVideo:
        raise
    except (FFmpegError, ArithmeticError, MemoryError, OSError, RuntimeError, ValueError) as error:
        _refuse_without_memory(error)
        raise BadVideo("unsupported", f"{what} ({_first_line(error)})") from error


def address(path: Path) -> str:
    """Writes a path so that ffmpeg takes no part of it for a protocol, an option or a pattern."""
    return f"file:{path.absolute()}"


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> Probe:
    """Reads what a file declares, its first frame, and the times of all its packets.

    Raises:
        BadVideo: not even one frame can be decoded.
    """
    with opened(path, max_pixels) as (container, stream):
        frame = next(frames(container, stream), None)
        if frame is None:
            raise BadVideo("undecodable", "not one frame decodes")
        height, width = upright(frame)
        rate = float(stream.average_rate) if stream.average_rate else None
    with opened(path, max_pixels) as (container, stream):  # opened again: not every file can seek
        stamps, others = _times(container, stream)
        seconds = _seconds(path, container, stream, stamps, others)
        return Probe(stream.index, height, width, seconds, rate, _gaps(stamps))


def frames(
    container: InputContainer, stream: VideoStream, tally: Tally | None = None
) -> Iterator[VideoFrame]:
    """Yields every frame that decodes, in order of output; damaged packets are skipped."""
    for packet in _packets(container, stream):
        yield from decoded(packet, tally)


def _packets(container: InputContainer, *streams: VideoStream) -> Iterator[av.Packet]:
    """Yields the packets of the streams (of all, if none is given), until the container breaks."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:  # what was read before is still decoded
            packet = None
        if packet is None:
            return
        yield packet


def decoded(packet: av.Packet, tally: Tally | None = None) -> Iterator[VideoFrame]:
    """Yields the frames that the decoder returns for a packet, and counts them in `tally`.

    There are none where the packet is damaged.

    Raises:
        BadVideo: the packet is encrypted; the decoder would return noise.
    """
    if packet.has_sidedata(ENCRYPTED):
        raise BadVideo("encrypted", "its pictures are encrypted")
    tally = tally or Tally()
    try:
        frames = packet.decode()
    except FFmpegError as error:
        _refuse_without_memory(error)
        tally.frames, tally.damaged = tally.frames + 1, tally.damaged + 1
        return
    for frame in frames:
        if isinstance(frame, VideoFrame):
            damaged = frame.is_corrupt or packet.is_corrupt
            tally.frames, tally.damaged = tally.frames + 1, tally.damaged + damaged
            yield frame


def turn(frame: VideoFrame) -> Turn:
    """Returns the turn that the file asks for, rounded to a multiple of 90 degrees."""
    # `frame.side_data` would keep the frame: it refers to the frame, and the frame to it
    data: Mapping[str, SideData] = SideDataContainer(frame)  # pyright: ignore[reportCallIssue]
    matrix = data.get("DISPLAYMATRIX")
    if matrix is None:
        return Turn(False, False, False)
    # A pixel (x, y) is shown at (a x + c y, b x + d y), plus a shift
    a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].tolist()
    if abs(a) >= abs(b):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def _unnamed(cls: type[SideDataType], number: int) -> SideDataType:
    """Returns a member for a type of side data that PyAV has no name of."""
    member = object.__new__(cls)
    member._value_, member._name_ = number, f"UNNAMED_{number}"
    return member


# PyAV 18.1 refuses all side data of a frame, the display matrix too, if it has no name for one
# kind, such as the view of MV-HEVC (29) or EXIF (31). `_missing_` is Enum's hook for such values.
SideDataType._missing_ = classmethod(_unnamed)  # pyright: ignore[reportAttributeAccessIssue]


def upright(frame: VideoFrame) -> tuple[int, int]:
    """Returns height and width of a frame after it is turned as the file asks."""
    turned = turn(frame).transpose
    return (frame.width, frame.height) if turned else (frame.height, frame.width)


def _video_track(container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise BadVideo("undecodable", "there is no decoder for its codec")
            return stream
    raise BadVideo("no_video", "a container without a video track")


def lost(path: Path, seconds: float, tally: Tally, max_pixels: int = MAX_PIXELS) -> str:
    """Says what is missing from a file of which `seconds` of video are there, or nothing.

    A part is missing where the file declares more seconds, or where frames are damaged.
    """
    with opened(path, max_pixels) as (container, stream):  # before the times of its packets
        declared = _seconds(path, container, stream, [], 0.0) or 0.0
    if not tally.damaged and seconds >= COMPLETE * declared - TICK:
        return ""
    found, words = probe(path, max_pixels), []
    if found.seconds and seconds < COMPLETE * found.seconds - TICK:
        words.append(f"the end is missing: {seconds:.2f} s of {found.seconds:.2f} s are there")
    if tally.damaged:
        words.append(f"{tally.damaged} of {tally.frames} decoded frames are damaged")
        if found.gaps:
            words.append(f"there are no frames for {found.gaps:.2f} s")
    return ", ".join(words)


def _times(container: InputContainer, stream: VideoStream) -> tuple[list[float], float]:
    """Returns the sorted times of the video's packets and the end of the longest other track, s."""
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
    """Returns the declared duration of the video in seconds, if the file declares one."""
    kind = container.format.name
    if kind == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # libav lowers the duration of a cut file
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None:
        return _asf_seconds(path) if kind == "asf" else None
    seconds = container.duration / av.time_base
    # Matroska and similar formats count from zero, wherever the first frame is
    begin = max(0.0, stamps[0]) if stamps else 0.0
    if stamps and others > seconds - END_TOLERANCE:  # the sound's length, and it is complete
        return stamps[-1] - begin + float(1 / (stream.average_rate or 1))
    return seconds - begin


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


def _gaps(stamps: list[float]) -> float:
    """Sums the steps, in s, that are over MIN_GAP and over four times the median step."""
    steps = np.diff(stamps)
    if not steps.size:
        return 0.0
    return float(steps[steps > max(MIN_GAP, 4 * float(np.median(steps)))].sum())


def _refuse_without_memory(error: BaseException) -> None:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        raise BadVideo("crashed", "the decoder needs more memory than it may have") from error


def _first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, without the path that the system repeats."""
    reason = getattr(error, "strerror", None) or str(error)
    return reason.splitlines()[0] if reason else type(error).__name__
