"""One shard: a list of source videos to a tar of clips, and an index of what became of each.

The tar is plain and in WebDataset's naming (KEY.mp4, KEY.json), sorted by key; its bytes depend
on the list, the settings and the pinned ffmpeg alone, not on how many processes made it.
"""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pandas as pd

from autox3d.core import atomic, tables
from autox3d.core.errors import Refused
from autox3d.core.values import Encoding
from autox3d.ingest import encode, source
from autox3d.ingest.encode import Encoded
from autox3d.ingest.isolate import Lost, run_isolated
from autox3d.ingest.source import BadVideo

GRACE = 15.0  # s that a worker has beyond ffmpeg's own time-out
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


class Row(NamedTuple):
    """What became of one video; one row of data/index/*.parquet."""

    key: str
    shard: str  # file name of the tar
    offset: int  # bytes, of the MP4 within the tar; 0 where there is none
    length: int
    frames: int
    rate: int  # frames a second
    height: int  # px
    width: int
    sha256: str
    status: str  # ok, refused, missing
    reason: str  # a key of `source.REASONS`
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
) -> None:
    """Makes `shard` and `index` of the videos in `listing`, whose paths are relative to `root`.

    Raises:
        Refused: a video changed since it was listed, or too many are lost.
    """
    videos = tables.read_table(listing, ["key", "path", "size", "mtime_ns"]).sort_values("key")
    _refuse_changed(videos, root)
    shard.parent.mkdir(parents=True, exist_ok=True)
    _sweep(shard)
    atomic.sweep(index)
    with (
        tempfile.TemporaryDirectory(dir=shard.parent, prefix=_prefix(shard)) as scratch,
        closing(_attempts(videos["path"].tolist(), root, settings, scratch, workers)) as results,
    ):
        partial = Path(scratch) / "tar"
        with partial.open("wb") as file:
            pairs = zip(videos["key"], results, strict=True)
            rows = [*_rows(progress(pairs, len(videos)), file, shard.name, settings.fps)]
            file.flush()
            os.fsync(file.fileno())
        _refuse_losses(rows, listing, settings.max_lost)
        partial.replace(shard)
    tables.write_table(pd.DataFrame(rows, columns=list(Row._fields)), index)


def _attempts(
    paths: list[str], root: Path, settings: Encoding, scratch: str, workers: int
) -> Generator[Encoded | BadVideo | OSError | Lost, None, None]:
    return run_isolated(
        functools.partial(_attempt, root=root, settings=settings, scratch=Path(scratch)),
        paths,
        workers=workers,
        timeout=settings.timeout + GRACE,
        memory_mb=settings.memory_mb,
    )


def _attempt(
    path: str, root: Path, settings: Encoding, scratch: Path
) -> Encoded | BadVideo | OSError:
    """In a worker: the clip, why there is none, or what ends the whole stage."""
    try:
        found = source.locate(root, path)
        return encode.encode(found, settings, scratch / f"{os.getpid()}.mp4")
    except (BadVideo, OSError) as error:
        return error


def _refuse_changed(videos: pd.DataFrame, root: Path) -> None:
    """The list is what the pipeline's engine knows of the videos: it must be true."""
    rows = zip(videos["path"], videos["size"], videos["mtime_ns"], strict=True)
    for path, size, mtime_ns in rows:
        listed = None if pd.isna(size) or size < 0 else (int(size), int(mtime_ns))
        try:
            stat = (root / path).stat()
            there = (stat.st_size, stat.st_mtime_ns)
        except OSError:  # a broken link, no rights: what the worker says counts
            there = None
        if there != listed:
            raise Refused(f"{root / path}: changed since it was listed. Run `make rescan`.")


def _rows(
    results: Iterable[tuple[str, Encoded | BadVideo | OSError | Lost]],
    file: BinaryIO,
    shard: str,
    rate: int,
) -> Iterator[Row]:
    """Writes each clip to the tar, and says what became of each video."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for key, result in results:
            if isinstance(result, OSError):
                raise result
            row = Row(key, shard, 0, 0, 0, rate, 0, 0, "", "ok", "", "", encode.version())
            if isinstance(result, Encoded):
                yield _store(tar, row, result)
            elif isinstance(result, Lost):
                message = source.REASONS[result.reason]
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
    """Owner, rights and time are the same for all; where the content begins is returned."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
    padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return tar.offset - padded


def _refuse_losses(rows: list[Row], listing: Path, max_lost: float) -> None:
    present = [row for row in rows if row.status != "missing"]
    refused = [row for row in present if row.status == "refused"]
    if len(refused) <= max_lost * len(present):
        return
    reasons = ", ".join(f"{n} {why}" for why, n in Counter(r.reason for r in refused).most_common())
    first = refused[0]
    raise Refused(
        f"{listing}: {len(refused)} of {len(present)} videos cannot be used ({reasons}; first "
        f"'{first.key}': {first.message}). Replace them, or raise transcode.max_lost."
    )


def _prefix(shard: Path) -> str:
    return f".{shard.name}."


def _sweep(shard: Path) -> None:
    """What a run that was killed left behind; the next sweeps what one still dying may add."""
    for folder in shard.parent.glob(f"{_prefix(shard)}*"):
        shutil.rmtree(folder, ignore_errors=True)
