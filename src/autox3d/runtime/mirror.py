"""Sends the journals of `autox3d.runtime.tracking` to MLflow. No other file imports MLflow.

    python -m autox3d.runtime.mirror replay

Sending is idempotent: a run is looked up by our own key before it is created, a model's version by
its run and time, and MLflow stores the same metric (name, step, time, value) once. So after an
error everything is sent again. MLflow's own retries are off: they would create a run a second
time if the first answer was lost.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Set before MLflow is imported: no telemetry, and short waits, since giving up loses nothing.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
os.environ.update(QUIET)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from autox3d.runtime.tracking import KEY, SPOOL, Record, plain  # noqa: E402

STORE = "sqlite:///mlflow.db"
KIND = "mlflow.experimentKind"  # so that the page opens with training runs
NEWEST = "newest"  # the alias of the version that was trained last; MLflow reserves "latest"
MADE = "made"  # a version's tag: when, in ms


@dataclass
class Mirror:
    """One journal, and how much of it has been sent."""

    journal: Path
    run_id: str = ""
    sent: int = 0  # bytes
    ended: bool = False

    def send(self, client: MlflowClient, *, orphan: bool = False) -> None:
        """Sends all complete lines after `sent`.

        Args:
            orphan: the stage is gone; if the journal has no end, the run is marked as killed
        """
        with self.journal.open("rb") as file:
            file.seek(self.sent)
            lines = file.read().rpartition(b"\n")[0].splitlines()
        records = [json.loads(line) for line in lines]
        if records and not self.run_id:
            self.run_id = _open_run(client, records[0])
        _log_metrics(client, self.run_id, records)
        for record in records:
            if "artifact" in record:
                client.log_artifact(self.run_id, str(self.journal.parent / record["artifact"]))
            if "model" in record:
                _register(client, self.run_id, self.journal.parent / record["model"], record)
            if "end" in record:
                client.set_terminated(self.run_id, record["end"], record["time"])
                self.ended = True
        self.sent += sum(len(line) + 1 for line in lines)
        if orphan and self.run_id and not self.ended:
            client.set_terminated(self.run_id, "KILLED")
            self.ended = True

    def delete(self) -> None:
        """Removes the journal and its copies from the spool."""
        shutil.rmtree(self.journal.with_suffix(""), ignore_errors=True)
        self.journal.with_suffix(".log").unlink(missing_ok=True)
        self.journal.unlink()


def _open_run(client: MlflowClient, header: Record) -> str:
    """Finds or creates the run of the header's key, sets parameters and tags, returns the id."""
    experiment = _experiment(client, header["experiment"])
    runs = client.search_runs([experiment], f"tags.{KEY} = '{header['key']}'", max_results=1)
    if runs:
        run_id = runs[0].info.run_id
        client.update_run(run_id, status="RUNNING")
    else:  # with the key at once: a crash in between would leave a run that nobody finds
        named = {"run_name": header["name"], "start_time": header["time"]}
        created = client.create_run(experiment, tags={KEY: header["key"]}, **named)
        run_id = created.info.run_id
    client.log_batch(run_id, tags=[RunTag(k, v) for k, v in header["tags"].items()])
    params = [Param(k, v) for k, v in header["params"].items()]
    for start in range(0, len(params), 100):  # MLflow's limit
        try:
            client.log_batch(run_id, params=params[start : start + 100])
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            print(f"{header['name']}: MLflow keeps the first parameters: {error.message}")
    return run_id


def _register(client: MlflowClient, run_id: str, folder: Path, record: Record) -> None:
    """Registers the folder as a version of a model; the alias marks the one trained last."""
    name, made = record["name"], str(record["time"])
    with _unless_there():
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    if not any(v.run_id == run_id and v.tags.get(MADE) == made for v in versions):
        place = f"weights/{made}"  # a run that resumed may have an earlier one
        client.log_artifacts(run_id, str(folder), place)
        source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
        versions += [client.create_model_version(name, source, run_id, {MADE: made})]
    last = max(versions, key=lambda version: int(version.tags.get(MADE, "0")))
    client.set_registered_model_alias(name, NEWEST, last.version)


