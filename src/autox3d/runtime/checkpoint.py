"""Checkpoints of a long run that survive a power cut, a full disk or a second job.

    with Checkpoints(folder("train", params=params, genotype=genotype)) as kept:
        if saved := kept.newest():
            step, state = saved
        ...
            kept.save(step, state)

A file is one checkpoint: line 1 is the SHA-256 of everything after it, line 2 describes the
checkpoint in JSON (`head -2` shows it), and the rest is what torch.save wrote. The file gets its
name only once it is on the disk.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch

from autox3d.core import environment, names, schema
from autox3d.core.errors import Refused
from autox3d.runtime import activity
from autox3d.runtime.git import head
from autox3d.runtime.lock import Lock
from autox3d.runtime.program import RESUME as RESUME

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the quota, is full

_stop = False


class Damaged(Exception):
    """The file of a checkpoint is not what was written."""


def stop_requested() -> bool:
    """Whether SIGTERM or Ctrl-C was received: save after this step and exit with RESUME."""
    return _stop


def _request_stop(number: int, _frame: object) -> None:
    global _stop
    _stop = True
    if number == signal.SIGINT:  # a second Ctrl-C stops at once
        signal.signal(number, signal.default_int_handler)


def fingerprint(**parts: Any) -> str:
    """16 hex digits that identify everything that determines a result.

    A part is plain data, a dataclass, or a Path, which stands for the content of that file or
    folder. A setting that a later version added is left out while it has the value that keeps the
    earlier behaviour, so that the checkpoints of earlier versions are found.
    """
    text = json.dumps(_plain(parts), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder(stage: str, **parts: Any) -> Path:
    """The folder of a run's checkpoints, such as `checkpoints/train-0123456789abcdef`.

    It is the same under both engines and in every process.
    """
    return environment.checkpoints() / f"{stage}-{fingerprint(**parts)}"


class Checkpoints:
    """The checkpoints of one run, in a folder that only one job at a time may write.

    Inside `with`, SIGTERM and Ctrl-C set `stop_requested`. Ranks other than 0 pass
    `writes=False`: they read checkpoints and receive signals, and write nothing.
    """

    def __init__(self, folder: Path, keep: int = 3, *, writes: bool = True) -> None:
        self.folder, self.keep, self.writes = folder, keep, writes
        self._lock = Lock(folder / "claim.json")  # earlier versions use this name, too
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Locks the folder; raises Locked when another job is working in it."""
        global _stop
        _stop = False
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, _request_stop)
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            for left in self.folder.glob("*.part"):
                left.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def save(self, step: int, state: dict[str, Any], *, best: bool = False) -> None:
        """Writes the state of `step`, then deletes all but the last `keep` and the best.

        Raises:
            Refused: there is no space left, or another job has taken over the folder; the older
                checkpoints are kept.
            TypeError: the state has something that could not be read back.
        """
        if not self.writes:
            return
        _must_be_plain(state, "state")
        self._lock.check_held()
        also = self.folder / "best.ckpt" if best else None
        try:
            _write(self._name(step), _packed(step, state), also)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise Refused(self._no_room(step)) from error
        activity.note(saved=step)
        for old in self._steps()[: -self.keep]:
            self._name(old).unlink()

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest intact checkpoint as (step, state), tensors on the CPU; None if there is none.

        Raises:
            Refused: there are checkpoints, and none of them is intact.
        """
        steps = self._steps()
        for step in reversed(steps):
            try:
                state = _read(self._name(step))
                activity.note(saved=step)
                return step, state
            except Damaged as error:
                _say(f"{self._name(step)}: damaged: {error}. Using the one before.")
        if steps:
            raise Refused(
                f"{self.folder}: none of its {len(steps)} checkpoints is intact. "
                "Delete the folder to start over."
            )
        return None

    def best(self) -> dict[str, Any] | None:
        """The state that was last saved with `best=True`; None if there is none.

        Raises:
            Refused: its file is damaged.
        """
        path = self.folder / "best.ckpt"
        try:
            return _read(path) if path.exists() else None
        except Damaged as error:
            raise Refused(
                f"{path}: {error}. Delete it; the next best epoch is saved again."
            ) from error

    def resume_point(self) -> str:
        """A phrase for messages that says which step the run resumes from."""
        steps = self._steps()
        return f"step {steps[-1]} is kept, and the run resumes there" if steps else "none is kept"

    def _name(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.ckpt"

    def _steps(self) -> list[int]:
        """The steps of all complete files, ascending."""
        return sorted(int(path.stem[5:]) for path in self.folder.glob("step-*.ckpt"))

    def _no_room(self, step: int) -> str:
        return (
            f"{self.folder}: no room for step {step}; {self.resume_point()}. "
            "Free some space and run again."
        )


def _packed(step: int, state: dict[str, Any]) -> bytes:
    """The bytes of the file of a checkpoint."""
    body = io.BytesIO()
    about = {
        "format": names.FORMAT,
        "step": step,
        "commit": head()[:12],
        "torch": torch.__version__,
    }
    body.write(json.dumps(about).encode() + b"\n")
    torch.save(state, body)
    data = body.getvalue()
    return hashlib.sha256(data).hexdigest().encode() + b"\n" + data


def _read(path: Path) -> dict[str, Any]:
    """The state in a file; raises Damaged if any bit differs from what was written."""
    digest, _, data = path.read_bytes().partition(b"\n")
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise Damaged("its SHA-256 does not match")
    line, _, body = data.partition(b"\n")
    about = json.loads(line)
    names.check_format(about["format"], path)
    if about["commit"] != head()[:12]:
        _say(f"{path}: made at commit {about['commit']}, resumed at {head()[:12]}.")
    state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    return _modern(state) if about["format"] == 1 else state


def _modern(value: Any) -> Any:
    """The state of a format-1 checkpoint, with its layers renamed to the current names.

    Optimisers identify parameters by their order, which has not changed.
    """
    if not isinstance(value, dict):
        return value
    if all(isinstance(key, str) for key in value):
        value = names.modern(value)
    return {key: _modern(item) for key, item in value.items()}


def _write(name: Path, data: bytes, also: Path | None) -> None:
    """Writes a file atomically and durably: after a power cut it is complete or absent.

    It gets its name last: where `name` exists, `also` does.
    """
    part = name.with_suffix(".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if also:
            _link(part, also)
        part.replace(name)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(name.parent)


def _link(name: Path, other: Path) -> None:
    """Gives the file a second name, or copies it where the file system has no hard links."""
    part = other.with_suffix(".part")
    part.unlink(missing_ok=True)
    try:
        part.hardlink_to(name)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        shutil.copyfile(name, part)
    part.replace(other)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _must_be_plain(value: Any, place: str) -> None:
    """Raises TypeError for data that `torch.load(weights_only=True)` would not read back."""
    if isinstance(value, dict):
        for key, item in value.items():
            _must_be_plain(key, f"{place}, a key")
            _must_be_plain(item, f"{place}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _must_be_plain(item, f"{place}[{index}]")
    elif not (value is None or type(value) in (bool, int, float, str) or torch.is_tensor(value)):
        raise TypeError(f"{place} is a {type(value).__name__}: save tensors and plain data only")


def _plain(value: Any) -> Any:
    """The value as data that JSON writes in exactly one way."""
    if isinstance(value, Path):
        return dict(_digests(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        before = schema.added(type(value))
        return {
            name: _plain(part)
            for name, part in parts.items()
            if name not in before or part != before[name]
        }
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"no fingerprint of a {type(value).__name__}")


def _digests(path: Path) -> Iterator[tuple[str, str]]:
    """Yields (name, SHA-256) of a file, or of each file in a folder by its relative path."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise Refused(f"{path}: does not exist. Run the stage that makes it (dvc repro).")
    for file in files:
        with file.open("rb") as opened:
            name = "" if file == path else file.relative_to(path).as_posix()
            yield name, hashlib.file_digest(opened, "sha256").hexdigest()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
