"""Reads the clips of a table from their shards, one at a time.

The columns are numpy arrays that a process shares with its forks; 240,000 clips take about 20 MB.
Bytes are read with `pread`: no seek, no shared file position, and no read-ahead as with mmap.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autox3d.core import environment, tables
from autox3d.core.errors import Refused
from autox3d.vision.clips.format.decode import IndexedVideo
from autox3d.vision.tasks import boxes
from autox3d.vision.tasks.boxes import Crop
from autox3d.vision.tasks.task import Task, named

COLUMNS = ("key", "split", "shard", "offset", "length", "frames")
MOST_OPEN = 1024  # shards of a table that a process keeps open; at most a quarter of its limit


class Seen(NamedTuple):
    """What a training clip shows of its video."""

    first: int  # frame
    last: int  # frame
    crop: Crop


class Clips:
    """The N clips of one split of a table.

    task     the task that the labels are for
    keys     (N,) bytes, the videos' keys
    labels   (N, ...), by the task's `target`
    active   (N, M, 2), by the task's `active`: first and last frame of each label; None: all
    moments  (N,), by the task's `key_frame`: the frame in the middle of each clip; None: any
    most     boxes of a clip, at most; 0 for a task without
    frames   (N,) int64, frames of each video
    classes  class names, in the order of their numbers
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
        active: np.ndarray | None = None,
        moments: np.ndarray | None = None,
    ) -> None:
        """Takes the columns of the table; `load` reads them.

        Args:
            shards: the shards' folder
            names: the shards' file names
            shard: (N,) index of each clip's shard in `names`
            offset: (N,) bytes, start of each clip in its shard
            length: (N,) bytes
        """
        self._shards, self._names = shards, names
        self._shard, self._offset, self._length = shard, offset, length
        self.task, self.keys, self.labels = task, keys, labels
        self.frames, self.classes, self.active = frames, classes, active
        self.moments = moments
        self.most = max(map(len, labels), default=0) if task.boxed else 0
        self._open: OrderedDict[int, int] = OrderedDict()  # shard -> descriptor, latest used last
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = limit == resource.RLIM_INFINITY
        self._most_open = MOST_OPEN if unlimited else max(1, min(MOST_OPEN, limit // 4))

    @classmethod
    def load(
        cls, path: Path, *, split: str, half: str | None = None, shards: Path | None = None
    ) -> Clips:
        """Loads the clips of one split, or of one of the halves that the search uses.

        Raises:
            Refused: there is no such table, or it has no such clip.
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
        labels = task.target(rows)
        if task.boxed and (flaw := task.boxed.flaw(labels)):
            raise Refused(f"{path}: in split '{split}', {flaw}")
        shard, names = rows["shard"].factorize(sort=True)
        return cls(
            shards or environment.shards(),
            tuple(names),
            shard.astype(np.int32),
            rows["offset"].to_numpy(np.int64),
            rows["length"].to_numpy(np.int64),
            task=task,
            keys=np.array([key.encode() for key in rows["key"]]),
            labels=labels,
            frames=rows["frames"].to_numpy(np.int64),
            classes=tables.read_classes(path),
            active=task.active(rows) if task.active else None,
            moments=task.boxed.key_frame(rows) if task.boxed else None,
        )

    @classmethod
    def load_if_any(cls, path: Path, *, split: str) -> Clips | None:
        """Loads the clips of one split; None if the table has no clip of it."""
        has = split in set(tables.read_table(path, ["split"])["split"])
        return cls.load(path, split=split) if has else None

    def __len__(self) -> int:
        return len(self.labels)

    def labels_of(self, rows: np.ndarray, seen: Sequence[Seen]) -> np.ndarray:
        """The labels of clips: those of their videos, of which some hold for a time only.

        A label holds for a clip if it does at any frame from the clip's first to its last. Boxes
        are those of the part of the frame that the clip shows.

        Args:
            rows: (B,) the clips' videos
            seen: what each clip shows of its video

        Returns:
            (B, ...), -1 in place of a label that does not hold
        """
        labels = self.labels[rows]
        if self.task.boxed:
            pairs = zip(labels, seen, strict=True)
            return boxes.padded([boxes.shown(own, one.crop) for own, one in pairs], self.most)
        if self.active is None:
            return labels
        begin, end = np.array([(one.first, one.last) for one in seen])[:, :, None].swapaxes(0, 1)
        first, last = np.moveaxis(self.active[rows], 2, 0)
        holds = (first <= end) & (last >= begin) & (first <= last)
        return np.where(holds, labels, -1)

    def shares(self) -> np.ndarray | None:
        """The share of the time at which each class holds, mean over the videos: (C,) float64.

        None for a task whose labels have no times.
        """
        if self.active is None:
            return None
        (first, last), frames = np.moveaxis(self.active, 2, 0), self.frames[:, None]
        held = np.clip(np.minimum(last + 1, frames) - np.maximum(first, 0), 0, None) / frames
        found = np.zeros((len(self), len(self.classes) + 1))
        np.add.at(found, (np.arange(len(self))[:, None], self.labels), held)
        return found[:, :-1].clip(max=1.0).mean(0)  # -1, no label: the column behind the classes

    def boxes(self, row: int) -> np.ndarray | None:
        """The corners of a clip's boxes in the whole frame, (most, 4); None for a task without."""
        if self.task.boxed is None:
            return None
        return boxes.padded([self.labels[row]], self.most)[0, :, :4]

    def moment(self, row: int) -> int | None:
        """The frame in the middle of the clips of a video; None: they may be anywhere."""
        return None if self.moments is None else int(self.moments[row])

    def shuffle(self, rng: np.random.Generator) -> None:
        """Deals the labels, with their times, to other videos."""
        if self.active is None:
            rng.shuffle(self.labels)
            return
        order = rng.permutation(len(self))
        self.labels, self.active = self.labels[order], self.active[order]

    def bytes(self, index: int) -> bytes:
        """Reads the MP4 file of a clip.

        Raises:
            Refused: the shard is missing, or shorter than the table says.
        """
        length = int(self._length[index])
        data = os.pread(self._file(index), length, int(self._offset[index]))
        if len(data) != length:
            raise self._stale(index)
        return data

    def _file(self, index: int) -> int:
        """The descriptor of the clip's shard; the most recently used shards stay open."""
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
        """Opens a clip to decode frames from.

        Raises:
            Refused: the shard is missing, or not the one that the table describes.
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
        """The state without open files: another process opens its own."""
        return self.__dict__ | {"_open": OrderedDict()}
