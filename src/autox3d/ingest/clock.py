"""The rule of time: which frame of a file is on display at each tick of a constant rate.

Both readers follow it: `inference.files.FileVideo`, which `predict` reads, and the pinned ffmpeg,
which makes the clips that training reads. What is stated here is what that ffmpeg does with its
options of `FFMPEG` (fftools/ffmpeg_demux.c and ffmpeg_dec.c, libavcodec/decode.c, vf_fps.c), and
tests hold both readers and ffmpeg to the same numbered frames.

1. *Which frames.* All that decode, in the order in which the decoder returns them. A packet without
   content is skipped; it ends nothing.
2. *Which clock.* The stamps of the chosen track, less the start of the file: the first stamp of any
   track, or of this track alone in a container whose clock may jump (MPEG-TS, MPEG-PS, Ogg). In
   these, a jump of more than 10 s or back by more than 0.1 s is a discontinuity, as where two
   recordings were joined: the rest follows on. A smaller jump is a pause. In all other containers,
   stamps are taken as they are, but for one that is off by more than 30 hours, which is ignored.
3. *Which stamp of a frame.* The presentation stamp (pts) that its packet carries, or the decoding
   stamp (dts) of the packet that made the decoder return it if that has no pts, as in AVI with
   B-frames, or if more pts than dts were out of order so far. A frame with neither follows the last
   one after that one's duration.
4. *Rounded how.* A frame is on display from the tick nearest to its time until the tick of the next
   frame; halves are rounded away from zero. Of several frames at one tick the last one counts, and
   a frame before that is not shown again. The last frame lasts for its duration. The first tick is
   that of the first frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, chain
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

MICRO = 1_000_000  # ffmpeg compares stamps in microseconds
JUMP, BACK = 10, Fraction(1, 10)  # s: larger ones are discontinuities where the clock may jump
ERROR = 30 * 3600  # s: a stamp that is off by more is ignored where the clock may not jump
FFMPEG = {"dts_delta_threshold": JUMP, "dts_error_threshold": ERROR}  # its options before -i
MAX_TICKS = 24 * 3600 * 30  # frames of a day at 30 a second


class TooLong(ValueError):
    """The times of a video span more than a day."""


class Frames(NamedTuple):
    """The times of the frames of a file, in order of output."""

    times: Sequence[int]  # units of the track's clock, since the start of the file
    last: int  # how long the last frame is on display, in these units
    unit: Fraction  # s


class Clock:
    """Gives the packets and frames of one track their times, in one pass from its beginning."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.unit = stream.time_base or Fraction(1, MICRO)
        self._to_micro, self._from_micro = MICRO * self.unit, 1 / (MICRO * self.unit)
        self._jumps = Flags.ts_discont in Flags(container.format.flags)
        self._rate = stream.codec_context.framerate or stream.guessed_rate
        if self._jumps and stream.start_time is not None:
            start = self._micro(stream.start_time)
        else:
            start = container.start_time or 0
        self.start = self._units(start)  # units of the clock
        self.shift = 0  # microseconds that discontinuities have moved the clock by so far
        self._dts: int | None = None  # microseconds, of the last packet
        self._next: int | None = None  # and of the one after it, as expected
        self._best = _BestStamps()
        self._time: int | None = None  # units, of the last frame
        self._duration = 0

    def correct(self, packet: av.Packet) -> None:
        """Gives a packet its stamps since the start of the file, before it is decoded."""
        move = self._units(self.shift) - self.start
        dts = None if packet.dts is None else packet.dts + move
        pts = None if packet.pts is None else packet.pts + move
        if dts is not None and self._next is not None:
            off = self._micro(dts) - self._next
            if self._jumps and self._is_discontinuity(off):
                self.shift -= off
                dts -= self._units(off)
                pts = None if pts is None else pts - self._units(off)
            elif not self._jumps:
                pts = None if pts is not None and self._is_wrong(pts) else pts
                dts = None if self._is_wrong(dts) else dts
        packet.dts, packet.pts = _stamp(dts), _stamp(pts)
        if dts is not None:
            self._next = self._micro(dts)
        self._dts = self._next
        if self._next is not None and packet.duration:
            self._next += self._micro(packet.duration)
        elif self._next is not None and self._rate:
            self._next += scaled(MICRO, 1 / self._rate)

    def time(self, frame: VideoFrame) -> int:
        """Returns when a frame is on display, in units of the clock."""
        time = self._best(frame.pts, frame.dts)
        if time is None:
            time = 0 if self._time is None else self._time + self._duration
        difference = -1 if self._time is None else time - self._time
        self._duration = self.duration(frame.duration, difference, self._duration)
        self._time = time
        return time

    def duration(self, declared: int, difference: int, before: int) -> int:
        """Returns how long a frame is on display, if nothing comes after it, in units.

        `declared` is 0 where the file does not say; `difference` is the time since the frame before
        it, and `before` is that frame's duration.
        """
        made_up = declared == 1 and difference > 2  # libav writes 1 where it does not know
        if declared > 0 and not made_up:
            return declared
        if difference > 0:
            return difference
        if declared > 0:
            return declared
        if self._rate and (one := scaled(1, 1 / self._rate / self.unit)) > 0:
            return one
        return max(before, 1)

    def frames(self, times: Sequence[int]) -> Frames:
        """Puts together the times of all frames after the last one has been given its own."""
        return Frames(times, self._duration, self.unit)

    def _is_discontinuity(self, off: int) -> bool:
        assert self._dts is not None
        assert self._next is not None
        return abs(off) > JUMP * MICRO or self._next + off + BACK * MICRO < self._dts

    def _is_wrong(self, stamp: int) -> bool:
        assert self._next is not None
        return abs(self._micro(stamp) - self._next) > ERROR * MICRO

    def _units(self, micro: int) -> int:
        return scaled(micro, self._from_micro)

    def _micro(self, units: int) -> int:
        return scaled(units, self._to_micro)


