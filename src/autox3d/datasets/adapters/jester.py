"""Jester: `jester-v1-train.csv` and others with lines ID;LABEL, and a list of the classes.

`labels` is jester-v1-labels.csv, a class a line; the lines of jester-v1-test.csv are ids alone
(tools/data/jester and parse_jester_splits of open-mmlab/mmaction2 read the same). The clips are
published as folders of JPEG files, at 12 frames a second (Materzynska and others, "The Jester
Dataset", ICCV Workshops 2019), and here as videos: ID.mp4, or ID with another suffix.
"""

from __future__ import annotations

import re
from pathlib import Path

from autox3d.core.errors import Refused
from autox3d.core.video_names import ignored, is_video
from autox3d.datasets.annotations import SPLITS, Annotations, Files, Video
from autox3d.datasets.reading import join, lines

REQUIRED = ("labels", "train", "val")
OPTIONAL = ("test",)


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the lists of videos; the classes are the lines of the file `labels`.

    Raises:
        Refused: a line is not ID;LABEL, or the videos are folders of frames.
    """
    on_disk = _by_id(root / videos)
    rows = []
    for split in (split for split in SPLITS if split in files):
        for place, line in lines(files[split]):
            name, _, label = line.partition(";")
            if not re.fullmatch(r"\d+", name) or not (label or split == "test"):
                raise Refused(f"{place}: '{line}' is not ID;LABEL, like '34870;Drumming Fingers'.")
            path = join(videos, on_disk.get(name, f"{name}.mp4"))
            rows.append(Video(name, name, path, label.strip() or None, split, place))
    return Annotations(rows, tuple(sorted({name for _, name in lines(files["labels"])})))


def _by_id(top: Path) -> dict[str, str]:
    """Maps the id of each video on disk to its file name."""
    names: dict[str, str] = {}
    frames = None
    for path in sorted(top.iterdir()) if top.is_dir() else []:
        if is_video(path) and not ignored(path.name):
            names.setdefault(path.stem, path.name)
        elif frames is None and (path / "00001.jpg").is_file():
            frames = path
    if frames is not None and not names:
        raise Refused(
            f"{frames}: frames, and videos are read. Make one of each clip: ffmpeg -framerate 12 "
            f"-i {frames}/%05d.jpg -pix_fmt yuv444p {frames}.mp4"
        )
    return names
