"""A trained network's folder is in MLflow's registry, byte by byte, under the alias `newest`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from support import programs
from support.mlflow_server import Server, replay
from support.spaces import PLAIN

from autox3d.runtime import tracking
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.tracking import SPOOL
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet

pytestmark = pytest.mark.slow


def trained(folder: Path, attempt: int) -> Path:
    """A network's folder, as stage `train` writes it."""
    (folder / "genotype.yaml").write_text(PLAIN)
    genotype = Genotype.load(folder / "genotype.yaml")
    net = VideoNet(genotype, classes=2)
    weights.save(folder / "data/weights/s", net, genotype, ["left", "right"], {"attempt": attempt})
    return folder / "data/weights/s"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fetched(model: str, folder: Path) -> dict[str, bytes]:
    """By MLflow's own command, as one types it."""
    command = [sys.executable, "-m", "mlflow", "artifacts", "download"]
    place = ["--artifact-uri", f"models:/{model}", "--dst-path", str(folder)]
    done = programs.run("tracking", [*command, *place], Path.cwd())
    assert done.returncode == 0, done.stderr
    return contents(folder / "data" / "s")


def train(folder: Path) -> Path:
    """A run that ends with this folder; its journal."""
    with tracking.run("train", "s", {}, {}) as run:
        run.model(folder, fingerprint(w=folder))
    assert run.journal
    return run.journal


def test_the_registry_gives_the_folder_back(
    server: Server, tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent twice, it is one version; one that was trained before and sent after is no newest."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "models")
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        away.setattr(tracking, "PATIENCE", 60.0)
        trained(tracked, 1)
        before = train(tracked / "data/weights/s")
        second, _ = contents(trained(tracked, 2)), train(tracked / "data/weights/s")
    late = before.rename(tracked / before.name)
    shutil.copytree(SPOOL, tracked / "again")
    assert replay() == 0
    assert fetched("models-s@newest", tracked / "newest") == second
    assert weights.load(tracked / "newest/data/s").how == {"attempt": 2}

    shutil.copytree(tracked / "again", SPOOL, dirs_exist_ok=True)
    late.rename(before)
    assert replay() == 0
    assert not list(SPOOL.glob("*.jsonl"))
    found = server.ask("model-versions/search?filter=name%3D%27models-s%27")["model_versions"]
    assert sorted(version["version"] for version in found) == ["1", "2"]
    alias = server.ask("registered-models/alias?name=models-s&alias=newest")
    assert alias["model_version"]["version"] == "1"
