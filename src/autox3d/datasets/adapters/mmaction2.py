"""MMAction2's lists of videos: lines PATH LABEL, with class numbers from 0 (its VideoDataset).

docs/en/user_guides/prepare_dataset.md and tools/data/build_file_list.py of open-mmlab/mmaction2 say
how they are made, such as `ucf101_train_split_1_videos.txt`; `classes` may be a label map, a name a
line. Where the folder of the videos has a folder `videos_train`, as that of Kinetics has, the paths
of the list `train` begin in it; so with the other splits. Lists of raw frames are refused.
"""

from __future__ import annotations

from pathlib import Path

from autox3d.datasets import numbered
from autox3d.datasets.annotations import SPLITS, Annotations, Files

REQUIRED, OPTIONAL = numbered.REQUIRED, numbered.OPTIONAL


def read(root: Path, videos: str, files: Files) -> Annotations:
    """Reads the lists; without a class list, a class is called by its number.

    Raises:
        Refused: a line is not PATH LABEL, or its number that of no class.
    """
    top = root / videos
    inner = {split: f"videos_{split}" for split in SPLITS}
    folders = {split: name if (top / name).is_dir() else "" for split, name in inner.items()}
    return numbered.read(top, videos, files, folders)
