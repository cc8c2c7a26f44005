"""The package as `pip install` leaves it: a built wheel, and beside it what the wheel asks for.

The environment is a real one, with its own interpreter and site-packages. What the wheel needs is
linked from the environment of the tests, distribution by distribution, and nothing else is there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from support import ROOT

SOURCE = ("pyproject.toml", "README.md", "LICENSE", "architectures", "src")


class Installed(NamedTuple):
    """An environment of its own, outside of the repository."""

    root: Path
    wheel: Path

    def run(self, *words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment: `autox3d` or `python`."""
        keep = {
            name: os.environ[name] for name in ("HOME", "OMP_NUM_THREADS") if name in os.environ
        }
        command = [str(self.root / "bin" / words[0]), *map(str, words[1:])]
        return subprocess.run(
            command, cwd=cwd or self.root, env=keep | {"PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip


def install(folder: Path, extras: Iterable[str] = (), wheel: Path | None = None) -> Installed:
    """Installs a wheel, by default one that is built here, into a new environment."""
    wheel, root = wheel or built(folder), folder / "venv"
    venv.create(root, symlinks=True)
    python = root / "bin/python"
    uv("pip", "install", "--offline", "--no-deps", "--python", python, wheel)
    (packages,) = root.glob("lib/python*/site-packages")
    (found,) = packages.glob("autox3d-*.dist-info")
    for one in needed(PathDistribution(found), set(extras)):
        _link(one, packages)
        _scripts(one, root / "bin")
    return Installed(root, wheel)


def built(folder: Path) -> Path:
    """A wheel of the repository, by way of a source distribution."""
    tree = folder / "tree"
    tree.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
        else:
            shutil.copyfile(ROOT / name, tree / name)
    uv("build", "--offline", "--no-build-isolation", "--out-dir", folder / "dist", tree)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def uv(*words: str | Path) -> None:
    """Runs uv of the tests' environment."""
    subprocess.run([Path(sys.executable).parent / "uv", "--quiet", *words], check=True)


def needed(start: Distribution, extras: set[str]) -> list[Distribution]:
    """All that a distribution asks for here, directly or through others."""
    found: dict[str, Distribution] = {}
    todo = [(start, extras)]
    while todo:
        one, wanted = todo.pop()
        for line in one.requires or ():
            asked = Requirement(line)
            if asked.marker and not any(
                asked.marker.evaluate({"extra": extra}) for extra in ("", *wanted)
            ):
                continue
            name = re.sub(r"[-_.]+", "-", asked.name).lower()
            if name == "autox3d":
                todo.append((start, asked.extras))
            elif name not in found:
                found[name] = distribution(name)
                todo.append((found[name], asked.extras))
    return list(found.values())


def _link(one: Distribution, packages: Path) -> None:
    """Links the packages, modules and metadata of a distribution."""
    tops = {path.parts[0] for path in one.files or ()} - {"..", "__pycache__"}
    for top in tops:
        place, here = packages / top, Path(str(one.locate_file(top)))
        if here.exists() and not place.exists():
            place.symlink_to(here)


def _scripts(one: Distribution, folder: Path) -> None:
    """Makes the programs of a distribution."""
    for entry in one.entry_points.select(group="console_scripts"):
        text = f"#!{folder}/python\nfrom {entry.module} import {entry.attr} as main\nmain()\n"
        (folder / entry.name).write_text(text)
        (folder / entry.name).chmod(0o755)
