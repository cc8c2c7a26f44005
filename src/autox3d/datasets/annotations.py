"""What data sets say of their videos, each in its own files, told in one way.

Every adapter takes (root, videos, files): the data root, the folder of the videos under it, and
the annotation files by the name that `params.yaml` gives them. It returns the videos and the
classes; it opens no video. A row that cannot be right is refused by file and line; no label is
guessed, and none is found by its position.
"""

from __future__ import annotations

import csv
import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from autox3d.core.errors import Refused

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {"train": "train", "val": "val", "validate": "val", "validation": "val"}
SPLIT_NAMES |= {"test": "test"}
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")  # of videos that an annotation names without one


class Video(NamedTuple):
    """One row of any annotation."""

    id: str  # unique in the data set
    source: str  # the recording it is cut from: must not lie in two splits, named by id lists
    path: str  # relative to the data root, "/" between folders
    label: str | None  # None in the test split alone
    split: str
    place: str  # where it says so: "FILE line N"


class Annotations(NamedTuple):
    videos: list[Video]
    classes: tuple[str, ...]  # in alphabetical order


Files = Mapping[str, Path]


def read(dataset: str, root: Path, videos: str, files: Mapping[str, str]) -> Annotations:
    """The annotations of a data set that has them on disk (every one but the demo).

    Raises:
        Refused: for the first row, file or setting that cannot be right.
    """
    adapter, required, optional = ADAPTERS[dataset]
    for name in files:
        if name not in required + optional:
            known = ", ".join(required + optional) or "none"
            raise Refused(f"params.yaml: unknown 'annotate.files.{name}'. Known: {known}.")
    for name in required:
        if name not in files:
            raise Refused(
                f"params.yaml: missing 'annotate.files.{name}'. "
                f"Data set {dataset} asks for {', '.join(required)}."
            )
    found = adapter(root, videos, {name: root / path for name, path in files.items()})
    return check(found)


def check(found: Annotations) -> Annotations:
    """Every label is a class, no video stands twice and none in two splits."""
    known, ids, sources = set(found.classes), {}, {}
    for video in found.videos:
        if video.label is None and video.split != "test":
            raise Refused(f"{video.place}: no label. Only videos of split 'test' may go without.")
        if video.label is not None and video.label not in known:
            raise Refused(f"{video.place}: {_unknown(video.label, found.classes)}")
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
                f"{video.place}: video '{video.id}' stands twice (first: {first.place}). "
                "Delete one of the two."
            )
    return found


def _unknown(label: str, classes: Iterable[str]) -> str:
    close = difflib.get_close_matches(label, classes, 1)
    hint = f"Did you mean '{close[0]}'?" if close else "No training video has it. Mend the row."
    return f"unknown class '{label}'. {hint}"


# ---- the data sets


def kinetics(root: Path, videos: str, files: Files) -> Annotations:
    """Kinetics-400, -600 and -700: label, youtube_id, time_start, time_end, split.

    A video is `<id>_<start:06d>_<end:06d>.mp4`, in the folder itself or in one of its folders
    SPLIT, CLASS or SPLIT/CLASS (blanks of the class as they are or as "_").
    """
    there = _folders_by_stem(root / videos)
    rows = []
    for split, place, row in _kinetics_rows(files):
        name = _cell(row, "youtube_id", r"[\w-]{11}", place, "an id of 11 characters")
        start, end = (
            int(_cell(row, column, r"\d{1,6}", place, "whole seconds"))
            for column in ("time_start", "time_end")
        )
        if end <= start:
            raise Refused(f"{place}: 'time_end' {end} is not after 'time_start' {start}.")
        label = (row.get("label") or "").strip() or None
        stem = f"{name}_{start:06d}_{end:06d}"
        folder, file = _place(there.get(stem, {}), split, label) or ("", f"{stem}.mp4")
        rows.append(Video(stem, name, _join(videos, folder, file), label, split, place))
    return Annotations(rows, _trained(rows))


def _kinetics_rows(files: Files) -> Iterator[tuple[str, str, dict[str, str]]]:
    for split, file in files.items():
        label = ("label",) if split != "test" else ()
        for place, row in _csv(file, (*label, "youtube_id", "time_start", "time_end")):
            said = row.get("split", split)
            if SPLIT_NAMES.get(said) != split:
                raise Refused(
                    f"{place}: split '{said}' in a file given as annotate.files.{split}. "
                    "Mend the row, or the file's name in params.yaml."
                )
            yield split, place, row


def _folders_by_stem(videos: Path) -> dict[str, dict[str, str]]:
    """Stem -> {folder under `videos`: file name}."""
    there: dict[str, dict[str, str]] = {}
    for folder, below, names in os.walk(videos, followlinks=True):
        inside = PurePosixPath(os.path.relpath(folder, videos)).as_posix().removeprefix(".")
        if "/" in inside:  # no layout is deeper; and links may go round
            below.clear()
        for name in sorted(names):
            if (file := PurePosixPath(name)).suffix in SUFFIXES:
                there.setdefault(file.stem, {}).setdefault(inside, name)
    return there


def _place(there: dict[str, str], split: str, label: str | None) -> tuple[str, str] | None:
    """(folder, file name) of the first layout in which the video is there."""
    if not there:
        return None
    classes = [] if label is None else [label, label.replace(" ", "_")]
    splits = [name for name, meant in SPLIT_NAMES.items() if meant == split]
    nested = [f"{outer}/{inner}" for outer in splits for inner in classes]
    return next(((at, there[at]) for at in ["", *splits, *classes, *nested] if at in there), None)


