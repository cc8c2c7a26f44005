"""Which files of a folder are videos, by their names: one rule for data sets and for `predict`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

# of files whose containers are read (`ingest.source.CONTAINERS`)
SUFFIXES = {".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2t", ".m2ts", ".m4v"}
SUFFIXES |= {".mk3d", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mqv", ".mts"}
SUFFIXES |= {".ogm", ".ogv", ".qt", ".tod", ".ts", ".vob", ".webm", ".wmv", ".xvid"}
LEFT_BY_SYSTEMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"}


def ignored(name: str) -> bool:
    """Whether a file or folder is no part of any data: hidden, or left there by a system.

    macOS writes `._NAME` beside each file on a foreign disk; it has the name of a video.
    """
    return name.startswith(".") or name.lower() in LEFT_BY_SYSTEMS


def is_video(path: PurePath) -> bool:
    """Whether a file's name ends as that of a video does."""
    return path.suffix.lower() in SUFFIXES


def kinds(paths: Iterable[PurePath]) -> str:
    """Counts files by their suffixes: `3 .txt, 1 .gif`; a file without one is named."""
    counts = Counter(path.suffix.lower() or path.name for path in paths)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