@contextmanager
def _unless_there() -> Iterator[None]:
    """Ignores that another job has just created the same thing."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _experiment(client: MlflowClient, name: str) -> str:
    if client.get_experiment_by_name(name) is None:
        with _unless_there():
            client.create_experiment(name, tags={KIND: "custom_model_development"})
    experiment = client.get_experiment_by_name(name)
    assert experiment
    return experiment.experiment_id


def _log_metrics(client: MlflowClient, run_id: str, records: list[Record]) -> None:
    metrics = [
        Metric(plain(name), value, record["time"], record["step"])
        for record in records
        for name, value in record.get("metrics", {}).items()
    ]
    for start in range(0, len(metrics), 1000):  # MLflow's limit
        client.log_batch(run_id, metrics=metrics[start : start + 1000])


@contextmanager
def _store() -> Iterator[MlflowClient]:
    """A client of the tracking store; for a local file, the only one at a time.

    One program at a time creates the tables of a database, and SQLite's file under a temporary
    name: two programs that create them at once leave a broken database. With SQLite, the lock also
    avoids "database is locked" in parallel jobs.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", STORE)
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        with _alone(path.with_name(f".{path.name}.lock")):
            if not path.exists():
                part = path.with_name(f".{path.name}.part")
                part.unlink(missing_ok=True)
                MlflowClient(f"sqlite:///{part}").search_experiments()
                part.replace(path)
            yield MlflowClient(uri)
        return
    if not uri.startswith("http"):
        SPOOL.mkdir(exist_ok=True)
        with _alone(SPOOL / "store.lock"):
            MlflowClient(uri).search_experiments(max_results=1)
    yield MlflowClient(uri)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _try(mirror: Mirror, *, orphan: bool = False) -> bool:
    """Sends the new records; returns False, with a line on stderr, if the store is down."""
    try:
        with _store() as client:
            mirror.send(client, orphan=orphan)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        print(f"{mirror.journal}: {error}", file=sys.stderr, flush=True)
        return False
    return True


def replay(key: str = "", own: Path | None = None) -> bool:
    """Sends every journal whose stage is gone; returns whether all could be sent.

    Args:
        key: of a run; wait for its journals even if another sender holds them
        own: a journal to leave out
    """
    all_sent = True
    for journal in sorted(SPOOL.glob("*.jsonl")):
        if journal == own:
            continue
        wait = 0 if key and journal.name.startswith(f"{key}-") else fcntl.LOCK_NB
        try:
            with journal.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | wait)
                mirror = Mirror(journal)
                if _try(mirror, orphan=True):
                    mirror.delete()
                else:
                    all_sent = False
        except (BlockingIOError, FileNotFoundError):
            continue  # its own sender has it, or has just deleted it
    return all_sent


def follow(journal: Path, stage: int) -> bool:
    """Sends a journal while it grows, until it ends or process `stage` is gone."""
    replay(journal.name.partition("-")[0], own=journal)
    mirror, pause, due = Mirror(journal), 0.0, 0.0
    while True:
        gone = os.getppid() != stage
        ending = gone or b'"end"' in journal.read_bytes()[-100:]
        if ending or time.monotonic() >= due:
            sent = _try(mirror, orphan=gone)
            if mirror.ended:
                mirror.delete()
                return True
            if ending and not sent:
                return False
            pause = (
                2.0 if sent else min(2 * pause + 1, 60.0)
            )  # s; longer and longer while the store is down
            due = time.monotonic() + pause
        time.sleep(0.2)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["follow", journal, stage]:
            sys.exit(not follow(Path(journal), int(stage)))
        case ["replay"]:
            with _store():  # made here if need be, before a server opens it
                pass
            if not replay():
                raise SystemExit(
                    f"{SPOOL}: not all journals could be sent. Is the server up? Try again."
                )
        case _:
            raise SystemExit("usage: python -m autox3d.runtime.mirror replay")


if __name__ == "__main__":
    main(sys.argv[1:])