def ucf101(root: Path, videos: str, files: Files) -> Annotations:
    """UCF101: `classInd.txt` (1 CLASS), `trainlist01.txt` (CLASS/VIDEO 1), `testlist01.txt`."""
    names = {}
    for place, line in _lines(files["classes"]):
        number, _, name = line.partition(" ")
        if not (number.isdecimal() and name.strip()):
            raise Refused(f"{place}: '{line}' is not NUMBER CLASS, like '1 ApplyEyeMakeup'.")
        if number in names:
            raise Refused(f"{place}: number {number} stands twice. Delete one of the two.")
        names[number] = name.strip()
    rows = []
    for split in (split for split in SPLITS if split in files):
        for place, line in _lines(files[split]):
            path, _, number = line.partition(" ")
            label = PurePosixPath(path).parent.name
            if "/" not in path or label not in names.values():
                raise Refused(f"{place}: {_unknown(label or path, names.values())}")
            if number and names.get(number.strip()) != label:
                means = names.get(number.strip(), "no class")
                raise Refused(f"{place}: class '{label}', but number {number.strip()} is {means}.")
            stem = PurePosixPath(path).stem
            rows.append(Video(stem, stem, _join(videos, _inside(path, place)), label, split, place))
    return Annotations(rows, tuple(sorted(names.values())))


def somethingv2(root: Path, videos: str, files: Files) -> Annotations:
    """Something-Something-V2: lists of {id, template} in JSON, the classes in `labels`; webm."""
    del root
    labels = _json(files["labels"], dict)
    rows = []
    for split in (split for split in SPLITS if split in files):
        for number, row in enumerate(_json(files[split], list), 1):
            place = f"{files[split]} entry {number}"
            if not isinstance(row, dict) or not re.fullmatch(r"[\w-]+", str(row.get("id", ""))):
                raise Refused(f"{place}: no 'id'. Each entry is a table with id and template.")
            name, template = str(row["id"]), row.get("template")
            label = None if template is None else re.sub(r"[\[\]]", "", str(template))
            path = _join(videos, f"{name}.webm")
            rows.append(Video(name, name, path, label, split, place))
    return Annotations(rows, tuple(sorted(labels)))


def folder(root: Path, videos: str, files: Files) -> Annotations:
    """SPLIT/CLASS/.../VIDEO; in `test` also VIDEO itself, without a label. No hidden files."""
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
            rows.append(Video(inside, inside, _join(videos, inside), label, split, str(path)))
    classes = {path.name for path in (top / "train").iterdir() if path.is_dir()}
    return Annotations(rows, tuple(sorted(name for name in classes if not name.startswith("."))))


def _walk(top: Path) -> Iterator[Path]:
    """The files under a folder in alphabetical order; a link to a folder is not silently left."""
    for where, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if Path(where, name).is_symlink():
                raise Refused(f"{Path(where, name)}: a link to a folder. Put the folder there.")
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def table(root: Path, videos: str, files: Files) -> Annotations:
    """A CSV file of path (under the folder of the videos), label and split."""
    del root
    rows = []
    for place, row in _csv(files["list"], ("path", "label", "split")):
        if row["split"] not in SPLITS:
            raise Refused(f"{place}: unknown split '{row['split']}'. Known: {', '.join(SPLITS)}.")
        path = _inside(row["path"], place)
        label = row["label"].strip() or None
        rows.append(Video(path, path, _join(videos, path), label, row["split"], place))
    return Annotations(rows, _trained(rows))


def _trained(rows: list[Video]) -> tuple[str, ...]:
    return tuple(sorted({row.label for row in rows if row.label and row.split == "train"}))


ADAPTERS: dict[str, tuple[Callable[[Path, str, Files], Annotations], list[str], list[str]]] = {
    "kinetics": (kinetics, ["train", "val"], ["test"]),  # adapter, files it needs, and may have
    "ucf101": (ucf101, ["classes", "train", "test"], ["val"]),
    "somethingv2": (somethingv2, ["labels", "train", "val"], ["test"]),
    "folder": (folder, [], []),
    "csv": (table, ["list"], []),
}


# ---- the files


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refused(
            f"{path}: cannot be read ({error.strerror}). "
            "Mend annotate.files in params.yaml: its paths are under the data root."
        ) from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8 text at byte {error.start}. Save it as UTF-8.") from error


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(place, line) of each line that is not blank."""
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            yield f"{path} line {number}", line.strip()


def _csv(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """(place, row) of each row, the first being the header."""
    reader = csv.reader(_text(path).splitlines(keepends=True))
    header = next(reader, [])
    for column in columns:
        if column not in header:
            raise Refused(f"{path} line 1: no column '{column}'. There are: {', '.join(header)}.")
    for cells in reader:
        if not any(cells):
            continue
        place = f"{path} line {reader.line_num}"
        if len(cells) != len(header):
            raise Refused(
                f"{place}: {len(cells)} cells under {len(header)} columns. Quote cells with commas."
            )
        yield place, dict(zip(header, cells, strict=True))


def _json(path: Path, kind: type) -> Any:
    try:
        found = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise Refused(f"{path} line {error.lineno}: no JSON: {error.msg}.") from error
    if not isinstance(found, kind):
        raise Refused(f"{path}: must be a JSON {kind.__name__}. Is it the right file?")
    return found


def _cell(row: dict[str, str], column: str, pattern: str, place: str, wanted: str) -> str:
    if not re.fullmatch(pattern, row[column], re.ASCII):
        raise Refused(f"{place}: '{column}' must be {wanted}, not '{row[column]}'.")
    return row[column]


def _inside(path: str, place: str) -> str:
    """`path`, which stays below its folder."""
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise Refused(f"{place}: path '{path}' is not a path below the folder of the videos.")
    return parts.as_posix()


def _join(*parts: str) -> str:
    return PurePosixPath(*parts).as_posix()
