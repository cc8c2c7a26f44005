"""A folder of weights as an MLflow model, which `mlflow models serve` answers from.

Its loader is `autox3d.serving.served`. It holds the folder as it is, and the wheel of this package,
so that no source tree is needed where it is served:

    mlflow models serve --env-manager local --model-uri models:/autox3d-s@newest
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow.pyfunc
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, Object, Property

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
    with tempfile.TemporaryDirectory() as scratch:
        wheels = _wheel(Path(scratch))
        needs = [f"wheels/{wheel.name}[serve]" for wheel in wheels]
        mlflow.pyfunc.save_model(
            out,
            loader_module=LOADER,
            data_path=str(folder),
            signature=SIGNATURE,
            pip_requirements=[f"mlflow=={mlflow.__version__}"],
        )
        for wheel in wheels:
            (out / "wheels").mkdir(exist_ok=True)
            shutil.copy(wheel, out / "wheels")
    with (out / "requirements.txt").open("a") as file:
        file.writelines(f"\n{need}" for need in needs)


def _wheel(out: Path) -> list[Path]:
    """Builds this package's wheel from its source tree; none without one, or without a builder."""
    root = Path(__file__).parents[3]
    if not all((root / name).exists() for name in SOURCES):
        return []
    tree = out / "tree"
    tree.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, tree / name)
    words = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(out)]
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", *words, str(tree)], check=False)
    if done.returncode:
        print("the model is logged without the wheel of autox3d", file=sys.stderr)
    return list(out.glob("*.whl"))
