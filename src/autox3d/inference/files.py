"""Any video file as frames at a constant rate, upright; for raw data and whoever looks at it.

    N frames at constant rate, F frames as the file holds them, H x W pixels

What a container says of its frames is often wrong, so that nothing of it is believed unseen. The
time stamps of MP4 and Matroska tell where each frame is to be found; if a frame does not come out
of there, or the stamps make no sense, or in any other container, the file is decoded once from
end to end to learn its frames. Frames that no other is predicted from, and that are not asked
for, are skipped by the decoder.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from autox3d.ingest import source
from autox3d.vision.clips.format import mp4
from autox3d.vision.clips.format.decode import Video, rgb

STAMPED = {"mp4", "matroska"}  # containers, as libavformat names them, with a time for each frame
MAX_TICKS = 24 * 3600 * 30  # a day


class Packet(NamedTuple):
    """What a container says of a packet, in its own units of time."""

    pts: int
    dts: int
    duration: int  # 0: it does not say
    key: bool  # decodable alone, and so is all that follows it


class Stamps(NamedTuple):
    """Where the frames of a file are, by its packets; in order of presentation."""

    pts: np.ndarray  # (F,) int64, each frame's own, all different
    key: np.ndarray  # (F,) int64, pts of the packet to decode it from
    seek: np.ndarray  # (F,) int64, dts of that packet


class FileVideo:
    """Any video file, its frames numbered at a constant rate, upright.

    Frame i is the one on display at time i / rate, as ffmpeg's `fps` filter has it, so that a
    file and its transcoded clip show the same frames.
    """

    def __init__(self, path: Path, rate: int, max_pixels: int = source.MAX_PIXELS) -> None:
        self._path, self._max_pixels = path, max_pixels
        self.rate = Fraction(rate)
        with source.opened(path, max_pixels) as (container, stream):
            first = next(source.frames(container, stream), None)
            if first is None:
                raise source.BadVideo("undecodable", "not one frame decodes")
            self.height, self.width = source.upright(first)
            self._size = (first.height, first.width)
        self._stamps, self._shown = self._by_packets() or (None, self._by_frames())
        self.count = len(self._shown)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        ranks = np.asarray(indices, np.int64)
        if ranks.size == 0 or ranks.min() < 0 or ranks.max() >= self.count:
            raise ValueError(f"frames {ranks.tolist()} of a video of {self.count}")
        found = dict(self.play(np.unique(ranks)))
        return np.stack([found[rank] for rank in ranks.tolist()])

    def play(self, ranks: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(rank, uint8 (H, W, 3)) of each of these, which rise; one decode, a frame at a time.

        Raises:
            BadVideo: a frame that does not decode, although it did before.
        """
        left = deque(ranks.tolist())
        while left:
            numbers = np.unique(self._shown[left])
            found = self._sought(self._stamps, numbers) if self._stamps else self._scanned(numbers)
            for number, frame in found:
                if number != self._shown[left[0]]:
                    break
                while left and number == self._shown[left[0]]:
                    yield left.popleft(), pixels(frame, self._size)
            if left and not self._stamps:
                raise source.BadVideo("undecodable", f"frame {left[0]} does not decode")
            if left:  # the file does not hold what its packets promise
                shown = self._by_frames()
                self._shown = shown[np.minimum(np.arange(self.count), len(shown) - 1)]
                self._stamps = None

    def _by_packets(self) -> tuple[Stamps, np.ndarray] | None:
        """Where the frames are, and (N,) which is on display, if the packets can tell."""
        with source.opened(self._path, self._max_pixels) as (container, stream):
            packets, second = _packets(container, stream), stream.time_base
            step = 1 / (stream.average_rate or self.rate)
        stamps = _stamps(packets) if packets else None
        if packets is None or stamps is None or second is None:
            return None
        step = max(packets).duration * second or step
        times = [pts * second for pts in stamps.pts.tolist()]
        return stamps, at_rate(times, step, int(self.rate))

    def _by_frames(self) -> np.ndarray:
        """(N,) number of the frame on display, from a decode of everything."""
        times, last = [], Fraction(0)
        with source.opened(self._path, self._max_pixels) as (container, stream):
            for time, last, _ in timed(container, stream, int(self.rate)):  # noqa: B007
                times.append(time)
        return at_rate(times, last, int(self.rate))

    def _sought(self, stamps: Stamps, numbers: np.ndarray) -> Iterator[tuple[int, VideoFrame]]:
        """The frames of these numbers, by seeking; one that does not come is left out."""
        with source.opened(self._path, self._max_pixels) as (container, stream):
            rows = zip(stamps.seek[numbers], stamps.key[numbers], numbers, strict=True)
            for (seek, key), group in groupby(rows, itemgetter(0, 1)):
                wanted = {int(stamps.pts[number]): int(number) for *_, number in group}
                container.seek(int(seek), stream=stream)
                for pts, frame in _after(container, stream, int(key), set(wanted)):
                    yield wanted[pts], frame

    def _scanned(self, numbers: np.ndarray) -> Iterator[tuple[int, VideoFrame]]:
        """The frames of these numbers, decoding all before them."""
        wanted = set(numbers.tolist())
        with source.opened(self._path, self._max_pixels) as (container, stream):
            for number, frame in enumerate(source.frames(container, stream)):
                if number in wanted:
                    yield number, frame
                if number == numbers[-1]:
                    return


