"""Reads the sample tables of an MP4 with H.264 as arrays: which bytes are which frame.

Names follow ISO/IEC 14496-12 (boxes) and 14496-15 (avcC). A *sample* is one coded frame in
decoding order; a *rank* is a frame's position in presentation order. Edit lists are not applied:
ranks count every coded frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

START_CODE = b"\0\0\0\1"  # of a NAL unit in a byte stream (H.264, Annex B)
SLICE, IDR = (
    1,
    5,
)  # NAL unit types: a slice of any picture; a slice of a picture that resets the decoder
Span = tuple[int, int]  # first byte and the byte after the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp4:
    """The N samples of the video track, as arrays."""

    offset: np.ndarray  # (N,) int64, bytes from the beginning of the file
    size: np.ndarray  # (N,) int64, bytes
    order: np.ndarray  # (N,) int64, rank -> sample
    key: np.ndarray  # (N,) bool, decodable without any other sample
    reference: np.ndarray  # (N,) bool, false where no other sample is predicted from it
    parameters: bytes  # sequence and picture parameter sets, as a byte stream
    height: int
    width: int
    rate: Fraction  # frames a second, from the median duration

    @property
    def count(self) -> int:
        """Returns N."""
        return len(self.size)


def parse(data: bytes | memoryview) -> Mp4:
    """Parses the tables of the first video track.

    Raises:
        ValueError: the data is not a complete MP4 with an H.264 track.
    """
    try:
        return _parse(memoryview(data))
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(f"not a complete MP4 with H.264: {error!r}") from error


def _parse(data: memoryview) -> Mp4:
    media = _video_media(data)
    tables = dict(_boxes(data, *_find(data, media, b"minf", b"stbl")))
    size = _sizes(data, tables[b"stsz"])
    offset = _offsets(data, tables, size)
    if size.size == 0 or int((offset + size).max()) > len(data):
        raise ValueError("not a complete MP4 with H.264: frames are missing")
    duration = _per_sample(data, tables[b"stts"], len(size), ">u4")
    time = np.cumsum(duration) - duration
    if b"ctts" in tables:
        time = time + _per_sample(data, tables[b"ctts"], len(size), ">i4")
    key = np.ones(len(size), bool)
    if b"stss" in tables:
        marked = _column(data, tables[b"stss"], 4, ">u4", 1) - 1
        key[:] = False
        key[[i for i in marked if i == 0 or is_idr(data, int(offset[i]), int(size[i]))]] = True
    height, width, parameters = _avc(data, tables[b"stsd"])
    # nal_ref_idc, two bits in the header of a frame's first NAL unit, is 0 where nothing refers to
    # the frame. A frame that does not begin with a slice counts as a reference: always safe.
    header = np.frombuffer(data, np.uint8)[offset + 4]
    reference = ((header & 31) != SLICE) | ((header >> 5 & 3) != 0)
    timescale = _timescale(data, _find(data, media, b"mdhd"))
    return Mp4(
        offset=offset,
        size=size,
        order=np.argsort(time, kind="stable"),
        key=key,
        reference=reference,
        parameters=parameters,
        height=height,
        width=width,
        rate=Fraction(timescale, max(1, int(np.median(duration)))),
    )


def is_idr(data: memoryview, offset: int, size: int) -> bool:
    """Returns whether a sample is an IDR picture: no later frame refers to one before it.

    In an open group of pictures, frames after its key frame may refer to earlier ones.
    """
    end = offset + size
    while offset + 4 < end:
        kind = data[offset + 4] & 31
        if kind in (SLICE, IDR):
            return kind == IDR
        offset += 4 + int.from_bytes(data[offset : offset + 4])
    return False


def _boxes(data: memoryview, begin: int, end: int) -> Iterator[tuple[bytes, Span]]:
    """Yields the type and the content of each box in [begin, end)."""
    while begin + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, begin)
        header = 8
        if size == 1:  # the size follows in 64 bits
            size, header = struct.unpack_from(">Q", data, begin + 8)[0], 16
        elif size == 0:  # to the end of the file
            size = end - begin
        if size < header:
            raise ValueError("not a complete MP4 with H.264: a box of no size")
        yield kind, (begin + header, begin + size)
        begin += size


def _find(data: memoryview, within: Span, *path: bytes) -> Span:
    """Returns the content of the box at `path`, a list of types from the outermost inwards."""
    for kind in path:
        within = dict(_boxes(data, *within))[kind]
    return within


def _video_media(data: memoryview) -> Span:
    """Returns the content of the `mdia` box of the first video track."""
    movie = _find(data, (0, len(data)), b"moov")
    for kind, track in _boxes(data, *movie):
        if kind == b"trak":
            media = _find(data, track, b"mdia")
            begin, _ = _find(data, media, b"hdlr")
            if data[begin + 8 : begin + 12] == b"vide":
                return media
    raise ValueError("not a complete MP4 with H.264: no video track")


def _column(data: memoryview, table: Span, skip: int, kind: str, columns: int) -> np.ndarray:
    """Reads the (rows,) or (rows, columns) of a table that begins with its number of rows.

    `skip` is the offset of that number, in bytes; `kind` is numpy's name for the type of a cell.
    """
    begin = table[0] + skip
    (rows,) = struct.unpack_from(">I", data, begin)
    cells = np.frombuffer(data, kind, rows * columns, begin + 4).astype(np.int64)
    return cells if columns == 1 else cells.reshape(rows, columns)


def _per_sample(data: memoryview, table: Span, count: int, kind: str) -> np.ndarray:
    """Returns the (N,) values of a run-length table (stts, ctts)."""
    lengths = _column(data, table, 4, ">u4", 2)[:, 0]
    values = _column(data, table, 4, kind, 2)[:, 1]
    if int(lengths.sum()) != count:
        raise ValueError("not a complete MP4 with H.264: its tables differ in length")
    return np.repeat(values, lengths)


def _sizes(data: memoryview, table: Span) -> np.ndarray:
    """Returns the (N,) sizes in bytes (stsz); the table may hold one for all."""
    common, count = struct.unpack_from(">II", data, table[0] + 4)
    if common * count > len(data):
        raise ValueError("not a complete MP4 with H.264: frames are missing")
    if common:
        return np.full(count, common, np.int64)
    return np.frombuffer(data, ">u4", count, table[0] + 12).astype(np.int64)


def _offsets(data: memoryview, tables: dict[bytes, Span], size: np.ndarray) -> np.ndarray:
    """Returns the (N,) offsets in bytes, from the offsets of chunks (stco, co64) and stsc."""
    if b"stco" in tables:
        chunk = _column(data, tables[b"stco"], 4, ">u4", 1)
    else:
        chunk = _column(data, tables[b"co64"], 4, ">u8", 1)
    runs = _column(data, tables[b"stsc"], 4, ">u4", 3)
    held = np.repeat(runs[:, 1], np.diff(np.append(runs[:, 0] - 1, len(chunk))))
    if int(held.sum()) != len(size):
        raise ValueError("not a complete MP4 with H.264: its tables differ in length")
    first = np.cumsum(held) - held  # the first sample of each chunk
    before = np.cumsum(size) - size  # bytes of all samples before each sample
    chunk_of = np.repeat(np.arange(len(chunk)), held)
    return chunk[chunk_of] + before - before[first[chunk_of]]


def _timescale(data: memoryview, header: Span) -> int:
    """Returns the ticks a second of the track's times (mdhd)."""
    version = data[header[0]]
    return struct.unpack_from(">I", data, header[0] + (20 if version else 12))[0]


