"""MLflow has what the stages logged, whatever happens to it or to them in between."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autox3d.run import tracking

STAGE = """
import sys, time
from pathlib import Path
from autox3d.run import tracking

tracking.PATIENCE = 60.0
first, last, then = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
key = Path("checkpoints/run.txt")
with tracking.run("train", "s", {"lr": 0.4, "epochs": 3}, {"data": "8f3a"}, resume=key) as run:
    for step in range(first, last):
        run.log(step, {"loss": 1 / (step + 1)})
    run.artifact(Path("genotype.yaml"))
    if then == "hang":
        print("logged", flush=True)
        time.sleep(60)
"""


QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class Server:
    """A real MLflow server of one folder."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.url = folder, f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port"]
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        artifacts = ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, str(self.port), *store, *artifacts],
                env=os.environ | QUIET,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    def ask(self, path: str, **body: Any) -> Any:
        """The REST interface: POST where there is a body."""
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{path}",
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    def runs(self, experiment: str) -> list[Any]:
        try:
            found = self.ask(f"experiments/get-by-name?experiment_name={experiment}")
        except urllib.error.HTTPError:  # not there yet
            return []
        identity = found["experiment"]["experiment_id"]
        return self.ask("runs/search", experiment_ids=[identity]).get("runs", [])

    def losses(self, run: Any) -> list[tuple[int, float]]:
        query = f"run_id={run['info']['run_id']}&metric_key=loss"
        found = self.ask(f"metrics/get-history?{query}")["metrics"]
        return sorted((int(metric["step"]), metric["value"]) for metric in found)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def folder(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """A project of its own: a working directory and an experiment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    for name in ("AUTOX3D_TRACKING", "RANK"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "genotype.yaml").write_text("name: s\n")
    return tmp_path


def stage(first: int, last: int, then: str = "end") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STAGE, str(first), str(last), then]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def replay() -> int:
    return subprocess.run(
        [sys.executable, "-m", "autox3d.run.mirror", "replay"], capture_output=True, check=False
    ).returncode


def until_spool_is_empty() -> None:
    """A sender that outlived its stage's patience is given its time."""
    for _ in range(600):
        if not list(Path(tracking.SPOOL).glob("*.jsonl")):
            return
        time.sleep(0.1)
    raise AssertionError(list(Path(tracking.SPOOL).iterdir()))


def test_a_run_reads_back_over_rest(server: Server, folder: Path) -> None:
    """Name, parameters, every metric, tags and the artifact, of a run that finished."""
    with tracking.run("train", "s", {"sampling.jitter": (64, 80)}, {"data": "8f3a"}) as run:
        for step in range(1500):  # more than one request may hold
            run.log(step, {"loss": 1 / (step + 1), "top 1, %": 50.0})
        run.artifact(Path("genotype.yaml"))
    until_spool_is_empty()

    (found,) = server.runs("test_a_run_reads_back_over_rest")
    tags = {tag["key"]: tag["value"] for tag in found["data"]["tags"]}
    artifacts = server.ask(f"artifacts/list?run_id={found['info']['run_id']}")["files"]
    assert found["info"]["run_name"] == "train@s"
    assert found["info"]["status"] == "FINISHED"
    assert found["data"]["params"] == [{"key": "sampling.jitter", "value": "(64, 80)"}]
    assert server.losses(found) == [(step, 1 / (step + 1)) for step in range(1500)]
    assert {metric["key"] for metric in found["data"]["metrics"]} == {"loss", "top 1_ _"}
    assert tags["data"] == "8f3a"
    assert tags["dvc.stage"] == "train@s"
    assert "mlflow.source.git.commit" in tags
    assert [file["path"] for file in artifacts] == ["genotype.yaml"]


def test_an_outage_costs_the_stage_nothing_and_is_replayed(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is away: the stage ends well, says it in a line; one complete run later."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    away = stage(0, 50)
    _, said = away.communicate(timeout=60)
    assert away.returncode == 0
    assert "not sent to MLflow" in said
    assert len(said.splitlines()) == 1
    assert replay() == 1

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    assert replay() == 0
    (found,) = server.runs("test_an_outage_costs_the_stage_nothing_and_is_replayed")
    assert found["info"]["status"] == "FINISHED"
    assert [step for step, _ in server.losses(found)] == list(range(50))
    assert not list(tracking.SPOOL.iterdir())


def test_a_killed_stage_goes_on_in_the_same_run(server: Server, folder: Path) -> None:
    """kill -9 loses no line; the resumed stage adds to the run, which then is finished."""
    killed = stage(0, 20, "hang")
    assert killed.stdout
    assert killed.stdout.readline() == "logged\n"
    killed.kill()
    killed.communicate()
    until_spool_is_empty()
    (found,) = server.runs("test_a_killed_stage_goes_on_in_the_same_run")
    assert found["info"]["status"] == "KILLED"

    resumed = stage(15, 30)  # five steps again, since the last checkpoint
    resumed.communicate(timeout=60)
    until_spool_is_empty()
    (found,) = server.runs("test_a_killed_stage_goes_on_in_the_same_run")
    assert found["info"]["status"] == "FINISHED"
    assert {step for step, _ in server.losses(found)} == set(range(30))


def test_what_was_sent_may_be_sent_again(server: Server, folder: Path) -> None:
    """A journal that is replayed whole after its run was complete changes nothing."""
    with tracking.run("search", "", {"lr": 0.3}, {}) as run:
        run.log(0, {"loss": 2.0})
        run.log(1, {"loss": float("nan")})
        assert run.journal
        copy = run.journal.with_name("copy.jsonl")
    until_spool_is_empty()
    (before,) = server.runs("test_what_was_sent_may_be_sent_again")
    header = {"key": _tag(before, tracking.KEY), "name": "search", "params": {"lr": "0.3"}}
    header |= {"experiment": "test_what_was_sent_may_be_sent_again", "time": 1, "tags": {}}
    query = f"run_id={before['info']['run_id']}&metric_key=loss"
    metrics = server.ask(f"metrics/get-history?{query}")["metrics"]
    again = [
        {
            "step": int(m["step"]),
            "time": int(m["timestamp"]),
            "metrics": {"loss": float(m["value"])},
        }
        for m in metrics
    ]
    end = {"end": "FINISHED", "time": 2}
    copy.write_text("".join(json.dumps(line) + "\n" for line in [header, *again, end]))
    assert replay() == 0

    (after,) = server.runs("test_what_was_sent_may_be_sent_again")
    assert after["info"]["run_id"] == before["info"]["run_id"]
    assert len(server.ask(f"metrics/get-history?{query}")["metrics"]) == len(metrics) == 2


def _tag(run: Any, key: str) -> str:
    return next(tag["value"] for tag in run["data"]["tags"] if tag["key"] == key)


def test_jobs_at_once_on_a_fresh_local_store_lose_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four stages that all find no mlflow.db: four whole runs."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    script = STAGE.replace(", resume=key", "")
    jobs = [subprocess.Popen([sys.executable, "-c", script, "0", "30", "end"]) for _ in range(4)]
    assert [job.wait(60) for job in jobs] == [0] * 4
    until_spool_is_empty()

    import sqlite3

    with sqlite3.connect(folder / "mlflow.db") as store:
        assert store.execute("select count(*), min(status), max(status) from runs").fetchone() == (
            4,
            "FINISHED",
            "FINISHED",
        )
        assert store.execute("select count(*) from metrics").fetchone() == (120,)


def test_logging_costs_microseconds(folder: Path) -> None:
    """Half of the calls take less than 50 us."""
    costs = []
    with tracking.run("train", "s", {}, {}) as run:
        for step in range(2000):
            begin = time.perf_counter()
            run.log(step, {"loss": 0.1, "top1": 0.5, "lr": 0.01})
            costs.append(time.perf_counter() - begin)

    assert statistics.median(costs) < 50e-6


def test_a_spool_that_cannot_be_written_stops_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file in its place: one line, and the stage goes on."""
    tracking.SPOOL.write_text("in the way")
    with tracking.run("train", "s", {}, {}) as run:
        run.log(0, {"loss": 1.0})

    assert capfd.readouterr().err == ".mlflow-spool: File exists. This run is not tracked.\n"


@pytest.mark.parametrize(("name", "value"), [("AUTOX3D_TRACKING", "off"), ("RANK", "1")])
def test_who_does_not_track_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Tracking switched off, or a process that is not rank 0."""
    monkeypatch.setenv(name, value)
    with tracking.run("train", "s", {}, {}, resume=Path("key.txt")) as run:
        run.log(0, {"loss": 1.0})
        run.artifact(Path("genotype.yaml"))

    assert [path.name for path in folder.iterdir()] == ["genotype.yaml"]
