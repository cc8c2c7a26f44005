"""The table of videos, and for each shard the list of files that `transcode` works off.

A shard's list holds no label and no split, and a video's shard follows from its key alone: a
corrected label transcodes nothing again, and one more video touches one shard.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from autox3d.core.errors import Refused
from autox3d.core.tables import write_table
from autox3d.datasets.annotations import Annotations, Video

LIST = ["key", "path", "size", "mtime_ns"]  # what `transcode` needs, and no more
TABLE = ["key", "video", "path", "label", "split", "shard", "status", "reason", "message"]
TEXT = [column for column in TABLE if column != "shard"]
WHOLE = ["shard", "size", "mtime_ns"]


class Found(NamedTuple):
    """What a look at a file's entry in its folder tells."""

    status: str  # "listed", "missing" or "refused"
    reason: str  # of a refusal: one of those that `transcode` gives
    message: str
    size: int  # bytes
    mtime_ns: int  # since 1970


def key(name: str) -> str:
    """A name for the members of a tar: no dot, no slash; the id itself where it is such a name."""
    if re.fullmatch(r"[\w-]{1,100}", name, re.ASCII):
        return name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[-60:]
    return f"{plain}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def shard(name: str, shards: Sequence[int]) -> int:
    """The shard of a key: a hash, so that other videos do not move it."""
    digest = hashlib.sha256(name.encode()).digest()
    return shards[int.from_bytes(digest[:8], "big") % len(shards)]


def look(root: Path) -> Callable[[str], Found]:
    """A function from a path under `root` to what is there; it opens nothing.

    A file counts when it is a regular file and, links followed, lies under the data root.
    """
    top = root.resolve()
    # one answer for all the videos of a folder: a few system calls a video matter on a cluster
    within = functools.cache(lambda folder: Path(os.path.realpath(folder)).is_relative_to(top))

    def at(path: str) -> Found:
        file = root / path
        try:
            entry = file.lstat()
            if stat.S_ISLNK(entry.st_mode):
                entry, inside = file.stat(), Path(os.path.realpath(file)).is_relative_to(top)
            else:
                inside = within(file.parent)
        except (FileNotFoundError, NotADirectoryError):
            return Found("missing", "missing", "there is no such file", 0, 0)
        except OSError as error:
            return Found("refused", "unreadable", f"cannot be opened ({error.strerror})", 0, 0)
        if not inside:
            return Found("refused", "outside", "a link out of the data root", 0, 0)
        if not stat.S_ISREG(entry.st_mode):
            return Found("refused", "not_a_video", "no regular file", 0, 0)
        return Found("listed", "", "", entry.st_size, entry.st_mtime_ns)

    return at


def videos(
    found: Annotations,
    root: Path,
    folder: str,
    shards: Sequence[int],
    progress: Callable[[Sequence[Video], int], Iterable[Video]] = lambda rows, _: rows,
) -> pd.DataFrame:
    """One row a video, sorted by key: columns TABLE, and size and mtime_ns of the file.

    Raises:
        Refused: none of the videos is there, or a class has lost all of its own.
    """
    at = look(root)
    keys = [key(video.id) for video in found.videos]
    rows = pd.DataFrame(
        {
            "key": keys,
            "video": [video.source for video in found.videos],
            "path": [video.path for video in found.videos],
            "label": [video.label for video in found.videos],
            "split": [video.split for video in found.videos],
            "shard": [shard(name, shards) for name in keys],
        }
    )
    looks = [at(video.path) for video in progress(found.videos, len(found.videos))]
    rows = rows.join(pd.DataFrame(looks, columns=list(Found._fields)))
    rows = rows.astype(dict.fromkeys(TEXT, "str")).astype(dict.fromkeys(WHOLE, "int64"))
    _check(rows, found.classes, root / folder)
    return rows.sort_values("key", ignore_index=True)


def _check(rows: pd.DataFrame, classes: Sequence[str], folder: Path) -> None:
    twice = rows[rows["key"].duplicated()]
    if len(twice):  # two ids with one key: 1 in 2**48, or made on purpose
        raise Refused(f"{twice['path'].iloc[0]}: its name clashes with another's. Rename the file.")
    there = rows[rows["status"] == "listed"]
    if there.empty:
        first = "".join(f" ({row.path}: {row.message})" for row in rows[:1].itertuples())
        raise Refused(
            f"{folder}: none of the {len(rows)} videos is there{first}. "
            "Set annotate.videos in params.yaml, or the data root AUTOX3D_RAW."
        )
    trained = set(there.loc[there["split"] == "train", "label"])
    for name in classes:
        if name not in trained:
            raise Refused(
                f"{folder}: no training video of class '{name}' is there. "
                "Add one, or take the class out of the annotations."
            )


def write(
    rows: pd.DataFrame, classes: Sequence[str], table: Path, lists: Path, shards: Sequence[int]
) -> None:
    """The table, and a list for each shard; lists of shards that are no more go."""
    for number in shards:
        listed = rows[(rows["shard"] == number) & (rows["status"] == "listed")]
        write_table(listed[LIST], lists / f"{number}.parquet")
    for old in lists.glob("*.parquet"):
        if old.stem not in map(str, shards):
            old.unlink()
    write_table(rows[TABLE], table, classes)
