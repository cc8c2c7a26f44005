"""Frames out of video files: only the packets that are needed reach the decoder.

Two readers with one interface: `IndexedVideo` for the clips of our shards (any MP4 with H.264),
`FileVideo` for every other file, frames numbered at a constant rate.

    T frames asked for, H x W pixels of the video

Packets that no other frame is predicted from, and that are not asked for, are dropped before the
decoder; this changes no bit of the others. Each call opens a decoder of its own: a used one
remembers the colour description of its last video. Decoders run on one thread, since the loader
runs one process a core, and PyAV's logging stays off: with frame threads it can deadlock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from autox3d.video import mp4, source

_thread = threading.local()


class Video(Protocol):
    """What clips are cut from."""

    @property
    def count(self) -> int:
        """N, frames at constant rate."""
        ...

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def rate(self) -> Fraction:
        """Frames a second."""
        ...

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """(T, H, W, 3) uint8 RGB, one for each index, in their order; indices may repeat.

        Raises:
            ValueError: an index outside [0, N), or a frame that does not decode.
        """
        ...


class IndexedVideo:
    """An MP4 with H.264 in memory; its packets are found through its own tables."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._mp4 = mp4.parse(self._data)
        self.count = self._mp4.count
        self.height, self.width = self._mp4.height, self._mp4.width
        self.rate = self._mp4.rate

    def packets(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The samples that must be decoded to see the frames of these ranks, in decoding order.

        In each group of pictures: the references from its key frame to the last frame asked for,
        and the frames themselves.
        """
        tables, wanted = self._mp4, self._samples(indices)
        keys = np.flatnonzero(tables.key)
        group = np.searchsorted(keys, wanted, "right") - 1
        if group.min(initial=0) < 0:
            raise ValueError("the video does not begin with a key frame")
        needed = np.zeros(tables.count, bool)
        for number in np.unique(group):
            first, last = keys[number], wanted[group == number].max()
            needed[first : last + 1] = tables.reference[first : last + 1]
        needed[wanted] = True
        return np.flatnonzero(needed)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        wanted = self._samples(indices)
        shown = _decode(self._stream(indices), set(wanted.tolist()))
        found = {sample: _rgb(frame) for sample, frame in shown}
        if len(found) < len(np.unique(wanted)):
            raise ValueError(f"{len(np.unique(wanted)) - len(found)} frames do not decode")
        return np.stack([found[sample] for sample in wanted.tolist()])

    def _samples(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        ranks = np.asarray(indices, np.int64)
        if ranks.size == 0 or ranks.min() < 0 or ranks.max() >= self.count:
            raise ValueError(f"frames {ranks.tolist()} of a video of {self.count}")
        return self._mp4.order[ranks]

    def _stream(self, indices: Sequence[int] | np.ndarray) -> Iterator[av.Packet]:
        """The packets, each with its sample number for a time stamp."""
        head = self._mp4.parameters
        for sample in self.packets(indices).tolist():
            offset, size = int(self._mp4.offset[sample]), int(self._mp4.size[sample])
            packet = av.Packet(head + mp4.byte_stream(self._data, offset, size))
            packet.pts = packet.dts = sample
            head = b""
            yield packet


def _decode(packets: Iterable[av.Packet], wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
    """The wanted frames by time stamp, until all have come."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_type, decoder.thread_count = ThreadType.NONE, 1
    missing = set(wanted)
    for packet in (*packets, None):  # None: what the decoder still holds back
        for frame in decoder.decode(packet):
            if frame.pts in missing:
                missing.discard(frame.pts)
                yield frame.pts, frame
        if not missing:
            return


def _rgb(frame: VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8. One converter a thread: a new one for each frame costs three times."""
    if not hasattr(_thread, "reformatter"):
        _thread.reformatter = VideoReformatter()
    return _thread.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()


class FileVideo:
    """Any video file, its frames numbered at a constant rate, upright.

    The file is decoded once when it is opened: what containers say about their frames (their
    number, rate and times) is often wrong. Frame i is the one on display at time i / rate, as
    ffmpeg's `fps` filter has it, so that a file and its transcoded clip show the same frames.
    """

    def __init__(self, path: Path, rate: int, max_pixels: int = source.MAX_PIXELS) -> None:
        self._path, self._max_pixels = path, max_pixels
        self.rate = Fraction(rate)
        times: list[Fraction] = []
        last = Fraction(0)
        with source.opened(path, max_pixels) as (container, stream):
            for time, step, frame in timed(container, stream, rate):
                if not times:
                    self.height, self.width = source.upright(frame)
                    self._size = (frame.height, frame.width)
                times.append(time)
                last = step
        if not times:
            raise source.BadVideo("undecodable", "not one frame decodes")
        self._shown = at_rate(times, last, rate)
        self.count = len(self._shown)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        ranks = np.asarray(indices, np.int64)
        if ranks.size == 0 or ranks.min() < 0 or ranks.max() >= self.count:
            raise ValueError(f"frames {ranks.tolist()} of a video of {self.count}")
        wanted = self._shown[ranks].tolist()
        found: dict[int, np.ndarray] = {}
        with source.opened(self._path, self._max_pixels) as (container, stream):
            for number, frame in enumerate(source.frames(container, stream)):
                if number in wanted:
                    found[number] = pixels(frame, self._size)
                if number >= max(wanted):
                    break
        return np.stack([found[number] for number in wanted])


def pixels(frame: VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8, upright; at the `size` of the first frame should it have changed since."""
    if (frame.height, frame.width) != size:
        frame = frame.reformat(width=size[1], height=size[0], format="rgb24")
    return np.rot90(_rgb(frame), frame.rotation // 90)


def timed(
    container: InputContainer, stream: VideoStream, rate: int
) -> Iterator[tuple[Fraction, Fraction, VideoFrame]]:
    """Every frame with the second of its display, which never decreases, and how long it lasts."""
    step = 1 / (stream.average_rate or Fraction(rate))  # until a frame says its own
    time = due = shift = Fraction(0)
    for number, frame in enumerate(source.frames(container, stream)):
        new = _seconds(frame, frame.pts, due - shift) + shift
        if number and new < time:  # the clock was set back: it goes on from here
            new, shift = due, shift + due - new
        time = new
        step = _seconds(frame, frame.duration or None, step)
        due = time + step
        yield time, step, frame


def open_video(path: Path, rate: int = 30) -> Video:
    """Any video file as frames at `rate` a second.

    Raises:
        BadVideo: nothing to decode in it.
    """
    return FileVideo(source.locate(path.parent, path.name), rate)


def at_rate(times: Sequence[Fraction], step: Fraction, rate: int) -> np.ndarray:
    """(N,) number of the frame on display at each tick of a clock of `rate`.

    `times`, in seconds, never decrease. A frame is on display from the tick nearest to its time
    until the next one's, the last for `step` seconds; of several at one tick the last counts.

    Raises:
        BadVideo: the times span more than a day.
    """
    ticks = np.array([nearest(time * rate) for time in times], np.int64)
    end = max(nearest((times[-1] + step) * rate), int(ticks[0]) + 1)
    if end - ticks[0] > MAX_TICKS:
        raise source.BadVideo("too_long", f"its time stamps span {end - ticks[0]} frames")
    return np.searchsorted(ticks, np.arange(ticks[0], end), "right") - 1


MAX_TICKS = 24 * 3600 * 30  # a day


def nearest(value: Fraction) -> int:
    """Whole number; halves go up."""
    return math.floor(value + Fraction(1, 2))


def _seconds(frame: VideoFrame, ticks: int | None, otherwise: Fraction) -> Fraction:
    """A count of the frame's own time base."""
    if ticks is None or frame.time_base is None:
        return otherwise
    return ticks * frame.time_base
