"""How a file asks for its frames to be turned, as quarter turns and reflections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import SideData, SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

SLANT = 0.5  # degrees: ffmpeg itself takes an angle that close to a right one for it


class Turn(NamedTuple):
    """The steps that make a frame upright, in this order."""

    transpose: bool
    mirror: bool  # swaps left and right
    flip: bool  # swaps top and bottom


def turn(frame: VideoFrame) -> Turn:
    """Returns the turn that the file asks for, rounded to a multiple of 90 degrees."""
    a, b, c, d = _matrix(frame)
    if abs(a) >= abs(b):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def is_slanted(frame: VideoFrame) -> bool:
    """Whether the file asks for a turn that is no multiple of 90 degrees."""
    a, b, _, _ = _matrix(frame)
    off = math.degrees(math.atan2(b, a)) % 90
    return min(off, 90 - off) > SLANT


def _matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d): a pixel (x, y) is shown at (a x + c y, b x + d y), plus a shift."""
    # `frame.side_data` would keep the frame: it refers to the frame, and the frame to it
    data: Mapping[str, SideData] = SideDataContainer(frame)  # pyright: ignore[reportCallIssue]
    matrix = data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].tolist()
    return a, b, c, d


def _unnamed(cls: type[SideDataType], number: int) -> SideDataType:
    """Returns a member for a type of side data that PyAV has no name of."""
    member = object.__new__(cls)
    member._value_, member._name_ = number, f"UNNAMED_{number}"
    return member


# PyAV 18.1 refuses all side data of a frame, the display matrix too, if it has no name for one
# kind, such as the view of MV-HEVC (29) or EXIF (31). `_missing_` is Enum's hook for such values.
SideDataType._missing_ = classmethod(_unnamed)  # pyright: ignore[reportAttributeAccessIssue]


def upright(frame: VideoFrame) -> tuple[int, int]:
    """Returns height and width of a frame after it is turned as the file asks."""
    turned = turn(frame).transpose
    return (frame.width, frame.height) if turned else (frame.height, frame.width)
