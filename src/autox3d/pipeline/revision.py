"""The settings, dvc.lock and results of a git revision.

Files in git come from git; files that DVC tracks come from DVC's cache if they are still there.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autox3d.core.errors import Refused

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

os.environ.setdefault("DVC_NO_ANALYTICS", "1")

RECORD = ("params.yaml", "dvc.yaml", "dvc.lock")
RESULTS = "results"
TABLES = (".json", ".csv", ".yaml")


def resolve(name: str) -> str | None:
    """The short hash of a branch, tag or commit of this repository; None if there is none.

    Raises:
        Refused: git does not read the repository: there is none, or it is another user's.
    """
    command = ["git", "rev-parse", "--verify", "--quiet", "--short", f"{name}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stderr:  # an unknown name alone says nothing
        what, *more = (line.strip() for line in done.stderr.splitlines() if line.strip())
        fix = next((line for line in more if line.startswith("git config")), "")
        way_out = f"If you trust it: {fix}" if fix else "Name a folder, or work in a clone."
        raise Refused(f"{name}: {what.removeprefix('fatal: ')}. {way_out}")
    return done.stdout.strip() if done.returncode == 0 else None


def export(revision: str, into: Path) -> list[str]:
    """Writes what a run is read from into a folder: RECORD, and the tables under results/.

    Returns:
        The files and folders of the revision that DVC's cache does not have.
    """
    from dvc.api import DVCFileSystem  # slow to import

    files = DVCFileSystem(rev=revision)
    lost: list[str] = []
    tables = _tables(files, RESULTS, lost) if files.exists(RESULTS) else ()
    for name in [*filter(files.exists, RECORD), *tables]:
        try:
            content = files.cat_file(name)
        except FileNotFoundError:
            lost.append(name)
            continue
        assert isinstance(content, bytes)
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return lost


def _tables(files: DVCFileSystem, folder: str, lost: list[str]) -> Iterator[str]:
    """The tables below a folder; folders of which not even the contents are known are `lost`."""
    from dvc_data.index import DataIndexDirError

    try:
        found = files.ls(folder, detail=True)
    except DataIndexDirError:
        lost.append(folder)
        return
    for one in found:
        if one["type"] == "directory":
            yield from _tables(files, one["name"], lost)
        elif one["name"].endswith(TABLES):
            yield one["name"]
