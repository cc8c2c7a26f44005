"""Reads any video file as upright frames at a constant rate.

    N frames at the constant rate, F frames in the file, H x W pixels

Which frame is on display when is the rule of `ingest.clock`. What a container declares about its
frames is often wrong, so it is checked against the frames that decode. The time stamps of MP4 and
Matroska give the position of each frame. If a frame is not found there, if what the index calls a
key frame is none to the decoder, if the stamps are inconsistent, and in any other container, the
file is decoded once from end to end to list its frames. The decoder skips frames that are not
needed if no other frame is predicted from them.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby, islice
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
from autox3d.ingest.clock import ERROR, Clock, Frames, TooLong, at_rate
from autox3d.ingest.upright import turn, upright
from autox3d.vision.clips.format import mp4
from autox3d.vision.clips.format.decode import Video, rgb

STAMPED = {"mp4", "matroska"}  # containers with a time for each frame, by libavformat's names
LONG = 3600  # s, after which frames may not be shown for longer than STILL in the mean
STILL = 10  # s
NEAR = 32  # key frames before a frame, in the file, among which its own is looked for


class Stamps(NamedTuple):
    """The positions of the frames of a file, from its packets, in order of presentation."""

    pts: np.ndarray  # (F,) int64, of each frame, all different
    key: np.ndarray  # (F,) int64, pts of the packet from which to decode the frame
    seek: np.ndarray  # (F,) int64, dts of that packet


class FileVideo:
    """A video file as upright frames, numbered at a constant rate.

    Frame i is the one on display at tick i by the rule of `ingest.clock`, so that a file and its
    transcoded clip show the same frames.
    """

    def __init__(self, path: Path, rate: int, max_pixels: int = source.MAX_PIXELS) -> None:
        self._path, self._max_pixels = path, max_pixels
        self.rate = Fraction(rate)
        self._tally = source.Tally()
        with source.opened(path, max_pixels) as (container, stream):
            first = next(source.frames(container, stream), None)
            if first is None:
                raise source.BadVideo("undecodable", "not one frame decodes")
            self.height, self.width = upright(first)
        self._stamps, self._shown = self._by_packets() or (None, self._by_frames())
        self.count = len(self._shown)
        _refuse_still(int(self._shown[-1]) + 1, self.count / rate)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        ranks = np.asarray(indices, np.int64)
        if ranks.size == 0 or ranks.min() < 0 or ranks.max() >= self.count:
            raise ValueError(f"frames {ranks.tolist()} of a video of {self.count}")
        found = dict(self.play(np.unique(ranks)))
        return np.stack([found[rank] for rank in ranks.tolist()])

    def play(self, ranks: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (number, uint8 (H, W, 3)) for each of these ascending frame numbers.

        The file is decoded once, with one frame in memory at a time. Where the decoder finds
        damage, it is decoded anew from the beginning, because a damaged frame looks otherwise if
        frames before it have been skipped.

        Raises:
            BadVideo: a frame that decoded before does not decode.
        """
        left = deque(ranks.tolist())
        while left:
            numbers = np.unique(self._shown[left])
            decoded = (
                self._by_seeking(self._stamps, numbers)
                if self._stamps
                else self._by_scanning(numbers)
            )
            for number, frame in decoded:
                if number != self._shown[left[0]]:
                    break
                while left and number == self._shown[left[0]]:
                    yield left.popleft(), pixels(frame, (self.height, self.width))
            if left and not self._stamps:
                raise source.BadVideo("undecodable", f"frame {left[0]} does not decode")
            if left:  # the file does not contain what its packets declare
                shown = self._by_frames()
                self._shown = shown[np.minimum(np.arange(self.count), len(shown) - 1)]
                self._stamps = None

    def lost(self) -> str:
        """Says what is missing or damaged, as far as the frames that were read show it."""
        seconds = float(self.count / self.rate)
        return source.lost(self._path, seconds, self._tally, self._max_pixels)

    def _by_packets(self) -> tuple[Stamps, np.ndarray] | None:
        """The positions of the frames, and (N,) the one on display, if the packets declare them."""
        with source.opened(self._path, self._max_pixels) as (container, stream):
            packets, clock = _packets(container, stream), Clock(container, stream)
        stamps = None if packets is None else _stamps(packets)
        if packets is None or stamps is None:
            return None
        pts, last = stamps.pts.tolist(), packets[packets[:, 0].argmax()]
        before = pts[-1] - pts[-2] if len(pts) > 1 else -1
        duration = clock.duration(int(last[2]), before, 0)
        times = [stamp - clock.start for stamp in pts]
        return stamps, _at_rate(Frames(times, duration, clock.unit), int(self.rate))

    def _by_frames(self) -> np.ndarray:
        """(N,) the frame on display, from decoding the whole file."""
        self._tally = source.Tally()
        with source.opened(self._path, self._max_pixels) as (container, stream):
            clock = Clock(container, stream)
            frames = source.frames(container, stream, self._tally, clock)
            times = [clock.time(frame) for frame in frames]
        return _at_rate(clock.frames(times), int(self.rate))

    def _by_seeking(self, stamps: Stamps, numbers: np.ndarray) -> Iterator[tuple[int, VideoFrame]]:
        """Yields the frames with these numbers by seeking; one that is not found is left out."""
        with source.opened(self._path, self._max_pixels) as (container, stream):
            rows = zip(stamps.seek[numbers], stamps.key[numbers], numbers, strict=True)
            for (seek, key), group in groupby(rows, itemgetter(0, 1)):
                wanted = {int(stamps.pts[number]): int(number) for *_, number in group}
                container.seek(int(seek), stream=stream)
                for pts, frame in _after(container, stream, int(key), set(wanted), self._tally):
                    yield wanted[pts], frame

    def _by_scanning(self, numbers: np.ndarray) -> Iterator[tuple[int, VideoFrame]]:
        """Yields the frames with these numbers by decoding everything before them."""
        wanted = set(numbers.tolist())
        with source.opened(self._path, self._max_pixels) as (container, stream):
            for number, frame in enumerate(source.frames(container, stream)):
                if number in wanted:
                    yield number, frame
                if number == numbers[-1]:
                    return


