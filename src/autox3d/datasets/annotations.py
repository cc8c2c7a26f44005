"""The annotations of a data set: its videos and classes, read from its own files.

Each data set has an adapter, one file of the folder `adapters`, which turns its annotation files
into the table below without opening any video. A row that cannot be right is refused by file and
line. No label is guessed, and none is taken from the order of rows.
"""

from __future__ import annotations

import difflib
import importlib
import math
import pkgutil
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from autox3d.core.errors import Refused
from autox3d.core.tables import CLASSIFY, DETECT, MULTILABEL
from autox3d.datasets import adapters
from autox3d.datasets.reading import composed, unknown_class

SPLITS = ("train", "val", "test")
# Generated data sets, which have no annotation files: files of that name in `datasets`
DEMO, DEMO_BOXES, DEMO_LABELS = "demo", "demo_boxes", "demo_labels"
DEMO_STREAMS = "demo_streams"
GENERATED = DEMO, DEMO_BOXES, DEMO_LABELS, DEMO_STREAMS


class Label(NamedTuple):
    """A class that a video has, and when; without a time, all along."""

    name: str
    start: float = 0.0  # s after the beginning of the video
    end: float = math.inf  # s


class KeyBox(NamedTuple):
    """A box at a moment of a film: annotated with a class, or found by a detector."""

    second: float  # of the film
    corners: tuple[float, float, float, float]  # x1, y1, x2, y2: shares of width and height
    name: str = ""  # class; empty: none of the classes
    proposed: bool = False  # by a detector


class Video(NamedTuple):
    """One annotated video."""

    id: str  # unique in the data set
    source: str  # the recording that it is cut from: must be in one split; id lists name it
    path: str  # relative to the data root, "/" between folders
    label: str | None  # None in the test split, and where a video may have several
    split: str
    place: str  # where it is annotated: "FILE line N"
    labels: tuple[Label, ...] = ()  # for a task in which a video may have several, or none
    boxes: tuple[KeyBox, ...] = ()  # of a film, or of a piece of it
    begin: float = 0.0  # s of the file, where this piece of it begins
    end: float = math.inf  # s of the file

    @property
    def names(self) -> set[str]:
        """Its classes."""
        names = {one.name for one in (*self.labels, *self.boxes) if one.name}
        return names | ({self.label} if self.label else set())


class Annotations(NamedTuple):
    """All that a data set's annotation files contain."""

    videos: list[Video]
    classes: tuple[str, ...]  # in alphabetical order
    task: str = CLASSIFY  # what the labels are for: a file of vision/tasks


Files = Mapping[str, Path]  # the annotation files by their names in `annotate.files`


class Adapter(Protocol):
    """What a file of the folder `adapters` defines."""

    REQUIRED: tuple[str, ...]  # names of files that `annotate.files` must give
    OPTIONAL: tuple[str, ...]  # names of files that it may give

    def read(self, root: Path, videos: str, files: Files) -> Annotations:
        """Reads the annotations of the videos in the folder `videos` under the data root."""
        ...


def names() -> list[str]:
    """Returns the data sets that `annotate.dataset` may name, in alphabetical order."""
    return sorted(
        [*GENERATED, *(module.name for module in pkgutil.iter_modules(adapters.__path__))]
    )


def adapter(dataset: str) -> Adapter:
    """Imports the adapter of a data set other than the demo.

    Raises:
        Refused: there is no such data set.
    """
    if dataset not in names():
        *others, last = (f"'{name}'" for name in names())
        close = difflib.get_close_matches(dataset, names(), 1)
        raise Refused(
            f"params.yaml: 'annotate.dataset' must be one of {', '.join(others)} or {last}, "
            f"not '{dataset}'." + "".join(f" Did you mean '{name}'?" for name in close)
        )
    return cast("Adapter", importlib.import_module(f"{adapters.__name__}.{dataset}"))


def read(dataset: str, root: Path, videos: str, files: Mapping[str, str]) -> Annotations:
    """Reads and checks the annotations of a data set other than the demo.

    `root` is the data root, `videos` the folder of the videos under it, and `files` the paths
    (under the root, too, or `./FILE`) of the annotation files that the data set needs.

    Raises:
        Refused: for the first row, file or setting that cannot be right.
    """
    source = adapter(dataset)
    for name in files:
        if name not in (*source.REQUIRED, *source.OPTIONAL):
            known = ", ".join((*source.REQUIRED, *source.OPTIONAL)) or "none"
            raise Refused(f"params.yaml: unknown 'annotate.files.{name}'. Known: {known}.")
    for name in source.REQUIRED:
        if name not in files:
            raise Refused(
                f"params.yaml: missing 'annotate.files.{name}'. "
                f"Data set {dataset} needs {', '.join(source.REQUIRED)}."
            )
    found = source.read(root, videos, {name: _file(root, path) for name, path in files.items()})
    return check(with_composed_labels(found))


def _file(root: Path, path: str) -> Path:
    """An annotation file: below the data root, or `./FILE` in this folder, under git's care."""
    return Path(path) if path.startswith("./") else root / path


def with_composed_labels(annotations: Annotations) -> Annotations:
    """Returns the annotations with one spelling for labels that differ in their encoding alone."""
    videos = [
        video._replace(
            label=None if video.label is None else composed(video.label),
            labels=tuple(one._replace(name=composed(one.name)) for one in video.labels),
            boxes=tuple(one._replace(name=composed(one.name)) for one in video.boxes),
        )
        for video in annotations.videos
    ]
    classes = tuple(sorted(set(map(composed, annotations.classes))))
    return annotations._replace(videos=videos, classes=classes)


def nearly_alike(classes: Iterable[str]) -> list[tuple[str, ...]]:
    """Returns the groups of classes that differ by capitals only, such as `Walk` and `walk`."""
    groups: dict[str, list[str]] = {}
    for name in sorted(classes):
        groups.setdefault(name.casefold(), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def check(annotations: Annotations) -> Annotations:
    """Returns the annotations, in which all labels are classes and no video is listed twice.

    Raises:
        Refused: a label is missing or unknown, a path is not UTF-8, an id is listed twice, a
            recording is in two splits, or no training video has a label.
    """
    known, ids, sources = set(annotations.classes), {}, {}
    several = annotations.task in (MULTILABEL, DETECT)
    if several and not known:
        first = annotations.videos[0].place if annotations.videos else "annotate.files"
        raise Refused(f"{first}: no training video has a label. Is it the right file?")
    for video in annotations.videos:
        if video.label is None and video.split != "test" and not several:
            raise Refused(f"{video.place}: no label. Only videos of split 'test' may lack one.")
        for name in sorted(video.names - known):
            raise Refused(f"{video.place}: {unknown_class(name, annotations.classes)}")
        if re.search("[\ud800-\udfff]", video.path):  # how Python reads other bytes
            raise Refused(f"{video.path!a}: a name that is not UTF-8. Rename the file.")
        first = sources.setdefault(video.source, video)
        if first.split != video.split:
            raise Refused(
                f"{video.place}: video '{video.source}' is in split '{video.split}', and in "
                f"'{first.split}' too ({first.place}). Delete one of the two."
            )
        first = ids.setdefault(video.id, video)
        if first is not video:
            raise Refused(
                f"{video.place}: video '{video.id}' is listed twice (first: {first.place}). "
                "Delete one of the two."
            )
    return annotations
