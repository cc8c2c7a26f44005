"""Which of a user's videos are held out: whole recordings, and some of every class.

The choice follows from the names alone, so that the same folder gives the same split.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.planning.own_lists import OwnVideo

SHARE, SHARE_OF_FEW, FEW = 0.2, 0.3, 200  # held out; of fewer than FEW videos
NAMED = 3  # videos that a line names
Group = list[OwnVideo]


def split(
    given: Path, videos: Sequence[OwnVideo], copies: Sequence[Sequence[OwnVideo]]
) -> tuple[list[OwnVideo], list[str]]:
    """The videos with their splits, and lines about what was chosen and what leaks.

    Splits that the user gives are kept. Videos of one recording, and equal files, stay together.

    Args:
        copies: sets of videos with equal content

    Raises:
        Refused: a class cannot be in both splits.
    """
    if all(video.split for video in videos):
        return list(videos), leaks(videos, copies)
    groups = _joined([replace(video, split="") for video in videos], copies)
    held = _held_out(given, groups)
    found = [
        replace(video, split="val" if number in held else "train")
        for number, group in enumerate(groups)
        for video in group
    ]
    lines = [f"equal files, kept in one split: {_named(same)}" for same in copies]
    return sorted(found, key=lambda video: video.path), lines + two_labels(copies)


def leaks(videos: Sequence[OwnVideo], copies: Sequence[Sequence[OwnVideo]]) -> list[str]:
    """What is in two of the user's own splits: equal files, and recordings by their names."""
    now = {video.path: video.split for video in videos}
    lines = [
        f"leak: equal files in two splits: {_named(same)}"
        for same in copies
        if len({now[video.path] for video in same}) > 1
    ]
    groups: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        groups[video.group].add(video.split)
    across = sorted(name for name, splits in groups.items() if len(splits) > 1)
    if across:
        named = ", ".join(across[:NAMED])
        named += f" and {len(across) - NAMED} more" if len(across) > NAMED else ""
        lines.append(f"leak, if these are recordings: in two splits by their names: {named}")
    return lines + two_labels(copies)


def two_labels(copies: Sequence[Sequence[OwnVideo]]) -> list[str]:
    """A line for each set of equal files that are in two classes."""
    return [
        f"equal files in two classes: {_named(same)}. One of the labels is wrong"
        for same in copies
        if len({video.label for video in same}) > 1
    ]


def _named(videos: Sequence[OwnVideo]) -> str:
    more = f" and {len(videos) - NAMED} more" if len(videos) > NAMED else ""
    return ", ".join(video.path for video in videos[:NAMED]) + more


def _joined(videos: Sequence[OwnVideo], copies: Sequence[Sequence[OwnVideo]]) -> list[Group]:
    """The groups, in an order of their own; those that share equal files are one."""
    root = {video.group: video.group for video in videos}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for same in copies:
        for video in same[1:]:
            root[find(video.group)] = find(same[0].group)
    groups: dict[str, Group] = defaultdict(list)
    for video in videos:
        groups[find(video.group)].append(video)
    return [groups[name] for name in sorted(groups, key=_place)]


def _place(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()


def _held_out(given: Path, groups: Sequence[Group]) -> set[int]:
    """The numbers of the groups to hold out.

    The classes take turns, the one with the fewest recordings first; each takes the group that
    brings it nearest to its share and leaves every class something to train on.
    """
    of_class = [Counter(name for video in group for name in video.names) for group in groups]
    total = sum(of_class, Counter())
    share = SHARE_OF_FEW if total.total() < FEW else SHARE
    wanted = {label: max(1, round(share * count)) for label, count in total.items()}
    held: set[int] = set()
    now: Counter[str] = Counter()
    rare = sorted(total, key=lambda label: (sum(label in one for one in of_class), label))
    for label in rare:
        while now[label] < wanted[label]:
            best = _best(label, of_class, held, now, total, wanted)
            if best is None:
                break
            held.add(best)
            now += of_class[best]
        if not now[label]:
            names = sorted({group[0].group for group in groups if label in _labels(group)})
            raise Refused(
                f"{given}: all videos of class '{label}' are of one recording, '{names[0]}', so "
                "none can be held out. Add videos, or tell recordings apart by --groups PATTERN."
            )
    return held


def _labels(group: Group) -> set[str]:
    return {name for video in group for name in video.names}


def _best(
    label: str,
    of_class: Sequence[Counter[str]],
    held: set[int],
    now: Counter[str],
    total: Counter[str],
    wanted: dict[str, int],
) -> int | None:
    """The group of a class to hold out next: the one whose videos exceed the shares least."""
    fits: list[tuple[int, int]] = []
    for number, counts in enumerate(of_class):
        if number in held or label not in counts:
            continue
        if any(now[name] + count >= total[name] for name, count in counts.items()):
            continue  # nothing would be left to train on
        excess = sum(max(0, now[name] + n - wanted[name]) for name, n in counts.items())
        fits.append((excess, number))
    if not fits:
        return None
    excess, number = min(fits)
    return None if excess and now[label] and excess > wanted[label] // 2 else number