class _BestStamps:
    """Chooses between a frame's pts and dts, as libavcodec's `best_effort_timestamp`."""

    def __init__(self) -> None:
        self._last: list[int | None] = [None, None]  # pts, dts
        self._faults = [0, 0]

    def __call__(self, pts: int | None, dts: int | None) -> int | None:
        for kind, (stamp, other) in enumerate(((pts, dts), (dts, pts))):
            last = self._last[kind]
            if stamp is not None and last is not None:
                self._faults[kind] += stamp <= last
            if stamp is not None or other is not None:
                self._last[kind] = other if stamp is None else stamp
        in_order = self._faults[0] <= self._faults[1]
        return pts if pts is not None and (in_order or dts is None) else dts


def at_rate(frames: Frames, rate: int) -> np.ndarray:
    """(N,) number of the frame on display at each tick of a clock with `rate` ticks a second.

    Raises:
        TooLong: the times span more than a day.
    """
    scale = frames.unit * rate
    end = frames.times[-1] + frames.last
    ticks = (scaled(time, scale) for time in chain(frames.times, [end]))
    begins = list(accumulate(ticks, max))
    count = max(begins[-1] - begins[0], 1)
    if count > MAX_TICKS:
        raise TooLong(f"its time stamps span {count} frames")
    starts = np.array([begin - begins[0] for begin in begins[:-1]], np.int64)
    return np.searchsorted(starts, np.arange(count), "right") - 1


def _stamp(value: int | None) -> int | None:
    """The value as a stamp of libav, which has 64 bits, or none."""
    return value if value is not None and abs(value) < 1 << 63 else None


def scaled(value: int, by: Fraction) -> int:
    """The whole number nearest to `value * by`; halves are rounded away from zero."""
    over, under = value * by.numerator, by.denominator
    whole = (2 * abs(over) + under) // (2 * under)
    return whole if over >= 0 else -whole
