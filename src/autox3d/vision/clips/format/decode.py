"""Decodes chosen frames of a clip, and gives the decoder only the packets that they need.

`IndexedVideo` reads the clips of our shards, or any MP4 with H.264; every other file is read by
`inference.files.FileVideo`.

    T requested frames, H x W pixels of the video

Packets that are not requested, and that no other frame is predicted from, are dropped before the
decoder; this changes no bit of the other frames. Each call opens a decoder of its own, since a
used one keeps the colour description of its last video. Decoders run on one thread, since the
loader runs one process a core. PyAV's logging stays off: with frame threads it can deadlock.
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
    """A video with random access to its frames, from which clips are cut."""

    @property
    def count(self) -> int:
        """The number N of frames, at constant rate."""
        ...

    @property
    def height(self) -> int:
        """Pixels, after any rotation."""
        ...

    @property
    def width(self) -> int:
        """Pixels, after any rotation."""
        ...

    @property
    def rate(self) -> Fraction:
        """Frames a second."""
        ...

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns (T, H, W, 3) uint8 RGB frames in the order of the indices, which may repeat.

        Raises:
            ValueError: an index is outside [0, N), or a frame does not decode.
        """
        ...


class IndexedVideo:
    """An MP4 with H.264 in memory, whose packets are found through its sample tables."""

    def __init__(self, data: bytes) -> None:
        """Parses the tables of an MP4.

        Raises:
            ValueError: the data is not a complete MP4 with an H.264 track.
        """
        self._data = memoryview(data)
        self._mp4 = mp4.parse(self._data)
        self.count = self._mp4.count
        self.height, self.width = self._mp4.height, self._mp4.width
        self.rate = self._mp4.rate

    def packets(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the samples to decode for the frames of these ranks, in decoding order.

        In each group of pictures these are the references from its key frame to the last requested
        frame, and the requested frames themselves.

        Raises:
            ValueError: an index is outside [0, N), or the video does not begin with a key frame.
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
        """See `Video.frames`."""
        wanted, decoded = self._samples(indices), 0
        frames = np.empty((len(wanted), self.height, self.width, 3), np.uint8)
        for sample, frame in _decode(self._stream(indices), set(wanted.tolist())):
            frames[wanted == sample] = rgb(frame)
            decoded += 1
        if missing := len(np.unique(wanted)) - decoded:
            raise ValueError(f"{missing} frames do not decode")
        return frames

    def _samples(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the (T,) samples of frames that are given by rank."""
        ranks = np.asarray(indices, np.int64)
        if ranks.size == 0 or ranks.min() < 0 or ranks.max() >= self.count:
            raise ValueError(f"frames {ranks.tolist()} of a video of {self.count}")
        return self._mp4.order[ranks]

    def _stream(self, indices: Sequence[int] | np.ndarray) -> Iterator[av.Packet]:
        """Yields the packets to decode, each with its sample number as its time stamp."""
        head = self._mp4.parameters
        for sample in self.packets(indices).tolist():
            offset, size = int(self._mp4.offset[sample]), int(self._mp4.size[sample])
            packet = av.Packet(head + mp4.byte_stream(self._data, offset, size))
            packet.pts = packet.dts = sample
            head = b""
            yield packet


def _decode(packets: Iterable[av.Packet], wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
    """Yields (time stamp, frame) for the wanted time stamps, until all have come."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_type, decoder.thread_count = ThreadType.NONE, 1
    missing = set(wanted)
    for packet in (*packets, None):  # None flushes the decoder
        for frame in decoder.decode(packet):
            if frame.pts in missing:
                missing.discard(frame.pts)
                yield frame.pts, frame
        if not missing:
            return


def rgb(frame: VideoFrame) -> np.ndarray:
    """Converts a frame to (H, W, 3) uint8 RGB.

    Each thread keeps one converter: making one for each frame takes three times as long.
    """
    if not hasattr(_thread, "reformatter"):
        _thread.reformatter = VideoReformatter()
    return _thread.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