def open_video(path: Path, rate: int = 30) -> Video:
    """Any video file as frames at `rate` a second.

    Raises:
        BadVideo: nothing to decode in it.
    """
    return FileVideo(source.locate(path.parent, path.name), rate)


def _packets(container: InputContainer, stream: VideoStream) -> list[Packet] | None:
    """All packets of the video, in decoding order, if each promises one frame at one time."""
    if not STAMPED & set(container.format.name.split(",")):
        return None
    found = []
    try:
        for packet in container.demux(stream):
            if not packet.size:  # the end
                break
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                return None
            dts = packet.pts if packet.dts is None else packet.dts
            clean = packet.is_keyframe and _is_clean(packet, stream)
            found.append(Packet(packet.pts, dts, packet.duration or 0, clean))
    except FFmpegError:
        return None
    return found or None


def _is_clean(packet: av.Packet, stream: VideoStream) -> bool:
    """Whether nothing after this key frame refers to anything before it; of H.264's, not all."""
    if stream.codec_context.name != "h264":
        return True
    data = memoryview(packet)
    return mp4.is_idr(data, 0, len(data))


def _stamps(packets: list[Packet]) -> Stamps | None:
    """Each frame with the last key frame that it neither stands before nor is shown before."""
    keys: list[Packet] = []
    rows = []
    for packet in packets:
        if packet.key:
            keys.append(packet)
        key = next((key for key in reversed(keys) if key.pts <= packet.pts), None)
        if key is None:
            return None
        rows.append((packet.pts, key.pts, key.dts))
    table = np.array(sorted(rows), np.int64)
    return Stamps(*table.T) if (np.diff(table[:, 0]) > 0).all() else None


def _after(
    container: InputContainer, stream: VideoStream, key: int, wanted: set[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """The wanted frames by pts, as far as they come; decoding begins with the packet `key`."""
    decoder, missing, begun = stream.codec_context, set(wanted), False
    decoder.open(strict=False)  # before anything is skipped: some decoders look but once
    for packet in container.demux(stream):
        begun = begun or packet.pts == key
        if not begun:
            continue
        decoder.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        for frame in source.decoded(packet):
            if frame.pts in missing:
                missing.discard(frame.pts)
                yield frame.pts, frame
        if not missing:
            return


def pixels(frame: VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8, upright; at the `size` of the first frame should it have changed since."""
    if (frame.height, frame.width) != size:
        frame = frame.reformat(width=size[1], height=size[0], format="rgb24")
    shown, turn = rgb(frame), source.turn(frame)
    shown = shown.transpose(1, 0, 2) if turn.transpose else shown
    return shown[:: -1 if turn.flip else 1, :: -1 if turn.mirror else 1]


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


def nearest(value: Fraction) -> int:
    """Whole number; halves go up."""
    return math.floor(value + Fraction(1, 2))


def _seconds(frame: VideoFrame, ticks: int | None, otherwise: Fraction) -> Fraction:
    """A count of the frame's own time base."""
    if ticks is None or frame.time_base is None:
        return otherwise
    return ticks * frame.time_base
