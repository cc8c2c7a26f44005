"""The table of videos, and for each shard the list of the files that `transcode` encodes.

A shard's list holds no label and no split, and a video's shard follows from its key alone. So a
corrected label transcodes nothing again, and an added video changes one shard.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from autox3d.core import reasons
from autox3d.core.errors import Refused
from autox3d.core.reasons import Unusable
from autox3d.core.tables import DETECT, MULTILABEL, write_table
from autox3d.datasets import labels, moments
from autox3d.datasets.annotations import Annotations, Video, nearly_alike

LIST_COLUMNS = ["key", "path", "size", "mtime_ns"]  # what `transcode` needs, and no more
# of films with boxes it needs `moments.SPAN`, too
VIDEO_COLUMNS = ["key", "video", "path", "label", "split", "shard", "status", "reason", "message"]
TEXT_COLUMNS = [column for column in VIDEO_COLUMNS if column != "shard"]
INTEGER_COLUMNS = ["shard", "size", "mtime_ns"]
Progress = Callable[[Sequence[Video], int], Iterable[Video]]


class Entry(NamedTuple):
    """What the file system says about a video, which is not opened."""

    status: str  # "listed", "missing" or "refused"
    reason: str  # a key of `reasons.REASONS`; empty for a listed file
    message: str
    size: int  # bytes
    mtime_ns: int  # time of the last change, in ns since 1970


def key(name: str) -> str:
    """Makes a name for the members of a tar (no dot, no slash); most ids are such a name already.

    An id that is none is shortened to its last 60 characters, and a hash of the whole is added.
    """
    if re.fullmatch(r"[\w-]{1,100}", name, re.ASCII):
        return name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[-60:]
    return f"{plain}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def shard(name: str, shards: Sequence[int]) -> int:
    """Returns the shard of a key by its hash, so that adding other videos does not move it."""
    digest = hashlib.sha256(name.encode()).digest()
    return shards[int.from_bytes(digest[:8], "big") % len(shards)]


def entry_of(root: Path) -> Callable[[str], Entry]:
    """Returns a function from a path under the data root to its entry; it opens no file.

    A file is listed when it is a regular file and, with links followed, lies under the data root.
    """
    top = root.resolve()
    # one answer for all the videos of a folder: a few system calls a video matter on a cluster
    within = functools.cache(lambda folder: Path(os.path.realpath(folder)).is_relative_to(top))

    def entry(path: str) -> Entry:
        file = root / path
        try:
            status = file.lstat()
            if stat.S_ISLNK(status.st_mode):
                status, inside = file.stat(), Path(os.path.realpath(file)).is_relative_to(top)
            else:
                inside = within(file.parent)
        except (FileNotFoundError, NotADirectoryError):
            return _without_file("missing", reasons.MISSING)
        except OSError as error:
            return _without_file("refused", reasons.unreadable(str(error.strerror)))
        if not inside:
            return _without_file("refused", reasons.OUTSIDE)
        if not stat.S_ISREG(status.st_mode):
            return _without_file("refused", reasons.NOT_A_FILE)
        return Entry("listed", "", "", status.st_size, status.st_mtime_ns)

    return entry


def _without_file(status: str, why: Unusable) -> Entry:
    return Entry(status, *why, size=0, mtime_ns=0)


def list_videos(
    annotations: Annotations,
    root: Path,
    folder: str,
    shards: Sequence[int],
    progress: Progress = lambda videos, _: videos,
) -> pd.DataFrame:
    """Looks up every annotated video under the data root; `folder` is for messages alone.

    Returns one row a video, sorted by key: VIDEO_COLUMNS, and size and mtime_ns of the file.

    Raises:
        Refused: none of the videos exists, or none of the training videos of some class.
    """
    entry, videos = entry_of(root), annotations.videos
    keys = [key(video.id) for video in videos]
    rows = pd.DataFrame(
        {
            "key": keys,
            "video": [video.source for video in videos],
            "path": [video.path for video in videos],
            "label": [video.label for video in videos],
            "split": [video.split for video in videos],
            "shard": [shard(name, shards) for name in _dealt(annotations, keys)],
        }
    )
    entries = [entry(video.path) for video in progress(videos, len(videos))]
    rows = rows.join(pd.DataFrame(entries, columns=list(Entry._fields)))
    if annotations.task == MULTILABEL:
        rows = rows.assign(**labels.columns(videos))
    if annotations.task == DETECT:
        rows = rows.assign(**moments.columns(videos))
    rows = rows.astype(dict.fromkeys(TEXT_COLUMNS, "str"))
    rows = rows.astype(dict.fromkeys(INTEGER_COLUMNS, "int64"))
    _check(rows, annotations.classes, root / folder)
    return rows.sort_values("key", ignore_index=True)


def _dealt(annotations: Annotations, keys: Sequence[str]) -> Sequence[str]:
    """What decides on the shard of each video; the pieces of a film lie together."""
    if annotations.task != DETECT:
        return keys
    return [key(video.source) for video in annotations.videos]


def remarks(rows: pd.DataFrame, annotated: Annotations, root: Path) -> Iterator[str]:
    """Yields what the user should know of a data set that is none the less used.

    Missing videos, with the place of their annotation and a file that may be meant; classes that
    differ by capitals only.
    """
    places = {video.path: video.place for video in annotated.videos}
    missing = sorted(rows.loc[rows["status"] == "missing", "path"])
    if missing:
        texts = [f"{path} ({places[path]})" for path in missing]
        for number, path in enumerate(missing[: reasons.SHOWN]):
            if near := spelt_otherwise(root, path):
                texts[number] = f"{path} ({places[path]}; there is {near})"
        named = reasons.first_of(texts)
        yield f"{len(missing)} missing: {named}. The stage `index` names all"
    for names in nearly_alike(annotated.classes):
        yield f"{len(names)} classes that differ by capitals only: {', '.join(map(repr, names))}"


def spelt_otherwise(root: Path, path: str) -> str | None:
    """Finds a file whose path differs by capitals, by the form of accents, or by backslashes only.

    Both paths are relative to `root`; None: there is no such file.
    """
    plain = lambda name: unicodedata.normalize("NFC", name).casefold()  # noqa: E731
    found = Path()
    for part in path.replace("\\", "/").split("/"):
        try:
            names = sorted(file.name for file in (root / found).iterdir())
        except OSError:  # no folder, or not one of ours
            return None
        alike = [name for name in names if plain(name) == plain(part)]
        if not alike:
            return None
        found /= part if part in alike else alike[0]
    return found.as_posix()


def _check(rows: pd.DataFrame, classes: Sequence[str], folder: Path) -> None:
    duplicates = rows[rows["key"].duplicated()]
    if len(duplicates):  # two ids with one key: 1 in 2**48, or made on purpose
        path = duplicates["path"].iloc[0]
        raise Refused(f"{path}: its name clashes with another's. Rename the file.")
    listed = rows[rows["status"] == "listed"]
    if listed.empty:
        first = "".join(f" ({row.path}: {row.message})" for row in rows[:1].itertuples())
        raise Refused(
            f"{folder}: none of the {len(rows)} videos exists{first}. "
            "Set annotate.videos in params.yaml, or the data root AUTOX3D_RAW."
        )
    trained = set(labels.each(listed[listed["split"] == "train"]))
    for name in classes:
        if name not in trained:
            raise Refused(
                f"{folder}: no training video of class '{name}' exists. "
                "Add one, or take the class out of the annotations."
            )


def write(
    rows: pd.DataFrame, annotated: Annotations, table: Path, lists: Path, shards: Sequence[int]
) -> None:
    """Writes the table of videos, and one list a shard into the folder `lists`.

    Lists of shards that no longer exist are deleted.
    """
    cut = moments.SPAN if annotated.task == DETECT else ()
    for number in shards:
        listed = rows[(rows["shard"] == number) & (rows["status"] == "listed")]
        write_table(listed[[*LIST_COLUMNS, *cut]], lists / f"{number}.parquet")
    for old in lists.glob("*.parquet"):
        if old.stem not in map(str, shards):
            old.unlink()
    more = {MULTILABEL: labels.LISTS, DETECT: (*moments.LISTS, *moments.SPAN)}
    several = more.get(annotated.task, ())
    write_table(rows[[*VIDEO_COLUMNS, *several]], table, annotated.classes, annotated.task)
