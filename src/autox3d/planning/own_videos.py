"""The videos of a user's folder, looked at before any setting is chosen.

A folder has a folder for each class; or `train`, `val` (and `test`) with those. A list is a CSV
file (`planning.own_lists`). Videos of one recording are a group: they must not be in two splits, or
what is measured is memory.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from autox3d.core.errors import Refused
from autox3d.core.tables import DETECT, MULTILABEL
from autox3d.core.video_names import ignored, is_video, kinds
from autox3d.datasets.annotations import SPLITS
from autox3d.datasets.box_rows import SIDES
from autox3d.datasets.reading import composed, has_column
from autox3d.ingest.source import BadVideo, frames, opened
from autox3d.planning.own_lists import OwnVideo, has_several, of_boxes, of_list, of_several

SAMPLED = 48  # videos that are opened, to learn their length and size
NUMBERED = re.compile(r"(.*\D|)\d+\D*", re.DOTALL)  # what is before the last number of a name
USUAL = "the name up to its last number"


class Looks(NamedTuple):
    """What the opened videos are like."""

    opened: int
    unreadable: list[str]  # `PATH: reason`
    seconds: float  # median length
    shortest: float  # s, of nine tenths
    longest: float  # s
    short: int  # px, median of the shorter sides
    pixels: int  # of the largest frame


def top_of(given: Path) -> Path:
    """The folder that the paths begin in: the given one, or that of a list.

    Raises:
        Refused: there is none, or it is another file.
    """
    if not given.exists():
        raise Refused(f"{given}: there is no such folder. Give the folder with your class folders.")
    if given.is_dir():
        return given
    if given.suffix.lower() != ".csv":
        raise Refused(
            f"{given}: neither a folder nor a CSV file. Give the folder with your class folders."
        )
    return given.parent


def listed(given: Path, task: str | None = None) -> tuple[list[OwnVideo], list[str]]:
    """The videos of a folder or list by path, and remarks about other files.

    Args:
        task: what the labels are for; None: as the columns and labels of a list say

    Raises:
        Refused: it has no class folders, fewer than two classes, or no videos.
    """
    if given.is_file():
        boxed = task == DETECT or (task is None and has_column(given, SIDES[0]))
        several = not boxed and (task == MULTILABEL or (task is None and has_several(given)))
        read = of_boxes if boxed else of_several if several else of_list
        videos, left = read(given), []
    else:
        videos, left = _of_folders(given)
    classes = Counter(name for video in videos for name in video.names)
    if len(classes) < 2:
        one = (
            f"one class only, '{next(iter(classes))}'" if classes else "no videos in class folders"
        )
        fix = "Make a folder for each class, and put its videos into it."
        if given.is_file():
            one = one.replace("no videos in class folders", "no videos in it")
            fix = "Give each video a row with its path and label."
        raise Refused(f"{given}: {one}. {fix}")
    remarks = [f"left out, as no videos by their names: {kinds(left)}"] if left else []
    return sorted(videos, key=lambda video: video.path), remarks


def _of_folders(top: Path) -> tuple[list[OwnVideo], list[Path]]:
    """The videos of class folders, and the files that are none."""
    names = {entry.name for entry in _entries(top)}
    splits = sorted(names & set(SPLITS)) if "train" in names and names <= {*SPLITS} else [""]
    videos, left = [], []
    for split in splits:
        for path in _files(top / split):
            inner = path.relative_to(top / split).parts
            if len(inner) < 2 or not is_video(path):
                left.append(path)
                continue
            name = path.relative_to(top).as_posix()
            videos.append(OwnVideo(path=name, label=composed(inner[0]), split=split))
    loose = [path for path in left if is_video(path)]
    if loose and not videos:
        raise Refused(
            f"{top}: {len(loose)} videos in no class folder. Make a folder for each class, and put "
            "its videos into it."
        )
    return videos, left


def _entries(top: Path) -> list[os.DirEntry[str]]:
    """The folders of a folder, without those that systems leave there."""
    with os.scandir(top) as entries:
        return [entry for entry in entries if entry.is_dir() and not ignored(entry.name)]


def _files(top: Path) -> Iterator[Path]:
    """The files under a folder.

    Raises:
        Refused: a folder is a link, which no stage follows, or cannot be read.
    """
    for where, folders, names in os.walk(top, onerror=_raise):
        folders[:] = sorted(name for name in folders if not ignored(name))
        for name in folders:
            if Path(where, name).is_symlink():
                raise Refused(
                    f"{Path(where, name)}: a link to a folder. Put the folder itself there."
                )
        yield from (Path(where, name) for name in sorted(names) if not ignored(name))


def _raise(error: OSError) -> None:
    raise error


def grouped(videos: Sequence[OwnVideo], pattern: str | None) -> tuple[list[OwnVideo], str]:
    """The videos with their groups, and how they were found.

    A pattern is searched in the name of a video (without its suffix): its first group, or all that
    it matches, names the recording. Without one it is the name up to its last number, where that
    tells the videos of a class apart: `kitchen-7_03` is of `kitchen-7_`, while the videos `0001` to
    `0099`, or `pour_1` to `pour_9`, are recordings of their own.

    Raises:
        Refused: the pattern is none, or matches no name.
    """
    if pattern is None:
        return _by_number(videos)
    try:
        finds = re.compile(pattern).search
    except re.error as error:
        raise Refused(f"--groups: '{pattern}' is no regular expression: {error}.") from error
    found = []
    for video in videos:
        stem = Path(video.path).stem
        if (match := finds(stem)) is None:
            raise Refused(
                f"--groups: '{pattern}' is not in the name '{stem}'. Give a pattern for all names."
            )
        found.append(replace(video, group=next(iter(match.groups()), None) or match.group()))
    return found, f"--groups {pattern}"


def _by_number(videos: Sequence[OwnVideo]) -> tuple[list[OwnVideo], str]:
    of_class: dict[str, list[tuple[OwnVideo, str]]] = defaultdict(list)
    for video in videos:
        match = NUMBERED.fullmatch(Path(video.path).stem)
        of_class[video.label if video.labels is None else ""].append(
            (video, match.group(1) if match else "")
        )
    found = []
    for pairs in of_class.values():
        names = {name for _, name in pairs}
        useful = len(names - {""}) > 1  # else they count the videos, or the class
        found += [
            replace(video, group=name if useful and name else Path(video.path).as_posix())
            for video, name in pairs
        ]
    return found, USUAL


def same_content(top: Path, videos: Sequence[OwnVideo]) -> list[list[OwnVideo]]:
    """The sets of videos whose files are equal, byte for byte; only equal sizes are read."""
    sizes: dict[int, list[OwnVideo]] = defaultdict(list)
    for video in videos:
        sizes[(top / video.path).stat().st_size].append(video)
    digests: dict[str, list[OwnVideo]] = defaultdict(list)
    for several in sizes.values():
        for video in several if len(several) > 1 else []:
            with (top / video.path).open("rb") as file:
                digests[hashlib.file_digest(file, "sha256").hexdigest()].append(video)
    return [several for several in digests.values() if len(several) > 1]


def looks(
    top: Path,
    videos: Sequence[OwnVideo],
    progress: Callable[[Sequence[OwnVideo], int], Iterator[OwnVideo]],
) -> Looks:
    """Opens some of the videos, evenly spaced, and decodes one frame of each.

    Raises:
        Refused: none of them can be read.
    """
    step = max(1, len(videos) / SAMPLED)
    some = [videos[int(place * step)] for place in range(min(SAMPLED, len(videos)))]
    seconds, sides, bad = [], [], []
    for video in progress(some, len(some)):
        try:
            length, side = _glance(top / video.path)
        except BadVideo as error:
            bad.append(f"{top / video.path}: {error}")
            continue
        seconds.append(length)
        sides.append(side)
    if not seconds:
        raise Refused(f"{bad[0]}. None of {len(bad)} videos can be read: give other files.")
    sides.sort(key=min)
    return Looks(
        opened=len(some),
        unreadable=bad,
        seconds=median(seconds),
        shortest=sorted(seconds)[len(seconds) // 10],
        longest=max(seconds),
        short=min(sides[len(sides) // 2]),
        pixels=max(height * width for height, width in sides),
    )


def _glance(path: Path) -> tuple[float, tuple[int, int]]:
    """Seconds that a file declares, and height and width of its first frame.

    Raises:
        BadVideo: not a frame can be decoded.
    """
    with opened(path) as (container, stream):
        frame = next(iter(frames(container, stream)), None)
        if frame is None:
            raise BadVideo("undecodable", "not one frame decodes")
        declared = container.duration or 0
        return declared / 1e6, (frame.height, frame.width)
