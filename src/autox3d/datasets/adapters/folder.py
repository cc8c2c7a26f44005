"""Your own videos in folders: SPLIT/CLASS/.../VIDEO; in `test` also VIDEO alone, without a label.

Hidden files and folders (names that begin with a dot), and what systems leave in folders
(Thumbs.db), are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.core.video_names import ignored
from autox3d.datasets.annotations import SPLITS, Annotations, Files, Video
from autox3d.datasets.reading import join

REQUIRED = ()
OPTIONAL = ()


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Lists the files below the folder `videos`; the classes are the folders of its `train`.

    Raises:
        Refused: there is no folder `train`, a video is in no class folder, or a folder is a link.
    """
    del files
    top = root / videos
    if not (top / "train").is_dir():
        raise Refused(f"{top}: no folder 'train'. Put the videos into {videos}/SPLIT/CLASS/.")
    rows = []
    for split in SPLITS:
        for path in _walk(top / split):
            inside = path.relative_to(top).as_posix()
            _, *classes, _ = inside.split("/")
            if not classes and split != "test":
                raise Refused(f"{path}: in no class folder. Move it to {top / split}/CLASS/.")
            label = classes[0] if classes else None
            rows.append(Video(inside, inside, join(videos, inside), label, split, str(path)))
    classes = {path.name for path in (top / "train").iterdir() if path.is_dir()}
    return Annotations(rows, tuple(sorted(name for name in classes if not ignored(name))))


def _walk(top: Path) -> Iterator[Path]:
    """Yields the files under a folder in alphabetical order.

    Raises:
        Refused: a folder is a symbolic link. (It is not followed, and not silently skipped.)
    """
    for where, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not ignored(name))
        for name in folders:
            if Path(where, name).is_symlink():
                raise Refused(f"{Path(where, name)}: a link to a folder. Put the folder there.")
        yield from (Path(where, name) for name in sorted(names) if not ignored(name))
