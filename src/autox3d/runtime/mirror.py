"""Sends the journals of `autox3d.runtime.tracking` to MLflow.

    python -m autox3d.runtime.mirror replay

Sending is idempotent: a run is looked up by our own key before it is created, a model by its run
and time (`autox3d.runtime.registry`), and MLflow stores the same metric (name, step, time, value)
once. So after an error everything is sent again. MLflow's own retries are off: they would create a
run a second time if the first answer was lost.
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
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunInfo, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from autox3d.runtime import registry, view  # noqa: E402
from autox3d.runtime.tracking import KEY, PROJECT, SPOOL, USES, Record, now, plain  # noqa: E402

STORE = "sqlite:///mlflow.db"
PARENT = "mlflow.parentRunId"
DATA = "data"  # the tag with the fingerprint of the table of clips


@dataclass
class Mirror:
    """One journal, and how much of it has been sent."""

    journal: Path
    run_id: str = ""
    experiment: str = ""
    parent: str = ""  # the run of the pass
    tested: str = ""  # the fingerprint of the weights that the run tests
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
            self._open(client, records[0])
        _log_metrics(client, self.run_id, records)
        for record in records:
            self._send(client, record)
        self.sent += sum(len(line) + 1 for line in lines)
        if orphan and self.run_id and not self.ended:
            self._end(client, "KILLED", now())

    def _open(self, client: MlflowClient, header: Record) -> None:
        self.experiment = experiment_id(client, header["experiment"])
        self.tested = header["tags"].get(USES, "")
        if not (whole := header.get("pass")):
            self.run_id = _open_run(client, self.experiment, header)
            return
        with _alone(SPOOL / "pass.lock"):
            self.parent = _open_pass(client, self.experiment, whole, header["time"])
            header["tags"][PARENT] = self.parent
            self.run_id = _open_run(client, self.experiment, header)

    def _send(self, client: MlflowClient, record: Record) -> None:
        """Sends what is not a metric."""
        if "params" in record and "key" not in record:
            _log_params(client, self.run_id, record["params"])
        if "artifact" in record:
            client.log_artifact(self.run_id, str(self.journal.parent / record["artifact"]))
        if "model" in record:
            folder = self.journal.parent / record["model"]
            registry.register(client, self.run_id, folder, record)
            registry.join(client, self.experiment, record.get("fingerprint", ""))
        if "end" in record:
            registry.join(client, self.experiment, self.tested)
            self._end(client, record["end"], record["time"])

    def _end(self, client: MlflowClient, status: str, when: int) -> None:
        client.set_terminated(self.run_id, status, when)
        if self.parent:
            with _alone(SPOOL / "pass.lock"):  # a run that is just being opened is seen
                _end_pass(client, self.experiment, self.parent)
        self.ended = True

    def delete(self) -> None:
        """Removes the journal and its copies from the spool."""
        shutil.rmtree(self.journal.with_suffix(""), ignore_errors=True)
        self.journal.with_suffix(".log").unlink(missing_ok=True)
        self.journal.unlink()


def _open_pass(client: MlflowClient, experiment: str, whole: Record, began: int) -> str:
    """Finds or creates the run of the pass, which has new work."""
    runs = client.search_runs([experiment], f"tags.{KEY} = '{whole['key']}'", max_results=1)
    if not runs:
        named = {"run_name": whole["name"], "start_time": began}
        return client.create_run(experiment, tags={KEY: whole["key"]}, **named).info.run_id
    client.update_run(runs[0].info.run_id, status="RUNNING")
    return runs[0].info.run_id


def _end_pass(client: MlflowClient, experiment: str, parent: str) -> None:
    """Ends the run of the pass with the last of its runs; a run that was repeated counts once."""
    of_pass = f"tags.`{PARENT}` = '{parent}'"
    if client.search_runs([experiment], f"{of_pass} and attributes.status = 'RUNNING'"):
        return
    runs: list[RunInfo] = []
    token = None
    while token != "":
        asked = {"order_by": ["attributes.start_time"], "page_token": token}
        page = client.search_runs([experiment], of_pass, **asked)
        runs += [run.info for run in page]
        token = page.token or ""
    last = {run.run_name: run.status for run in runs}  # of a name, the run that began last
    worst = next((one for one in ("FAILED", "KILLED") if one in last.values()), "FINISHED")
    client.set_terminated(parent, worst, max(run.end_time or 0 for run in runs))


def _open_run(client: MlflowClient, experiment: str, header: Record) -> str:
    """Finds or creates the run of the header's key, sets parameters and tags, returns the id."""
    runs = client.search_runs([experiment], f"tags.{KEY} = '{header['key']}'", max_results=1)
    if runs:
        run_id = runs[0].info.run_id
        client.update_run(run_id, status="RUNNING")
    else:  # with the key at once: a crash in between would leave a run that nobody finds
        named = {"run_name": header["name"], "start_time": header["time"]}
        created = client.create_run(experiment, tags={KEY: header["key"]}, **named)
        run_id = created.info.run_id
    client.log_batch(run_id, tags=[RunTag(k, v) for k, v in header["tags"].items()])
    if digest := header["tags"].get(DATA):
        source = json.dumps({"uri": "data/clips.parquet"})
        clips = Dataset("clips", digest[:36], "local", source)  # MLflow's limit
        client.log_inputs(run_id, [DatasetInput(clips)])
    _log_params(client, run_id, header["params"])
    return run_id


def _log_params(client: MlflowClient, run_id: str, texts: dict[str, str]) -> None:
    params = [Param(k, v) for k, v in texts.items()]
    for start in range(0, len(params), 100):  # MLflow's limit
        try:
            client.log_batch(run_id, params=params[start : start + 100])
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            print(f"{run_id}: MLflow keeps the first parameters: {error.message}")


def experiment_id(client: MlflowClient, name: str) -> str:
    """The id of the experiment, which is created where it is not there yet."""
    if client.get_experiment_by_name(name) is None:
        with registry.unless_there():
            client.create_experiment(name)
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
        case ["address", port]:
            with _store() as client:
                name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
                table, charts = view.addresses(client, experiment_id(client, name), port)
            print(f"runs: {table}\naccuracy over cost: {charts}", flush=True)
        case _:
            raise SystemExit("usage: python -m autox3d.runtime.mirror replay")


if __name__ == "__main__":
    main(sys.argv[1:])
