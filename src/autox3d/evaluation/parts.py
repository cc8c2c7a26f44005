"""The scores of an evaluation on their way: files of videos that are done, from every process.

A process writes the views that it has scored since its last part, now and then and when it is told
to stop. So an evaluation resumes, with any number of processes, and no process holds more than it
has scored itself, except for rank 0, which reads all parts at the end.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from autox3d.core import tables
from autox3d.core.errors import Refused
from autox3d.runtime.distributed import World
from autox3d.vision.clips.store import Clips

Row = dict[str, Any]  # one view of a video, see `evaluation.run`


class Parts:
    """The parts of one evaluation, in a folder that all ranks see.

    Args:
        folder: only for this evaluation; made if it does not exist
    """

    def __init__(self, folder: Path, clips: Clips, world: World) -> None:
        self.folder, self.clips, self.world = folder, clips, world
        folder.mkdir(parents=True, exist_ok=True)
        self._found = world.share(sorted(path.name for path in folder.glob("*.parquet")))
        self._written: list[str] = []

    def left(self) -> list[int]:
        """The rows of the videos that no part has, ascending; the same on every rank."""
        done = self.world.share(self._keys() if self.world.rank == 0 else set())
        return [row for row, key in enumerate(self.clips.keys.tolist()) if key not in done]

    def write(self, rows: Sequence[Row]) -> None:
        """Writes a part with all views of some videos; nothing where there are none."""
        if rows:
            name = f"{hashlib.sha256(rows[0]['key'].encode()).hexdigest()[:16]}.parquet"
            tables.write_table(pd.DataFrame(rows), self.folder / name, self.clips.classes)
            self._written.append(name)

    def table(self) -> pd.DataFrame | None:
        """All views, sorted by key, on rank 0; None on the others.

        Raises:
            Refused: rank 0 does not see a part of another rank.
        """
        written = [name for some in self.world.collect(self._written) for name in some]
        if self.world.rank:
            return None
        views = pd.concat(map(self._read, [*self._found, *written]), ignore_index=True)
        keys = views["key"].tolist()
        return views.iloc[sorted(range(len(keys)), key=keys.__getitem__)].reset_index(drop=True)

    def discard(self) -> None:
        """Deletes the parts, once what they say is kept elsewhere; for rank 0 to call."""
        shutil.rmtree(self.folder)

    def _keys(self) -> set[bytes]:
        keys = (tables.read_table(self.folder / name, ["key"])["key"] for name in self._found)
        return {key.encode() for some in keys for key in some.unique()}

    def _read(self, name: str) -> pd.DataFrame:
        path = self.folder / name
        if not path.exists():
            raise Refused(
                f"{path}: rank 0 does not see this file of another rank. "
                f"Run again, where all ranks see the same {self.folder}."
            )
        return tables.read_table(path)
