"""Encodes one shard: a list of source videos becomes a tar of clips and an index of all videos.

The tar is uncompressed, in WebDataset's naming (KEY.mp4, KEY.json) and sorted by key. Its bytes
depend on the list, the settings and the pinned ffmpeg, and not on the number of processes.
"""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pandas as pd

from autox3d.core import atomic, tables
from autox3d.core.errors import Refused
from autox3d.core.reasons import REASONS
from autox3d.core.values import Encoding
from autox3d.ingest import encode, source
from autox3d.ingest.encode import Encoded, Part
from autox3d.ingest.isolate import WorkerFailure, run_isolated
from autox3d.ingest.source import BadVideo

WORKER_MARGIN = 15.0  # s that a worker has in addition to ffmpeg's own timeout
Job = tuple[str, Part | None]  # path under the data root, and what of it is encoded
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


class Row(NamedTuple):
    """The outcome for one video: a row of data/index/*.parquet."""

    key: str
    shard: str  # file name of the tar
    offset: int  # bytes, of the MP4 within the tar; 0 where there is no clip
    length: int
    frames: int
    rate: int  # frames a second
    height: int  # px
    width: int
    sha256: str
    status: str  # ok, refused, missing
    reason: str  # a key of `reasons.REASONS`, or empty
    message: str
    encoder: str  # ffmpeg's version


def transcode(
    listing: Path,
    root: Path,
    shard: Path,
    index: Path,
    settings: Encoding,
    *,
    workers: int,
    progress: Progress,
) -> list[str]:
    """Writes `shard` and `index` for the videos in `listing`, whose paths are relative to `root`.

    `workers` videos are encoded at a time. A video that cannot be used is a row with its
    reason; how many may be lost is counted over all shards, by the stage `index`.

    Returns:
        the path of each refused video, with the reason

    Raises:
        Refused: a video has changed since it was listed.
    """
    videos = tables.read_table(listing).sort_values("key")
    _refuse_changed(videos, root)
    shard.parent.mkdir(parents=True, exist_ok=True)
    _sweep(shard)
    atomic.sweep(index)
    with (
        tempfile.TemporaryDirectory(dir=shard.parent, prefix=_prefix(shard)) as scratch,
        closing(_attempts(_jobs(videos), root, settings, scratch, workers)) as results,
    ):
        partial = Path(scratch) / "tar"
        with partial.open("wb") as file:
            pairs = zip(videos["key"], results, strict=True)
            rows = [*_rows(progress(pairs, len(videos)), file, shard.name, settings.fps)]
            file.flush()
            os.fsync(file.fileno())
        partial.replace(shard)
    tables.write_table(pd.DataFrame(rows, columns=list(Row._fields)), index)
    paths = dict(zip(videos["key"], videos["path"], strict=True))
    refused = (row for row in rows if row.status == "refused")
    return [f"{paths[row.key]} ({row.reason}: {row.message})" for row in refused]


def _jobs(videos: pd.DataFrame) -> list[Job]:
    """The path of each video, and what of it is encoded."""
    if "begin" not in videos:
        return [(path, None) for path in videos["path"]]
    spans = zip(videos["path"], videos["begin"], videos["end"], strict=True)
    return [(path, Part(begin, end)) for path, begin, end in spans]


def _attempts(
    jobs: list[Job], root: Path, settings: Encoding, scratch: str, workers: int
) -> Generator[Encoded | BadVideo | OSError | WorkerFailure, None, None]:
    return run_isolated(
        functools.partial(_attempt, root=root, settings=settings, scratch=Path(scratch)),
        jobs,
        workers=workers,
        timeout=settings.timeout + WORKER_MARGIN,
        memory_mb=settings.memory_mb,
    )


def _attempt(
    job: Job, root: Path, settings: Encoding, scratch: Path
) -> Encoded | BadVideo | OSError:
    """Runs in a worker: returns the clip, why there is none, or an error that ends the stage."""
    path, part = job
    try:
        video = source.locate(root, path)
        return encode.encode(video, settings, scratch / f"{os.getpid()}.mp4", part)
    except (BadVideo, OSError) as error:
        return error


def _refuse_changed(videos: pd.DataFrame, root: Path) -> None:
    """Refuses videos that differ from their list, which is all that the pipeline engine sees."""
    rows = zip(videos["path"], videos["size"], videos["mtime_ns"], strict=True)
    for path, size, mtime_ns in rows:
        listed = None if pd.isna(size) or size < 0 else (int(size), int(mtime_ns))
        try:
            stat = (root / path).stat()
            current = (stat.st_size, stat.st_mtime_ns)
        except OSError:  # a broken link, or no permission: the worker reports which
            current = None
        if current != listed:
            raise Refused(f"{root / path}: changed since it was listed. Run `make rescan`.")


def _rows(
    results: Iterable[tuple[str, Encoded | BadVideo | OSError | WorkerFailure]],
    file: BinaryIO,
    shard: str,
    rate: int,
) -> Iterator[Row]:
    """Writes each clip to the tar, and yields the row of each video."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for key, result in results:
            if isinstance(result, OSError):
                raise result
            row = Row(key, shard, 0, 0, 0, rate, 0, 0, "", "ok", "", "", encode.version())
            if isinstance(result, Encoded):
                yield _store(tar, row, result)
            elif isinstance(result, WorkerFailure):
                message = REASONS[result.reason]
                yield row._replace(status="refused", reason=result.reason, message=message)
            else:
                status = "missing" if result.reason == "missing" else "refused"
                yield row._replace(status=status, reason=result.reason, message=str(result))


def _store(tar: tarfile.TarFile, row: Row, clip: Encoded) -> Row:
    offset = _add(tar, f"{row.key}.mp4", clip.data)
    row = row._replace(
        offset=offset,
        length=len(clip.data),
        frames=clip.frames,
        height=clip.height,
        width=clip.width,
        sha256=clip.sha256,
    )
    about = ("key", "frames", "rate", "height", "width", "sha256")
    _add(tar, f"{row.key}.json", json.dumps({name: getattr(row, name) for name in about}).encode())
    return row


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Adds a member with fixed owner, mode and time, and returns the offset of its content."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
    padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return tar.offset - padded


def _prefix(shard: Path) -> str:
    return f".{shard.name}."


def _sweep(shard: Path) -> None:
    """Removes what a killed run has left; what it adds while it dies is left to the next run."""
    for folder in shard.parent.glob(f"{_prefix(shard)}*"):
        shutil.rmtree(folder, ignore_errors=True)
