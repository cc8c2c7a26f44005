"""Tracking of runs in MLflow, without ever waiting for it or for the network.

A stage writes a journal, one JSON line a record, under `.mlflow-spool/`. A second process,
`autox3d.runtime.mirror`, reads the journal and sends it. So neither MLflow's import nor its
requests happen in the training process, and no fork of a data worker catches an import halfway.
Records that could not be sent, because the server or the machine was down, stay in the journal
until the next run sends them, or

    python -m autox3d.runtime.mirror replay

The runs of one pass of the pipeline, which is one git commit and one params.yaml, have one parent
run. Every job of a cluster computes the same key of it, and so does a stage that resumes.

`MLFLOW_TRACKING_URI` names the server; without it, `sqlite:///mlflow.db` in the clone's folder,
where the second process works: it outlives the copy of the clone in which DVC runs an experiment.
`MLFLOW_EXPERIMENT_NAME` names the experiment. `AUTOX3D_TRACKING=off` writes nothing.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from autox3d.core import environment
from autox3d.runtime.git import head

SPOOL = Path(".mlflow-spool")  # in the clone's folder
PROJECT = "autox3d"
KEY = "run_key"  # the tag that finds a run again
PARAMS = Path("params.yaml")  # with the commit, it names the pass
USES, MADE = "weights", "weights.made"  # tags: fingerprints of a folder that was tested, trained
# s that a stage waits until its last records are sent. Without SLURM the sender outlives the stage.
PATIENCE = 30.0 if "SLURM_JOB_ID" in os.environ else 2.0
Record = dict[str, Any]


class Run:
    """The tracked run of a stage; none of its methods fails because of the network."""

    def __init__(self, journal: Path | None) -> None:
        self.journal = journal
        self._file = _open_locked(journal) if journal else None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of one step, which takes microseconds."""
        values = {name: float(value) for name, value in metrics.items()}
        self._append({"step": int(step), "time": now(), "metrics": values})

    def params(self, params: Mapping[str, object]) -> None:
        """Logs parameters that are known only after the run has begun."""
        self._append({"params": _texts(params)})

    def artifact(self, path: Path) -> None:
        """Logs a small file as it is now: it is copied to the spool."""
        if kept := self._keep(path, shutil.copyfile):
            self._append({"artifact": kept})

    def model(self, folder: Path, fingerprint: str) -> None:
        """Registers the folder of a trained network as a version of the model `autox3d-s`.

        Runs whose tag `weights` is the same fingerprint have tested it: their metrics are added.
        """
        if kept := self._keep(folder, shutil.copytree):
            name = plain(f"{_experiment()}-{folder.name}").replace("/", "_")
            record = {"model": kept, "name": name, "time": now(), "fingerprint": fingerprint}
            self._append(record)

    def _keep(self, path: Path, copy: Callable[[Path, Path], object]) -> str | None:
        """Copies to the spool and returns the place; None without tracking or on a full disk."""
        if not self._file or not self.journal:
            return None
        kept = self.journal.with_suffix("") / f"{time.time_ns()}" / path.name
        try:
            kept.parent.mkdir(parents=True)
            copy(path, kept)
        except OSError as error:
            reason = error.strerror or "its files cannot be copied"  # shutil.Error has a list
            print(f"{kept}: {reason}. {path} is not tracked.", file=sys.stderr)
            return None
        return str(kept.relative_to(self.journal.parent))

    def _append(self, record: Record) -> None:
        if not self._file:
            return
        try:
            line = f"{json.dumps(record)}\n".encode()
            if self._file.write(line) != len(line):  # only some bytes fitted on the disk
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:  # a full disk fails the stage only when its own files do not fit
            print(f"{self.journal}: {error.strerror}. Tracking stopped.", file=sys.stderr)
            self._file = None


@contextmanager
def run(
    stage: str,
    name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    resume: Path | None = None,
    *,
    enabled: bool = True,
    began: int | None = None,
) -> Iterator[Run]:
    """Tracks the block as a run `stage@name`, which ends as finished, failed or killed.

    Args:
        stage: the name in dvc.yaml.
        name: the name of the network, or "" if the stage has no items.
        params: plain data; tables within it become `table.name`.
        tags: further facts that identify the run, such as the fingerprint of its data.
        resume: a small file that keeps the key of the run, so that a resumed stage continues it.
        enabled: false writes nothing.
        began: when the work began, in ms, where nothing may run beside it; by default now.
    """
    wanted = enabled and environment.tracking()
    if not wanted or os.environ.get("RANK", "0") != "0":
        yield Run(None)
        return
    key, spool = _key(resume), environment.clone() / SPOOL
    try:
        spool.mkdir(exist_ok=True)
        mirrored = Run(spool / f"{key}-{time.time_ns()}.jsonl")
    except OSError as error:
        print(f"{spool}: {error.strerror}. This run is not tracked.", file=sys.stderr)
        yield Run(None)
        return
    header = _header(key, f"{stage}@{name}" if name else stage, params, tags)
    mirrored._append(header | ({"time": began} if began else {}))
    sender = _start_sender(mirrored)
    status = "FAILED"
    try:
        yield mirrored
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        mirrored._append({"end": status, "time": now()})
        _wait(sender, mirrored)


