"""Why a video cannot be used: the reasons, and the messages that more than one room gives.

`datasets` looks at each file's entry in its folder, `ingest` opens it later; what both can find
out is worded here once. Reasons and messages are columns of the tables of videos: a change of a
word changes their bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

SHOWN = 5  # videos that a message names
REASONS = {
    "missing": "there is no such file",
    "outside": "the path leaves the data root",
    "unreadable": "the system does not let us read it",
    "empty": "the file has no content",
    "not_a_video": "no video container that we know",
    "no_video": "a container without a video track",
    "undecodable": "not one frame decodes",
    "encrypted": "its pictures are encrypted",
    "unsupported": "the decoder, or the conversion of its colours, fails on it",
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


class _Why(NamedTuple):
    reason: str  # a key of REASONS
    message: str


class Unusable(_Why):
    """A reason for which a video cannot be used, and a message about this video, never empty."""

    __slots__ = ()

    def __new__(cls, reason: str, message: str) -> Unusable:
        assert reason in REASONS
        assert message.strip()
        return super().__new__(cls, reason, message)


MISSING = Unusable("missing", REASONS["missing"])
OUTSIDE = Unusable("outside", "a link out of the data root")
NOT_A_FILE = Unusable("not_a_video", "no regular file")


def unreadable(why: str) -> Unusable:
    """Returns the reason for a file that the system does not open; `why` is its own message."""
    return Unusable("unreadable", f"cannot be opened ({why})")


def unread(name: str, text: bool) -> Unusable:
    """Returns the reason for a file of a kind that is not read, and the command that converts it.

    `text` says that the file is plain text.
    """
    if text:
        return Unusable("not_a_video", "a text file, no video")
    file = PurePath(name)
    target = file.with_suffix(".mp4")
    words = ["ffmpeg", "-i", name, str(file.with_suffix(".mkv") if target == file else target)]
    message = f"this container is not read; convert it with `{shlex.join(words)}`"
    return Unusable("not_a_video", message)


def copy_of(path: str) -> Unusable:
    """Returns the reason for a training clip with the same bytes as that of the held-out video."""
    return Unusable("copy", f"the same content as {path}, which is held out")


def first_of(texts: Sequence[str]) -> str:
    """Joins the first SHOWN texts, one a video, and says how many more there are."""
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return "; ".join([*texts[:SHOWN], *more])
