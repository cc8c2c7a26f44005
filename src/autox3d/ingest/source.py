"""Opens raw video files safely: nothing but the file itself is read.

A file is what its content says, whatever its name, and it may be malicious: a playlist named .mp4
that opens other files or hosts, or a picture that fills the memory. So only regular files under
the data root are opened, only through the `file` protocol and only as one of `CONTAINERS` (none of
which refers to other files), and the decoder refuses frames over `max_pixels`.
"""

from __future__ import annotations

import codecs
import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
from av.codec.context import ThreadType
from av.container import InputContainer
from av.container.core import Flags
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from autox3d.core import reasons
from autox3d.core.reasons import REASONS
from autox3d.ingest import duration
from autox3d.ingest.clock import MICRO, Clock
from autox3d.ingest.duration import Times
from autox3d.ingest.upright import Turn, is_slanted, turn, upright

CONTAINERS = "mov,mp4,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg"  # as libavformat names them
PROTOCOLS = "file"
SEEKS = {"mov", "matroska", "avi"}  # containers with an index; in others a seek may end too late
MAX_PIXELS = 7680 * 4320  # of a frame, where no setting says otherwise
COMPLETE = 0.9  # of the declared duration: a file with less of it has lost its end
TICK = 1 / 30  # s, by which the end of the last frame is uncertain
ENCRYPTED = "encryption_info"  # what libav attaches to packets that it has no key for


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
    turn: Turn | None = None  # what makes it upright, where the file asks for another angle
    seeks: bool = False  # whether it can be decoded from a time on that is surely found


@dataclass
class Tally:
    """What a decoder has given so far."""

    frames: int = 0  # also those that did not decode
    damaged: int = 0  # of these: did not decode, or were completed from other frames


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
    """Opens a file, and gives its container and the video track that it shows by default.

    That is the first one that is marked so, or else the first one, cover pictures apart.
    Decoders run on one thread. Whatever libav or PyAV raises while the file is open becomes a
    `BadVideo`, so that one file cannot end a run over many.

    Raises:
        BadVideo: the file has nothing that can be decoded as video, or the decoder fails on it.
    """
    options = {"protocol_whitelist": PROTOCOLS, "format_whitelist": CONTAINERS}
    options["max_pixels"] = str(max_pixels)  # the limit must hold while streams are probed, too
    with decoder_errors("the decoder fails on it"), _container(path, options) as container:
        container.flags &= ~Flags.gen_pts.value  # PyAV makes up missing stamps, and wrong ones
        stream = video_track(container)
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
        if error.errno == errno.EINVAL:  # libav knows it, but it is none of CONTAINERS
            raise BadVideo(*reasons.unread(path.name, _is_text(path))) from error
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


def _is_text(path: Path) -> bool:
    """Whether the file begins with 4 kB of UTF-8 text."""
    with path.open("rb") as file:
        head = file.read(4096)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # it may end within a character
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def address(path: Path) -> str:
    """Writes a path so that ffmpeg takes no part of it for a protocol, an option or a pattern."""
    return f"file:{path.absolute()}"


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> Probe:
    """Reads what a file declares, its first frame, and the times of all its packets.

    Raises:
        BadVideo: not even one frame can be decoded.
    """
    with opened(path, max_pixels) as (container, stream):
        clock = Clock(container, stream)
        frame = next(frames(container, stream, clock=clock), None)
        if frame is None:
            raise BadVideo("undecodable", "not one frame decodes")
        height, width = upright(frame)
        turned = turn(frame) if is_slanted(frame) else None
        rate = float(stream.average_rate) if stream.average_rate else None
        lead = duration.lead(container, float(clock.time(frame) * clock.unit))
    with opened(path, max_pixels) as (container, stream):  # opened again: not every file can seek
        times = _times(container, stream)
        seconds, gaps = duration.declared(path, container, stream, times), duration.gaps(times)
        seconds = seconds - lead if seconds else seconds
        seeks = bool(SEEKS & set(container.format.name.split(",")))
        return Probe(stream.index, height, width, seconds, rate, gaps, turned, seeks)


def frames(
    container: InputContainer,
    stream: VideoStream,
    tally: Tally | None = None,
    clock: Clock | None = None,
) -> Iterator[VideoFrame]:
    """Yields every frame that decodes, in order of output; damaged packets are skipped.

    They are counted in `tally`, and have the stamps of `clock`.
    """
    for packet in packets(container, stream):
        if clock:
            clock.correct(packet)
        yield from decoded(packet, tally)


def packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Yields the packets of a track that have content, and an empty one for the decoder's end.

    A packet without content must not reach the decoder before, which would take it for the end.
    """
    yield from (packet for packet in _until_broken(container, stream) if packet.size)
    end = av.Packet()
    end.stream = stream
    if stream.time_base is not None:
        end.time_base = stream.time_base
    yield end


def _until_broken(container: InputContainer, *streams: VideoStream) -> Iterator[av.Packet]:
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
    if packet.is_keyframe and packet.has_sidedata(ENCRYPTED):  # a slow question, 10 us
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


def video_track(container: InputContainer) -> VideoStream:
    tracks = container.streams.video
    films = [track for track in tracks if not track.disposition & Disposition.attached_pic]
    if not films:
        raise BadVideo("no_video", "a container without a video track")
    marked = (track for track in films if track.disposition & Disposition.default)
    film = next(marked, films[0])
    if film.codec_context is None:
        raise BadVideo("undecodable", "there is no decoder for its codec")
    return film


def lost(path: Path, seconds: float, tally: Tally, max_pixels: int = MAX_PIXELS) -> str:
    """Says what is missing from a file of which `seconds` of video are there, or nothing.

    A part is missing where the file declares more seconds, or where frames are damaged.
    """
    with opened(path, max_pixels) as (container, stream):  # before the times of its packets
        declared = duration.declared(path, container, stream, Times([], 0.0, 0.0)) or 0.0
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


def _times(container: InputContainer, stream: VideoStream) -> Times:
    """Reads the times of all packets, as the clock of `ingest.clock` has them."""
    stamps, others, clock = [], 0.0, Clock(container, stream)
    for packet in _until_broken(container):
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
    return Times(sorted(stamps), others, clock.shift / MICRO)


def _refuse_without_memory(error: BaseException) -> None:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        raise BadVideo("crashed", "the decoder needs more memory than it may have") from error


def _first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, without the path that the system repeats."""
    reason = getattr(error, "strerror", None) or str(error)
    return reason.splitlines()[0] if reason else type(error).__name__
