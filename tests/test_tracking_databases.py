"""Eight jobs at once on a fresh store lose nothing: SQLite, PostgreSQL, a server before it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from mlflow import MlflowClient
from support.mlflow_server import Server, free_port, replay, stage, until_spool_is_empty
from support.trained import passed

from autox3d.runtime import tracking

pytestmark = pytest.mark.system

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path())  # Debian's
NOBODY = 65534
JOBS = 8
PASSES = """
select parent.status, count(*) from runs parent
join tags on tags.key = 'mlflow.parentRunId' and tags.value = parent.run_uuid
group by parent.run_uuid, parent.status
"""
RUNS = "select status, count(*) from runs join metrics using (run_uuid) group by run_uuid"


class Postgres:
    """A server of a folder of its own; it refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.user = NOBODY if os.getuid() == 0 else os.getuid()

    def start(self) -> None:
        os.chown(self.folder, self.user, -1)
        self._type("initdb", "--username", "mlflow", "--auth", "trust")
        self.start_again()

    def start_again(self) -> None:
        flags = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._type("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", flags, "start")

    def stop(self) -> None:
        """By the process id that it wrote down itself."""
        self._type("pg_ctl", "-m", "immediate", "stop")

    def uri(self, database: str) -> str:
        return f"postgresql://mlflow@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A fresh one; its URI."""
        self._type("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "mlflow", database)
        return self.uri(database)

    def ask(self, database: str, query: str) -> list[tuple[str, int]]:
        """RUNS: (status, steps) of each; PASSES: (status, runs) of each."""
        with psycopg2.connect(self.uri(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def _type(self, program: str, *words: str) -> None:
        place = ["-D", str(self.folder / "data")] if program in ("initdb", "pg_ctl") else []
        subprocess.run(
            [BIN / program, *place, *words],
            check=True,
            cwd=self.folder,
            user=self.user,
            stdout=subprocess.DEVNULL,
        )


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="autox3d-postgres-"))  # pytest's are for root alone
    postgres = Postgres(folder)
    postgres.start()
    yield postgres
    postgres.stop()
    shutil.rmtree(folder)


def jobs_at_once() -> None:
    """Stages of 31 steps each, in one pass of the pipeline; returns once all is sent."""
    Path("params.yaml").write_text("seed: 1\n")
    started = [stage(0, 30) for _ in range(JOBS)]
    ended = [job.communicate(timeout=200) for job in started]
    assert [job.returncode for job in started] == [0] * JOBS, ended
    until_spool_is_empty()


def test_on_a_fresh_local_file(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All find no mlflow.db, and one makes it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    jobs_at_once()

    with sqlite3.connect(tracked / "mlflow.db") as store:
        assert store.execute(RUNS).fetchall() == [("FINISHED", 31)] * JOBS
        assert store.execute(PASSES).fetchall() == [("FINISHED", JOBS)]


def test_on_a_fresh_database(
    postgres: Postgres, tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All find it empty, and one makes its tables."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres.create("direct"))
    jobs_at_once()

    assert postgres.ask("direct", RUNS) == [("FINISHED", 31)] * JOBS
    assert postgres.ask("direct", PASSES) == [("FINISHED", JOBS)]


def test_behind_a_server(
    postgres: Postgres, tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster. A database that dies and comes back gets what was logged meanwhile."""
    server = Server(tracked, postgres.create("served"))
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    try:
        jobs_at_once()
        assert postgres.ask("served", RUNS) == [("FINISHED", 31)] * JOBS
        assert postgres.ask("served", PASSES) == [("FINISHED", JOBS)]

        postgres.stop()
        away = stage(0, 30)
        _, said = away.communicate(timeout=100)
        assert away.returncode == 0
        assert "not sent to MLflow" in said
        postgres.start_again()
        assert replay() == 0
    finally:
        server.stop()
    assert postgres.ask("served", RUNS) == [("FINISHED", 31)] * (JOBS + 1)
    assert postgres.ask("served", PASSES) == [("FINISHED", JOBS + 1)]


def test_a_model_and_its_test_metrics(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joined by the fingerprint of the weights, as in a local file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOX3D_TRACKING", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres.create("models"))
    monkeypatch.setattr(tracking, "PATIENCE", 60.0)
    passed(tmp_path)
    store = MlflowClient(postgres.uri("models"))
    (trained,) = store.search_runs(["1"], "params.gmacs != ''")
    (model,) = store.search_logged_models(["1"])

    assert trained.data.metrics == {"lcr.top1": 0.75}
    assert [(one.key, one.value) for one in model.metrics or []] == [("lcr.top1", 0.75)]
    version = store.get_model_version_by_alias("autox3d-s", "newest")
    assert version.source == f"models:/{model.model_id}"
