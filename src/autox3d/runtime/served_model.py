"""A folder of weights as an MLflow model, which `mlflow models serve` answers from.

Its loader is `autox3d.serving.served`. It holds the folder as it is, and the wheel of this package,
so that no source tree is needed where it is served:

    mlflow models serve --env-manager local --model-uri models:/autox3d-s@newest
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow.pyfunc
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, Object, Property

from autox3d.runtime.activity import FOLDER

LOADER = "autox3d.serving.served"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")  # what a wheel is built from
TOP = Array(Object([Property("class", "string"), Property("score", "double")]))
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("binary", "video")]),
    outputs=Schema([ColSpec(TOP, "top"), ColSpec("string", "lost")]),
    params=ParamSchema([ParamSpec("top", "integer", 5), ParamSpec("clips", "integer", 10)]),
)


def pack(folder: Path, out: Path) -> None:
    """Writes the MLflow model of a folder of weights."""
    mlflow.pyfunc.save_model(
        out,
        loader_module=LOADER,
        data_path=str(folder),
        signature=SIGNATURE,
        pip_requirements=[f"mlflow=={mlflow.__version__}"],
    )
    if wheel := _wheel():
        (out / "wheels").mkdir()
        shutil.copy(wheel, out / "wheels")
        with (out / "requirements.txt").open("a") as file:
            file.write(f"\nwheels/{wheel.name}[serve]")


def _wheel() -> Path | None:
    """This package's wheel, built from its source tree; None without one, or without a builder.

    It is built once for each state of the sources, and kept in their `.pipeline/wheels`.
    """
    root = Path(__file__).parents[3]
    if not all((root / name).exists() for name in SOURCES):
        return None
    kept = root / FOLDER / "wheels" / _state(root)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            if not _build(root, Path(scratch)):
                print("the model is logged without the wheel of autox3d", file=sys.stderr)
                return None
            with contextlib.suppress(OSError):  # another program has just built the same
                Path(scratch, "dist").rename(kept)
    return next(kept.glob("*.whl"))


def _state(root: Path) -> str:
    """A fingerprint of all that the wheel is built from."""
    digest = hashlib.sha256()
    for path in sorted(path for name in SOURCES for path in _files(root / name)):
        digest.update(f"{path.relative_to(root)} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _files(place: Path) -> Iterator[Path]:
    """A file, or what a wheel may have of a folder, through links."""
    if place.is_file():
        yield place
    for folder, folders, names in os.walk(place, followlinks=True):
        folders[:] = {*folders} - {"__pycache__", "autox3d.egg-info"}
        yield from (Path(folder, name) for name in names)


def _build(root: Path, scratch: Path) -> bool:
    """Builds from a copy, since setuptools leaves folders beside the sources."""
    tree = scratch / "tree"
    for path in (path for name in SOURCES for path in _files(root / name)):
        copy = tree / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    words = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *words, "--wheel-dir", str(scratch / "dist")]
    return subprocess.run([*command, str(tree)], check=False).returncode == 0
