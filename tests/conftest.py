"""What holds for all tests: one thread a process, since they run side by side; no MLflow mirror."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mlflow_server import Server

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("AUTOX3D_TRACKING", "off")  # tests of the mirror turn it on


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real MLflow server."""
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def tracked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """A project that logs to it: a working directory, and an experiment with the test's name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    for name in ("AUTOX3D_TRACKING", "RANK"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "genotype.yaml").write_text("name: s\n")
    return tmp_path
