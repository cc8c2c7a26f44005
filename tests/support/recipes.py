"""The recipes of CONTRIBUTING.md: read from the page, and carried out as a reader would."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from support import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
BLOCK = re.compile(r"^```(?:python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEAD = re.compile(r"# (?P<path>[\w./]+)(?:, (?P<where>after|before|in place of): (?P<line>.+))?\n")
COPIED = ("src", "architectures", "params", "params.yaml", "dvc.yaml", "pyproject.toml")
TESTS = ("support", "conftest.py", "test_architecture.py", "test_rows.py")


class Change(NamedTuple):
    """One block of a recipe that makes or changes a file."""

    path: str
    where: str | None  # "after", "before" or "in place of" a line; None: a new file
    line: str | None  # how that line begins, without its indentation
    text: str


class Recipe(NamedTuple):
    """One section of the page."""

    changes: list[Change]
    settings: str  # what it puts into params.yaml, "" where nothing

    @property
    def files(self) -> set[str]:
        """All that it touches."""
        return {change.path for change in self.changes}


def read() -> dict[str, Recipe]:
    """The recipes by what is after "Add a": "block type", "stage"."""
    sections = re.split(r"(?m)^## Add an? ", PAGE.read_text(encoding="utf-8"))[1:]
    return {text.partition("\n")[0]: _recipe(text) for text in sections}


def _recipe(section: str) -> Recipe:
    changes, settings = [], ""
    for block in BLOCK.findall(section):
        if head := HEAD.match(block):
            text = block[head.end() :]
            changes.append(Change(head["path"], head["where"], head["line"], text))
        else:
            settings += block
    return Recipe(changes, settings)


def scratch(folder: Path) -> Path:
    """A copy of the repository, as far as the recipes need it."""
    without = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*COPIED, *(f"tests/{name}" for name in TESTS)):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=without)
        else:
            shutil.copy(source, target)
    return folder


def apply(change: Change, folder: Path) -> None:
    """Makes the file, or puts the lines to their place in one that is there."""
    path = folder / change.path
    if change.where is None or change.line is None:
        assert not path.exists(), f"{change.path} is there already"
        path.write_text(change.text)
        return
    lines = path.read_text().splitlines(keepends=True)
    found = [n for n, line in enumerate(lines) if line.strip().startswith(change.line)]
    assert len(found) == 1, f"{change.path}: {len(found)} lines begin with {change.line!r}"
    begin = found[0] + (change.where == "after")
    end = found[0] + (change.where != "before")
    path.write_text("".join([*lines[:begin], change.text, *lines[end:]]))


def tidy(folder: Path, *words: str) -> None:
    """Ruff in the copy."""
    command = [Path(sys.executable).with_name("ruff"), *words, "--no-cache"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout
