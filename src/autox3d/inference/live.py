"""Reads a stream while it runs: a pipe, a camera, an address. Memory does not grow with its length.

    T frames of a clip, c its span in ticks of `RATE`, H x W pixels

The clips follow one another without a gap: ticks [0, c), [c, 2c), ... from the first frame. Which
frame is on display at a tick is the rule of `ingest.clock`, and which ticks a clip shows is that
of `views.clip_frames`, as for files; where such a clip is also one of `stream.windows`, the frames
are the same.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple, cast

import av
import numpy as np
import torch
from av.codec.context import ThreadType
from av.container import InputContainer
from av.container.core import Flags
from av.error import ExitError, FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec
from autox3d.inference import files
from autox3d.inference.stream import RATE, Window, small
from autox3d.ingest import source
from autox3d.ingest.clock import Clock, scaled
from autox3d.vision.clips import views
from autox3d.vision.clips.views import FramesRule

PIPE = "-"
CAMERA = "/dev/"  # an address that begins so is a camera of Video4Linux
PROTOCOLS = {  # of an address, by its beginning: all that may be opened for it, never a file
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,udp,tcp,tls,crypto",
    "http": "http,tcp",
    "https": "https,tls,tcp,crypto",
}
SILENCE = 10.0  # s without data after which a connection counts as lost
STILL = 10  # s; after a frame that is on display for longer, the clips begin anew


class Shown(NamedTuple):
    """A frame, and when it is on display: ticks [begin, end) since the first frame."""

    begin: int
    end: int
    frame: VideoFrame


class _Pipe:
    """Standard input for PyAV, which swallows an interrupt that is raised while it reads."""

    def __init__(self) -> None:
        self.interrupted = False

    def read(self, size: int) -> bytes:
        """What is there, at most `size` bytes; nothing at the end and after Ctrl-C."""
        try:
            return b"" if self.interrupted else os.read(0, size)
        except KeyboardInterrupt:
            self.interrupted = True
            return b""

    def interrupt(self, *_: object) -> None:
        """Takes the place of Python's own handler: what PyAV swallows is still known."""
        self.interrupted = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raises the interrupt where it is not swallowed."""
        if self.interrupted:
            raise KeyboardInterrupt


class Live:
    """An open stream; why it ended is known after its last frame."""

    def __init__(self, container: InputContainer, stream: VideoStream, pipe: _Pipe) -> None:
        self.lost = ""  # why the stream broke off; empty if it came to its end
        self.tally = source.Tally()
        self._container, self._stream, self._pipe = container, stream, pipe

    def demux(self, *streams: VideoStream) -> Iterator[av.Packet]:
        """The packets of the container; an error of libav ends them, and is kept in `lost`."""
        try:
            for packet in self._container.demux(*streams):
                self._pipe.check()
                yield packet
        except FFmpegError as error:
            silent = isinstance(error, ExitError)
            self.lost = f"no data for {SILENCE:.0f} s" if silent else error.strerror or "no reason"

    def shown(self) -> Iterator[Shown]:
        """Yields each frame once it is known how long it is on display, as `clock.at_rate` has it.

        Raises:
            BadVideo: the pictures are encrypted.
        """
        clock = Clock(self._container, self._stream)
        packets = cast(InputContainer, self)  # whose `demux` is all that is read of it
        held, first, begin, time = None, None, 0, 0
        for frame in source.frames(packets, self._stream, self.tally, clock):
            time = clock.time(frame)
            tick = scaled(time, clock.unit * RATE)
            first = tick if first is None else first
            tick = max(tick - first, begin)
            if held is not None and tick > begin:
                yield Shown(begin, tick, held)
            held, begin = frame, tick
        if held is not None and first is not None:
            after = scaled(time + clock.frames([time]).last, clock.unit * RATE) - first
            end = max(after, 1)  # a video has at least one tick
            if end > begin:
                yield Shown(begin, end, held)

    def windows(self, clip: ClipSpec, rule: FramesRule) -> Iterator[Window]:
        """Yields each clip as soon as its last frame is known.

        What is left at the end and shorter than a clip is left out, unless it is all there is: then
        its last frame is repeated, as for a short file.

        Raises:
            BadVideo: a frame cannot be used.
        """
        clips = _Clips(clip, rule)
        for shown in self.shown():
            yield from clips.take(shown)
        yield from clips.rest()


class _Clips:
    """Puts frames together to clips; it holds the pictures of one clip."""

    def __init__(self, clip: ClipSpec, rule: FramesRule) -> None:
        self._clip: ClipSpec = clip
        self._rule: FramesRule = rule
        self._span = int(views.span(clip.frames, clip.stride, RATE))
        self._start = self._end = self._count = 0  # ticks: of the clip, of what was shown; clips
        self._pictures: dict[int, Tensor] = {}  # by tick, of the clip in progress
        self._size: tuple[int, int] | None = None
        self._last: VideoFrame | None = None

    def take(self, shown: Shown) -> Iterator[Window]:
        """Yields the clips that a frame completes."""
        self._size, self._last = self._size or source.upright(shown.frame), shown.frame
        self._end = shown.end
        while (times := self._times())[0] < shown.end:
            mine = [time for time in times if shown.begin <= time < shown.end]
            if mine:
                self._pictures |= dict.fromkeys(mine, self._picture(shown.frame))
            if times[-1] >= shown.end:
                return
            yield self._window(times, self._start + self._span)
            self._start, self._pictures = self._start + self._span, {}
            self._count += 1
            if shown.end - shown.begin > STILL * RATE:
                self._start = max(self._start, shown.end)

    def rest(self) -> Iterator[Window]:
        """Yields the one clip of a stream that is shorter than a clip."""
        if self._count or self._last is None:
            return
        self._pictures[self._end - 1] = self._picture(self._last)
        times = views.clamp(np.array(self._times()), self._end).tolist()
        yield self._window(times, self._end)

    def _times(self) -> list[int]:
        """The ticks that the clip in progress shows."""
        clip, start = self._clip, Fraction(self._start)
        return views.clip_frames(start, clip.frames, clip.stride, RATE, self._rule).tolist()

    def _picture(self, frame: VideoFrame) -> Tensor:
        assert self._size is not None
        return small(files.pixels(frame, self._size), self._clip.short)

    def _window(self, times: list[int], end: int) -> Window:
        frames = torch.stack([self._pictures[time] for time in times])
        return Window(self._start / RATE, end / RATE, frames)


@contextmanager
def _heard(pipe: _Pipe) -> Iterator[None]:
    """Lets Ctrl-C reach the pipe, unless this process ignores it or is no main thread."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not (usual and threading.current_thread() is threading.main_thread()):
        yield
        return
    signal.signal(signal.SIGINT, pipe.interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def opened(address: str) -> Iterator[Live]:
    """Opens a stream: `-` for standard input, or a camera or an address of `PROTOCOLS`.

    Raises:
        Refused: it is none of these, or it cannot be opened.
        BadVideo: it has no video that can be decoded.
    """
    pipe = _Pipe()
    with _heard(pipe):
        yield from _live(address, pipe)


def _live(address: str, pipe: _Pipe) -> Iterator[Live]:
    limit = {"max_pixels": str(source.MAX_PIXELS)}
    try:
        container = _open(address, limit, pipe)
        pipe.check()
    except (FFmpegError, OSError) as error:
        pipe.check()
        why = "no answer" if isinstance(error, ExitError) else error.strerror
        fix = "Check that it sends video."
        raise Refused(f"{address}: cannot be read ({why}). {fix}") from error
    with source.decoder_errors("the decoder fails on it"), container:
        container.flags &= ~Flags.gen_pts.value
        stream = source.video_track(container)
        stream.codec_context.thread_type = ThreadType.NONE
        stream.codec_context.thread_count = 1
        stream.codec_context.options = limit
        yield Live(container, stream, pipe)


def _open(address: str, limit: dict[str, str], pipe: _Pipe) -> InputContainer:
    scheme, mark, _ = address.partition("://")
    if address == PIPE:
        options = {**limit, "protocol_whitelist": "pipe", "format_whitelist": source.CONTAINERS}
        return av.open(pipe, "r", options=options, metadata_errors="replace")
    if address.startswith(CAMERA):
        return av.open(address, format="v4l2", options={**limit, "protocol_whitelist": "file"})
    if not mark or scheme not in PROTOCOLS:
        known = ", ".join(f"{one}://" for one in PROTOCOLS)
        raise Refused(f"{address}: cannot be watched. Give {CAMERA}video0, or what begins {known}.")
    options = {**limit, "protocol_whitelist": PROTOCOLS[scheme]}
    options["format_whitelist"] = f"{source.CONTAINERS},rtsp"
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    times = (SILENCE, SILENCE)
    return av.open(address, options=options, metadata_errors="replace", timeout=times)
