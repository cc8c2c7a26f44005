"""A clone made ready for a user's videos: data root, list, settings; earlier results set apart.

Nothing of the user's is overwritten: what is not as it was committed is kept under another name.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from math import isinf
from pathlib import Path

from autox3d.core import atomic, environment
from autox3d.core.errors import Refused
from autox3d.planning.own_lists import BOX, OwnVideo

LIST = Path("params/own.csv")
SETTINGS = Path("params.yaml")
RESULTS = Path("results")
DEMO = {"demo"}  # what the demo has in the data root


def given_weights(folder: Path) -> Path:
    """Copies a folder of weights to `data/given`: no stage may start from what another writes."""
    target = Path("data/given") / folder.resolve().name
    if folder.resolve() == target.resolve():
        return target
    target = unused(target)
    shutil.copytree(folder, target)  # with what links point to: DVC may have linked the files
    return target


def check() -> None:
    """Raises Refused where this is no clone."""
    for path in (Path("dvc.yaml"), Path("params/folder.yaml")):
        if not path.exists():
            raise Refused(f"{path}: there is no such file here. Run this in a clone of autox3d.")


def data_root(folder: Path) -> tuple[Path | None, str]:
    """What `data/raw` must link to (None: nothing), and the folder of the videos below the root.

    Raises:
        Refused: the folder is not below the data root that is set, or lies where stages write.
    """
    root, top = environment.raw(), folder.resolve()
    if top.is_relative_to(root.resolve()) and root.exists() and not root.is_symlink():
        return None, top.relative_to(root.resolve()).as_posix()
    if os.environ.get(environment.RAW.name):
        raise Refused(
            f"{folder}: is not below AUTOX3D_RAW, {root}. Move it there, or unset AUTOX3D_RAW."
        )
    here = Path().resolve()
    for name in ("data", "results", "checkpoints"):
        if top == here / name:
            raise Refused(
                f"{folder}: is where stages write. Give the folder of your class folders."
            )
        if top.is_relative_to(here / name):
            raise Refused(
                f"{folder}: is where stages write, in {name}/. Move it to data/raw/{folder.name}, "
                "or out of this clone."
            )
    if here.is_relative_to(top):
        raise Refused(f"{folder}: this clone is in it. Give the folder of your class folders.")
    if root.is_dir() and not root.is_symlink() and {p.name for p in root.iterdir()} - DEMO:
        raise Refused(
            f"{root}: has files of its own. Move {folder} into it, or set AUTOX3D_RAW={top}."
        )
    return top, "."


def link(target: Path | None) -> list[str]:
    """Links `data/raw` to the user's folder; the demo's videos are set apart."""
    if target is None:
        return []
    root, lines = environment.raw(), []
    if root.is_symlink():
        root.unlink()
    elif root.exists():
        kept = unused(root.with_name("raw_demo"))
        root.rename(kept)
        lines.append(f"the demo's videos are in {kept} now")
    root.parent.mkdir(parents=True, exist_ok=True)
    root.symlink_to(target, target_is_directory=True)
    return [*lines, f"{root} is a link to your folder: no video is copied"]


def list_for(videos: Sequence[OwnVideo], target: Path | None) -> tuple[Path, bool]:
    """Where the list of the videos goes, and whether it is the one in use: same root, same rows.

    Another list gets another name: `annotate` runs again if its settings differ, and does not look
    into the files; DVC even keeps its earlier runs. What the user may have changed in an earlier
    list stays there.

    Args:
        target: what the data root is going to link to; None: it stays
    """
    root = environment.raw()
    if target is None or (root.is_symlink() and root.resolve() == target):
        text = SETTINGS.read_text(encoding="utf-8") if SETTINGS.exists() else ""
        for path in sorted(LIST.parent.glob(f"{LIST.stem}*{LIST.suffix}")):
            if f"./{path}" in text and path.read_text(encoding="utf-8") == _rows(videos):
                return path, True
    digest = hashlib.sha256(f"{target}\n{_rows(videos)}".encode(errors="surrogateescape"))
    return unused(LIST.with_stem(f"{LIST.stem}_{digest.hexdigest()[:8]}")), False


def write_list(path: Path, videos: Sequence[OwnVideo]) -> None:
    """Writes the list of videos with their splits."""
    atomic.write_text(path, _rows(videos))


def _rows(videos: Sequence[OwnVideo]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if any(video.boxes is not None for video in videos):
        writer.writerow(("path", *BOX, "split"))
        writer.writerows((v.path, *row, v.split) for v in videos for row in v.boxes or ())
        return text.getvalue()
    if any(video.labels is not None for video in videos):
        writer.writerow(("path", "labels", "split", "start", "end"))
        writer.writerows(row for video in videos for row in _times(video))
        return text.getvalue()
    writer.writerow(("path", "label", "split"))
    writer.writerows((video.path, video.label, video.split) for video in videos)
    return text.getvalue()


def _times(video: OwnVideo) -> Iterator[tuple[str, ...]]:
    """A row for each time that a video has labels; one for all its labels that have none."""
    times: dict[tuple[str, str], list[str]] = {} if video.labels else {("", ""): []}
    for one in video.labels or ():
        when = f"{one.start:g}" if one.start else "", "" if isinf(one.end) else f"{one.end:g}"
        times.setdefault(when, []).append(one.name)
    for (start, end), names in times.items():
        yield video.path, ";".join(names), video.split, start, end


def write_settings(text: str) -> list[str]:
    """Writes params.yaml; one that the user has changed is kept beside it."""
    kept = keep(SETTINGS)
    atomic.write_text(SETTINGS, text)
    return [f"your earlier {SETTINGS} is in {kept} now"] if kept else []


def keep(path: Path) -> Path | None:
    """Renames a file that is not as it was committed; None if there is nothing to keep."""
    if not path.exists() or is_committed(path) or _is_shipped(path):
        return None
    kept = unused(path.with_name(f"{path.stem}_before{path.suffix}"))
    path.rename(kept)
    return kept


def _is_shipped(path: Path) -> bool:
    text = path.read_bytes()
    return any(text == other.read_bytes() for other in Path("params").glob("*.yaml"))


def set_results_apart() -> list[str]:
    """Deletes committed results, which git has, and moves all others to another folder.

    Those of other videos would be shown until one's own networks of the same names are trained.
    """
    if not RESULTS.exists():
        return []
    if is_committed(RESULTS):
        shutil.rmtree(RESULTS)
        RESULTS.mkdir()
        return ["the results that were committed here are removed; git has them"]
    if not any(RESULTS.rglob("*.json")):
        return []
    kept = unused(Path("results_before"))
    RESULTS.rename(kept)
    RESULTS.mkdir()
    return [f"earlier results are in {kept} now"]


def is_committed(path: Path) -> bool:
    """Whether git has a file, or all files of a folder that it does not ignore, as they are."""
    if _git("ls-files", "--error-unmatch", "--", str(path)) is None:
        return False
    return _git("status", "--porcelain", "--", str(path)) == ""


def _git(*arguments: str) -> str | None:
    """What git prints; None if it fails, or is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def unused(path: Path) -> Path:
    """The path, or the first with a number behind it that is not there yet."""
    number, found = 1, path
    while found.exists() or found.is_symlink():
        number += 1
        found = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return found
