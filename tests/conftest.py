"""What holds for all tests: one thread a process, since they run side by side; no MLflow mirror."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.disk import SmallDisk, mounted
from support.mlflow_server import Server
from support.shared import made_once

if TYPE_CHECKING:
    from support.killing import Runner

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("AUTOX3D_TRACKING", "off")  # tests of the mirror turn it on


# Files whose tests share what takes seconds to make: under pytest-xdist one process runs them.
TOGETHER = {
    "tracking": (
        *("test_tracking", "test_tracking_models", "test_tracking_outages"),
        *("test_tracking_compared", "test_tracking_pass", "test_view"),
    ),
    "stages": (
        *("test_resume", "test_resume_failures", "test_resume_signals"),
        *("test_search_stages", "test_evaluate", "test_studies", "test_studies_runs"),
        *("test_latency", "test_tracking_stages", "test_splits"),
    ),
    "engines": ("test_pipeline", "test_pipeline_failures", "test_upgrade", "test_studies_engines"),
}


GROUPS = {file: group for group, files in TOGETHER.items() for file in files}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of one file, or of one group of files, run in one process, in their order.

    (--dist loadgroup does nothing with pytest 9: xdist 3.8 cannot rename tests there.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0]).stem
            return GROUPS.get(file, file)

    return GroupScheduling(config, log)


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


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the empty tables of MLflow, which take seconds to make."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def clips(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips.parquet and shards/: 16 + 8 real videos, as support.killing has them."""
    from support import killing

    # After `runner`: the first to start a fork server decides what it imports; transcoding would.
    return made_once(tmp_path_factory, "clips", killing.make_clips)


@pytest.fixture(scope="session")
def runner() -> Runner:
    """Starts stages in forks of a process that has imported them."""
    from support import killing  # torch takes its time

    return killing.Runner()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Makes `disk` beside what the test makes, with room for so many KiB."""
    with ExitStack() as mounts:
        yield lambda kibibytes: mounts.enter_context(mounted(tmp_path / "disk", kibibytes))
