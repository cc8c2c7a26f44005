"""Which video files the arguments of a command mean: files, folders and patterns."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator
from pathlib import Path

from autox3d.core import video_names
from autox3d.core.errors import Refused


def video_files(videos: list[str]) -> list[Path]:
    """Lists the files of all arguments once each; a folder or pattern is sorted by name.

    Raises:
        Refused: a folder or pattern contains no video, or one is an address.
    """
    if addresses := [given for given in videos if "://" in given]:
        raise Refused(f"{addresses[0]}: an address. Download the video, and give the file.")
    return list(dict.fromkeys(path for given in videos for path in _files(given)))


def _files(given: str) -> Iterator[Path]:
    path, there = Path(given), []
    if path.is_dir():
        there = _videos_below(path)
    elif not path.exists() and glob.has_magic(given):
        names = glob.glob(given, recursive=True)  # noqa: PTH207  # also absolute ones
        files = (Path(name) for name in names if Path(name).is_file())
        there = [file for file in files if not video_names.ignored(file.name)]
    else:
        there = [path]
    if not there:
        raise Refused(f"{given}: no video found. Check the path.")
    yield from sorted(there)


def _videos_below(folder: Path) -> list[Path]:
    """The files of a folder whose names are a video's; a line on stderr says what is left out."""
    files = [
        path
        for path in folder.rglob("*")
        if not path.is_dir() and not any(map(video_names.ignored, path.relative_to(folder).parts))
    ]
    videos = [path for path in files if video_names.is_video(path)]
    others = sorted(set(files) - set(videos))
    if others:
        print(
            f"{folder}: {len(others)} of {len(files)} files are skipped, whose names are no "
            f"video's: {video_names.kinds(others)} (first: {others[0]}). Name a file to try it.",
            file=sys.stderr,
            flush=True,
        )
    return videos
