"""Video files as they come: opened so that nothing but the file itself is touched.

A file is whatever its content says, not its name, and it may have been made to do harm: a
playlist named .mp4 that opens other files or hosts, a picture that fills the memory. So only
regular files under the data root are opened, only through the `file` protocol, only as one of
`FORMATS` (none of which refers to other files), and a decoder refuses frames over `max_pixels`.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

FORMATS = "mov,mp4,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg"  # as libavformat names them
PROTOCOLS = "file"
MAX_PIXELS = 7680 * 4320  # of a frame, where no setting says otherwise

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
    """What a file says of itself, and its first frame."""

    stream: int  # number of the video track within the file
    height: int  # px, upright: rotation applied
    width: int
    seconds: float | None  # declared duration of the video, where there is one
    rate: float | None  # declared frames a second, the mean


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
        container.seek(0)
        rate = float(stream.average_rate) if stream.average_rate else None
        return Probe(stream.index, height, width, _seconds(container, stream), rate)


def frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame that decodes, in order of output; damaged packets are passed over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:  # the container itself breaks off; what was read is still decoded
            packet = None
        if packet is None:
            return
        yield from decoded(packet)


def decoded(packet: av.Packet) -> Iterator[VideoFrame]:
    try:
        found = packet.decode()
    except FFmpegError:
        return
    yield from (frame for frame in found if isinstance(frame, VideoFrame))


def upright(frame: VideoFrame) -> tuple[int, int]:
    """Height and width after the rotation that the file asks for."""
    turned = frame.rotation % 180 != 0
    return (frame.width, frame.height) if turned else (frame.height, frame.width)


def _video_track(container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise BadVideo("undecodable", "there is no decoder for its codec")
            return stream
    raise BadVideo("no_video", "a container without a video track")


def _seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None:
        return None
    # Matroska and its like count from zero, wherever the first frame is
    stamps = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
    begin = min(stamps, default=0) * (stream.time_base or 0)
    return container.duration / av.time_base - max(0.0, float(begin))


def _first_line(error: BaseException) -> str:
    """Without the path that the system's messages repeat."""
    reason = getattr(error, "strerror", None) or str(error)
    return reason.splitlines()[0] if reason else type(error).__name__