def _avc(data: memoryview, table: Span) -> tuple[int, int, bytes]:
    """Returns height, width and parameter sets from the `avc1` sample entry."""
    entries = dict(_boxes(data, table[0] + 8, table[1]))
    begin, end = entries[b"avc1"]
    width, height = struct.unpack_from(">HH", data, begin + 24)
    at, _ = _find(data, (begin + 78, end), b"avcC")
    if data[at + 4] & 3 != 3:
        raise ValueError("not an MP4 of ours: the lengths of its NAL units do not have four bytes")
    sets, at = [], at + 5
    for mask in (31, 255):  # how many sequence parameter sets, then picture parameter sets
        number, at = data[at] & mask, at + 1
        for _ in range(number):
            (length,) = struct.unpack_from(">H", data, at)
            sets.append(START_CODE + bytes(data[at + 2 : at + 2 + length]))
            at += 2 + length
    return height, width, b"".join(sets)


def byte_stream(data: memoryview, offset: int, size: int) -> bytes:
    """Returns a sample's NAL units with start codes in place of their lengths."""
    parts, end = [], offset + size
    while offset < end:
        length = int.from_bytes(data[offset : offset + 4])
        parts += [START_CODE, data[offset + 4 : offset + 4 + length]]
        offset += 4 + length
    return b"".join(parts)
