"""The environment variables of this project: their meanings and current values.

They set locations and the use of the machine, and never change a result. Each is read at every
call, so that one process can set it for another. docs/OPERATIONS.md lists them.

A clone has one set of raw videos, checkpoints, tracked runs and signs of life. DVC runs queued
experiments in copies of the clone that it deletes afterwards; `clone` says where the clone is.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple

from autox3d.core.errors import Refused


class Variable(NamedTuple):
    """One row of the table in docs/OPERATIONS.md."""

    name: str
    default: str  # a value, or a description if it depends on the machine
    meaning: str


RAW = Variable("AUTOX3D_RAW", "data/raw", "the raw videos and annotations")
SHARDS = Variable(
    "AUTOX3D_SHARDS",
    "data/shards",
    "where stages read the transcoded shards; a copy on a faster disk, for example",
)
PROCESSES = Variable(
    "AUTOX3D_PROCESSES",
    "one for each GPU, else one",
    "CPU processes on each node, in place of the GPUs",
)
WORKERS = Variable("AUTOX3D_WORKERS", "from the cores of the job", "loader processes of each rank")
CHECKPOINTS = Variable(
    "AUTOX3D_CHECKPOINTS",
    "checkpoints",
    "the folder of all checkpoints; on a file system that all nodes see",
)
SAVE_EVERY = Variable(
    "AUTOX3D_SAVE_EVERY", "600", "s between checkpoints within an epoch; each epoch ends with one"
)
TIMEOUT = Variable(
    "AUTOX3D_TIMEOUT", "1800", "s that a rank waits for the others before it gives up"
)
PATIENCE = Variable("AUTOX3D_PATIENCE", "3600", "s that a job waits for DVC's lock")
TRACKING = Variable("AUTOX3D_TRACKING", "on", "`off` writes no metrics to MLflow")
ALL = (RAW, SHARDS, PROCESSES, WORKERS, CHECKPOINTS, SAVE_EVERY, TIMEOUT, PATIENCE, TRACKING)

MEETING = "AUTOX3D_MEETING"  # internal: job/node/host:port, set by the launchers of a job's nodes


def experiment() -> str:
    """The name of DVC's experiment that this process works for; empty outside of one."""
    return os.environ.get("DVC_EXP_NAME", "")


def clone() -> Path:
    """The folder of what all runs of a clone share, relative where it is the current one.

    A stage of an experiment of DVC (`dvc exp run --temp`, `--queue`) runs in a copy of the clone,
    and learns from DVC where the clone is.
    """
    root = os.environ.get("DVC_ROOT", "") if experiment() else ""
    return Path() if not root or Path.cwd() == Path(root).resolve() else Path(root)


def raw() -> Path:
    """The folder that paths of raw videos and annotation files are relative to."""
    return clone() / _text(RAW)


def shards() -> Path:
    """The folder of the transcoded shards."""
    return Path(_text(SHARDS))


def checkpoints() -> Path:
    """The folder of all checkpoints."""
    return clone() / _text(CHECKPOINTS)


def processes() -> int | None:
    """The number of CPU processes on a node; None if the variable is not set.

    Raises:
        Refused: the value is not a whole number of at least 1.
    """
    return _whole(PROCESSES, 1)


def workers() -> int | None:
    """The number of loader processes of a rank; None if the variable is not set.

    Raises:
        Refused: the value is not a whole number of at least 0.
    """
    return _whole(WORKERS, 0)


def save_every() -> float:
    """Seconds between checkpoints within an epoch.

    Raises:
        Refused: the value is not a number of seconds.
    """
    return _seconds(SAVE_EVERY)


def timeout() -> float:
    """Seconds that a rank waits for the others.

    Raises:
        Refused: the value is not a number of seconds.
    """
    return _seconds(TIMEOUT)


def patience() -> float:
    """Seconds that a job waits for DVC's lock.

    Raises:
        Refused: the value is not a number of seconds.
    """
    return _seconds(PATIENCE)


def tracking() -> bool:
    """Whether metrics go to MLflow."""
    return _text(TRACKING) != "off"


def _text(variable: Variable) -> str:
    return os.environ.get(variable.name, variable.default)


def _whole(variable: Variable, least: int) -> int | None:
    text = os.environ.get(variable.name)
    if text is None:
        return None
    if not text.isdecimal() or int(text) < least:
        raise Refused(f"{variable.name}: must be a number from {least} on, not '{text}'.")
    return int(text)


def _seconds(variable: Variable) -> float:
    text = _text(variable)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise Refused(f"{variable.name}: must be a number of seconds from 0 on, not '{text}'.")
    return seconds
