"""Frames out of video files: only the packets that are needed reach the decoder.

`IndexedVideo` reads the clips of our shards, or any MP4 with H.264; every other file is read by
`files.FileVideo`.

    T frames asked for, H x W pixels of the video

Packets that no other frame is predicted from, and that are not asked for, are dropped before the
decoder; this changes no bit of the others. Each call opens a decoder of its own: a used one
remembers the colour description of its last video. Decoders run on one thread, since the loader
runs one process a core, and PyAV's logging stays off: with frame threads it can deadlock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from autox3d.vision.clips.format import mp4

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
        wanted, shown = self._samples(indices), 0
        frames = np.empty((len(wanted), self.height, self.width, 3), np.uint8)
        for sample, frame in _decode(self._stream(indices), set(wanted.tolist())):
            frames[wanted == sample] = rgb(frame)
            shown += 1
        if missing := len(np.unique(wanted)) - shown:
            raise ValueError(f"{missing} frames do not decode")
        return frames

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


def rgb(frame: VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8. One converter a thread: a new one for each frame costs three times."""
    if not hasattr(_thread, "reformatter"):
        _thread.reformatter = VideoReformatter()
    return _thread.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
