"""The clips of a table, read from their shards one by one.

Columns are numpy arrays, shared between a process and its forks; 240,000 clips take some 20 MB.
Bytes are read with `pread`: no seeking, no file position to share, no read-ahead as with mmap.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from autox3d.core import environment, tables
from autox3d.core.errors import Refused
from autox3d.vision.clips.format.decode import IndexedVideo
from autox3d.vision.tasks.task import Task, named

COLUMNS = ("key", "split", "shard", "offset", "length", "frames")
MOST_OPEN = 1024  # shards of a table that a process keeps open, and a quarter of its limit


class Clips:
    """N clips of one table.

    task     what their labels are for
    keys     (N,) bytes, the videos' keys
    labels   (N, ...), what the task makes of their rows
    frames   (N,) int64
    classes  names in the order of labels
    """

    def __init__(
        self,
        shards: Path,
        names: tuple[str, ...],
        shard: np.ndarray,
        offset: np.ndarray,
        length: np.ndarray,
        *,
        task: Task,
        keys: np.ndarray,
        labels: np.ndarray,
        frames: np.ndarray,
        classes: tuple[str, ...],
    ) -> None:
        """`names` of the shards in the folder; `shard` is each clip's number among them."""
        self._shards, self._names = shards, names
        self._shard, self._offset, self._length = shard, offset, length
        self.task, self.keys, self.labels = task, keys, labels
        self.frames, self.classes = frames, classes
        self._open: OrderedDict[int, int] = OrderedDict()  # shard -> file, the last used at the end
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = limit == resource.RLIM_INFINITY
        self._most_open = MOST_OPEN if unlimited else max(1, min(MOST_OPEN, limit // 4))

    @classmethod
    def load(
        cls, path: Path, *, split: str, half: str | None = None, shards: Path | None = None
    ) -> Clips:
        """The clips of one split; with `half`, those that the search uses for it alone.

        Raises:
            Refused: no such table, or no such clip in it.
        """
        task = named(tables.read_task(path))
        columns = [*COLUMNS, *task.columns, *(["half"] if half else [])]
        rows = tables.read_table(path, columns)
        rows = rows[rows["split"] == split]
        if half:
            rows = rows[rows["half"] == half]
        if rows.empty:
            which = f"half '{half}' of split '{split}'" if half else f"split '{split}'"
            raise Refused(f"{path}: no clip of {which}. Look at results/data.json for the reason.")
        shard, names = rows["shard"].factorize(sort=True)
        return cls(
            shards or environment.shards(),
            tuple(names),
            shard.astype(np.int32),
            rows["offset"].to_numpy(np.int64),
            rows["length"].to_numpy(np.int64),
            task=task,
            keys=np.array([key.encode() for key in rows["key"]]),
            labels=task.target(rows),
            frames=rows["frames"].to_numpy(np.int64),
            classes=tables.read_classes(path),
        )

    @classmethod
    def load_if_any(cls, path: Path, *, split: str) -> Clips | None:
        """The clips of one split, None where the table has none of it."""
        has = split in set(tables.read_table(path, ["split"])["split"])
        return cls.load(path, split=split) if has else None

    def __len__(self) -> int:
        return len(self.labels)

    def bytes(self, index: int) -> bytes:
        """The MP4.

        Raises:
            Refused: the shard is gone, or shorter than its index.
        """
        length = int(self._length[index])
        data = os.pread(self._file(index), length, int(self._offset[index]))
        if len(data) != length:
            raise self._stale(index)
        return data

    def _file(self, index: int) -> int:
        """Descriptor of the clip's shard; of all shards' those used last stay open."""
        number = int(self._shard[index])
        if number not in self._open:
            if len(self._open) >= self._most_open:
                os.close(self._open.popitem(last=False)[1])
            try:
                self._open[number] = os.open(self._path(index), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise Refused(
                    f"{self._path(index)}: there is no such file. Run the stage `transcode`."
                ) from error
        self._open.move_to_end(number)
        return self._open[number]

    def video(self, index: int) -> IndexedVideo:
        """The clip, to take frames from.

        Raises:
            Refused: the shard is gone, or not the one that the table describes.
        """
        data = self.bytes(index)
        try:
            video = IndexedVideo(data)
        except ValueError as error:
            raise self._stale(index) from error
        if video.count != self.frames[index]:
            raise self._stale(index)
        return video

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def _path(self, index: int) -> Path:
        return self._shards / self._names[int(self._shard[index])]

    def _stale(self, index: int) -> Refused:
        path = self._path(index)
        return Refused(f"{path}: not the shard that the table describes. Run `dvc repro`.")

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens its own files."""
        return self.__dict__ | {"_open": OrderedDict()}
