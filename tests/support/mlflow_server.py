"""A real MLflow server, and a stage that logs to it, which can be told when to wait."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from autox3d.runtime import tracking
from support import programs

# Steps first to last; with `wait`, a pause before each of them for as long as that file is there.
STAGE = """
import sys, time
from pathlib import Path

calls = []
sys.addaudithook(lambda event, _: calls.append(event) if event.startswith("socket.") else None)

from autox3d.runtime import tracking

tracking.PATIENCE = float(sys.argv[3])
first, last = int(sys.argv[1]), int(sys.argv[2])
key = Path("checkpoints/run.txt") if "resume" in sys.argv else None
with tracking.run("train", "s", {"lr": 0.4, "epochs": 3}, {"data": "8f3a"}, resume=key) as run:
    for step in range(first, last):
        run.log(step, {"loss": 1 / (step + 1)})
    run.artifact(Path("genotype.yaml"))
    print("logged", flush=True)
    while Path("wait").exists():
        time.sleep(0.05)
    run.log(last, {"loss": 1 / (last + 1)})
assert not calls, calls  # no socket is made, not even to look up a name
assert "mlflow" not in sys.modules
"""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A server of one folder, with SQLite there or the database of a URI."""

    def __init__(self, folder: Path, store: str = "") -> None:
        self.port = free_port()
        self.folder, self.url = folder, f"http://127.0.0.1:{self.port}"
        self.store = store or f"sqlite:///{folder}/server.db"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port"]
        artifacts = ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(self.port), "--backend-store-uri", self.store, *artifacts],
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
        """kill -9."""
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
        """All of the experiment; none where it is not there yet."""
        try:
            found = self.ask(f"experiments/get-by-name?experiment_name={experiment}")
        except urllib.error.HTTPError:
            return []
        identity = found["experiment"]["experiment_id"]
        return self.ask("runs/search", experiment_ids=[identity]).get("runs", [])

    def losses(self, run: Any) -> list[tuple[int, float]]:
        """(step, loss), sorted."""
        query = f"run_id={run['info']['run_id']}&metric_key=loss"
        found = self.ask(f"metrics/get-history?{query}").get("metrics", [])
        return sorted((int(metric["step"]), metric["value"]) for metric in found)


def stage(
    first: int, last: int, *words: str, patience: float = 60.0, **environment: str
) -> subprocess.Popen[str]:
    """In the working directory; it logs `last`, too, as soon as no file `wait` is there."""
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, str(first), str(last), str(patience), *words],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def replay() -> int:
    """The exit status of the command that one types."""
    command = [sys.executable, "-m", "autox3d.runtime.mirror", "replay"]
    return programs.run("tracking", command, Path.cwd()).returncode


def until_spool_is_empty() -> None:
    """A sender that outlived its stage's patience is given its time."""
    for _ in range(600):
        if not list(Path(tracking.SPOOL).glob("*.jsonl")):
            return
        time.sleep(0.1)
    raise AssertionError(list(Path(tracking.SPOOL).iterdir()))


def until_step(server: Server, experiment: str, step: int) -> None:
    """Until the server has this step of the one run."""
    for _ in range(300):
        runs = server.runs(experiment)
        if runs and step in dict(server.losses(runs[0])):
            return
        time.sleep(0.1)
    raise AssertionError(f"step {step} never came")