def _open_locked(journal: Path) -> FileIO:
    """A new journal, locked before it gets its name: an unlocked journal counts as abandoned."""
    part = journal.with_suffix(".part")
    file = part.open("ab", buffering=0)
    fcntl.flock(file, fcntl.LOCK_EX)
    part.rename(journal)
    return file


def _key(resume: Path | None) -> str:
    if resume and resume.exists():
        return resume.read_text(encoding="utf-8").strip()
    key = uuid.uuid4().hex
    if resume:
        resume.parent.mkdir(parents=True, exist_ok=True)
        part = resume.with_name(f".{resume.name}.part")
        part.write_text(key + "\n", encoding="utf-8")
        part.replace(resume)
    return key


def _experiment() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)


def _header(key: str, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> Record:
    program = Path(sys.argv[0]).name
    source = {"mlflow.source.name": program, "mlflow.source.type": "LOCAL"}
    source["command"] = " ".join([program, *sys.argv[1:]])
    source |= {"mlflow.source.git.commit": head(), "dvc.stage": name, KEY: key}
    if experiment := environment.experiment():
        source["dvc.experiment"] = experiment
    return {
        "key": key,
        "name": name,
        "experiment": _experiment(),
        "time": now(),
        "pass": _pass(),
        "params": _texts(params),
        "tags": source | {plain(k): str(v)[:5000] for k, v in tags.items()},
    }


def _pass() -> Record | None:
    """Key and name of the pass of the pipeline; None where there is no pipeline."""
    if not PARAMS.exists():
        return None
    settings = hashlib.sha256(PARAMS.read_bytes()).hexdigest()
    whole = f"{head()} {settings} {environment.experiment()}"
    name = environment.experiment() or f"{head()[:7] or 'no git'}, {settings[:6]}"
    return {"key": hashlib.sha256(whole.encode()).hexdigest()[:32], "name": f"pipeline {name}"}


def _texts(params: Mapping[str, object]) -> dict[str, str]:
    return {plain(k): str(v)[:6000] for k, v in _flat(params).items()}


def _flat(params: Mapping[str, object]) -> dict[str, object]:
    """{"sampling": {"flip": False}} -> {"sampling.flip": False}."""
    flat: dict[str, object] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": v for inner, v in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def plain(name: str) -> str:
    """The name with an underscore for each character that MLflow does not allow."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)


def now() -> int:
    """The current time in milliseconds, the unit of MLflow."""
    return time.time_ns() // 1_000_000


def _start_sender(mirrored: Run) -> subprocess.Popen[bytes]:
    """Starts the sender in its own session, so that it survives Ctrl-C and the end of the stage.

    It inherits the lock on the journal: while either process lives, no other one sends it.
    """
    assert mirrored.journal
    assert mirrored._file
    command = [sys.executable, "-m", "autox3d.runtime.mirror", "follow"]
    with mirrored.journal.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [*command, str(SPOOL / mirrored.journal.name), str(os.getpid())],
            cwd=environment.clone(),
            env=os.environ | {"PYTHONPATH": _lasting(os.environ.get("PYTHONPATH", ""))},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[mirrored._file.fileno()],
            start_new_session=True,
        )


def _lasting(path: str) -> str:
    """The places of code without those in a copy of the clone, which the sender may outlive."""
    copied = environment.clone() != Path()
    places = path.split(os.pathsep)
    return os.pathsep.join(p for p in places if not (copied and Path.cwd() in Path(p).parents))


def _wait(sender: subprocess.Popen[bytes], mirrored: Run) -> None:
    """Waits for the sender, and prints a line if the server was down; it may finish alone."""
    assert mirrored.journal
    if mirrored._file:
        mirrored._file.close()
    try:
        status = sender.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        sender.returncode = 0  # no longer ours: Popen would warn of it
        return
    if status:
        print(
            f"{mirrored.journal}: not sent to MLflow (why: {mirrored.journal.with_suffix('.log')})."
            " The next run sends it, or: python -m autox3d.runtime.mirror replay",
            file=sys.stderr,
        )