def open_video(path: Path, rate: int = 30) -> Video:
    """Opens any video file as frames at `rate` a second.

    Raises:
        BadVideo: it has nothing that decodes.
    """
    return FileVideo(source.locate(path.parent, path.name), rate)


def _refuse_still(frames: int, seconds: float) -> None:
    """Refuses a few frames over hours, which one wrong time stamp is enough for.

    There would be as many clips to score as in a film of that length.
    """
    if seconds > LONG and seconds > STILL * frames:
        raise source.BadVideo("bad_times", f"its {frames} frames span {seconds:.0f} s")


def _packets(container: InputContainer, stream: VideoStream) -> np.ndarray | None:
    """All packets in decoding order, if each declares one frame with a time; else None.

    Each has four numbers, int64: pts, dts, duration (0 if it is not declared), in units of the
    container, and whether it decodes alone and everything after it decodes from there.

    None, too, if their decoding stamps are out of order: then so is what the decoder returns.
    """
    if not STAMPED & set(container.format.name.split(",")):
        return None
    found, last = array("q"), None
    try:
        for packet in container.demux(stream):
            if not packet.size:  # no frame, or the end
                continue
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                return None
            if packet.dts is not None and last is not None:
                step = packet.dts - last
                if step < 0 or step * packet.time_base > ERROR:
                    return None
            last = packet.dts if packet.dts is not None else last
            dts = packet.pts if packet.dts is None else packet.dts
            clean = packet.is_keyframe and _is_clean(packet, stream)
            found.extend((packet.pts, dts, packet.duration or 0, clean))
    except FFmpegError:
        return None
    return np.frombuffer(found, np.int64).reshape(-1, 4) if found else None


def _is_clean(packet: av.Packet, stream: VideoStream) -> bool:
    """Whether no frame after this key frame refers to one before it; in H.264, not always so."""
    if stream.codec_context.name != "h264":
        return True
    data = memoryview(packet)
    return mp4.is_idr(data, 0, len(data))


def _stamps(packets: np.ndarray) -> Stamps | None:
    """The position of each frame, with the last key frame before it in file and on display."""
    pts, dts, _, clean = packets.T
    keys, found = array("q"), array("q")  # numbers of packets: of key frames, and of each one's own
    for number in range(len(packets)):
        if clean[number]:
            keys.append(number)
        near = islice(reversed(keys), NEAR)
        key = next((key for key in near if pts[key] <= pts[number]), None)
        if key is None:
            return None
        found.append(key)
    order = np.argsort(pts, kind="stable")
    key = np.frombuffer(found, np.int64)[order]
    return Stamps(pts[order], pts[key], dts[key]) if (np.diff(pts[order]) > 0).all() else None


def _after(
    container: InputContainer,
    stream: VideoStream,
    key: int,
    wanted: set[int],
    tally: source.Tally,
) -> Iterator[tuple[int, VideoFrame]]:
    """Yields the wanted frames by pts, decoding from the packet `key` on, up to a damaged one.

    None is yielded if that packet is no key frame to the decoder, whatever the file's index says.
    """
    decoder, missing, begun, sound = stream.codec_context, set(wanted), False, False
    decoder.open(strict=False)  # before setting skip_frame, which some decoders read only once
    for packet in source.packets(container, stream):
        begun = begun or packet.pts == key
        if not begun:
            continue
        decoder.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        for frame in source.decoded(packet, tally):
            sound = sound or (frame.pts == key and bool(frame.key_frame))
            lies = not sound and frame.pts is not None and frame.pts >= key
            if tally.damaged or lies:
                return
            if frame.pts in missing:
                missing.discard(frame.pts)
                yield frame.pts, frame
        if not missing or tally.damaged:
            return


def pixels(frame: VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3), upright, at the `size` (H, W) of the first frame even if it has changed.

    Raises:
        BadVideo: libav cannot convert its colours, for instance those of the matrix YCgCo.
    """
    with source.decoder_errors(f"its colours (matrix {frame.colorspace}) cannot be converted"):
        steps = turn(frame)
        height, width = size[::-1] if steps.transpose else size
        if (frame.height, frame.width) != (height, width):
            frame = frame.reformat(width=width, height=height, format="rgb24")
        shown = rgb(frame)
    shown = shown.transpose(1, 0, 2) if steps.transpose else shown
    return shown[:: -1 if steps.flip else 1, :: -1 if steps.mirror else 1]


def _at_rate(frames: Frames, rate: int) -> np.ndarray:
    try:
        return at_rate(frames, rate)
    except TooLong as error:
        raise source.BadVideo("too_long", str(error)) from error
