"""What the pipeline is doing, from files alone: no lock, no hash, nothing written.

`dvc status` hashes what stages depend on, under a lock that a running `dvc repro` may need. This
reads dvc.yaml, params.yaml, dvc.lock, the signs that stages write (`autox3d.runtime.activity`) and
the locks of the engines. It takes a stage as done when its outputs are there, and dvc.lock has it
with its present command and settings and with the inputs that dvc.lock has as the outputs of the
stages before. Whether code, or a file behind DVC's back, has changed since, is a question for
`dvc status`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("DVC_NO_ANALYTICS", "1")

import networkx as nx
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc.stage import PipelineStage

from autox3d.core import schema
from autox3d.core.errors import Refused
from autox3d.pipeline.bridge import WORKSPACE_LOCK
from autox3d.pipeline.patience import one_line
from autox3d.runtime.activity import EXPERIMENTS, Sign, path, read
from autox3d.runtime.progress import clock

DVC_LOCKS = Path(".dvc/tmp/rwlock")
State = Literal["running", "failed", "stopped", "ended", "to run", "waiting", "done"]


@dataclass(frozen=True, slots=True)
class Row:
    """A stage, or a run of an experiment."""

    stage: str
    state: State
    text: str = ""
    experiment: str = ""  # of DVC, in a copy of the clone


def engines() -> list[str]:
    """A line for each engine that is at work here, as far as its files say."""
    lines = []
    if owner := _json(WORKSPACE_LOCK):
        lines.append(f"snakemake is at work: process {owner['pid']} on {owner['host']}")
    locks = _json(DVC_LOCKS) or {}
    holders = [[one] for one in locks.get("write", {}).values()] + [*locks.get("read", {}).values()]
    for pid, command in sorted({(one["pid"], one["cmd"]) for held in holders for one in held}):
        program, _, words = command.partition(" ")
        gone = "" if Path(f"/proc/{pid}").exists() else ", which is not on this node or was killed"
        lines.append(f"dvc is at work: process {pid}{gone}: {Path(program).name} {words}")
    return lines


def rows() -> list[Row]:
    """All stages in the order of the pipeline, then what experiments are doing.

    Raises:
        Refused: dvc.yaml, params.yaml or dvc.lock cannot be read.
    """
    graph, stages, recorded = _pipeline()
    now = [recorded.get(str(one.addressing)) or {} for one in stages]  # DVC keeps others, too
    made = {out["path"]: out.get("md5") for one in now for out in one.get("outs", [])}
    found: dict[str, Row] = {}
    for stage in stages:
        name = str(stage.addressing)
        before = [] if stage.frozen else [str(one.addressing) for one in graph.successors(stage)]
        missing = [one for one in before if one in found and found[one].state != "done"]
        why = _changed(stage, recorded.get(name), made)
        found[name] = _row(name, "" if stage.frozen else why, missing)
    return [*found.values(), *_experiments()]


def _pipeline() -> tuple[nx.DiGraph, list[PipelineStage], dict[str, Any]]:
    """The graph of the stages, the stages in its order, and dvc.lock."""
    for patience in (1.0, 1.0, 0.0):
        try:
            with one_line("dvc.yaml"):
                index = Repo(os.curdir).index
                place = {stage: number for number, stage in enumerate(index.stages)}
                order = nx.lexicographical_topological_sort(index.graph.reverse(), place.get)
                lock = Path("dvc.lock")
                recorded = (schema.parse(lock).get("stages") or {}) if lock.exists() else {}
                return index.graph, [s for s in order if isinstance(s, PipelineStage)], recorded
        except Refused:
            if not patience:
                raise
            time.sleep(patience)  # perhaps DVC is just writing dvc.lock
    raise AssertionError


def _row(name: str, why: str, missing: list[str]) -> Row:
    """The row of a stage.

    Args:
        why: it is not done, by dvc.lock; empty if it is
        missing: the stages before it that are not done
    """
    sign = read(path(name))
    if sign and sign.alive:
        return Row(name, "running", running(sign))
    if not missing and not why:
        return Row(name, "done")
    if sign and sign.end != "done":
        return Row(name, *_broken(sign))
    if sign and not missing and engines():
        return Row(name, "ended", "its engine is about to record it")
    return (
        Row(name, "waiting", f"for {', '.join(missing)}") if missing else Row(name, "to run", why)
    )


def _changed(stage: PipelineStage, recorded: Any, made: dict[str, Any]) -> str:
    """Why dvc.lock does not have the stage as it is now; empty if it has."""
    if recorded is None:
        return "has not run"
    if recorded["cmd"] != stage.cmd:
        return "its command has changed"
    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            for file, changed in dependency.workspace_status().items():
                names = ", ".join(changed) if isinstance(changed, dict) else changed
                return f"{file}: {names} changed"
    for one in recorded.get("deps", []):
        if made.get(one["path"], one.get("md5")) != one.get("md5"):
            return f"{one['path']} was made again"
    for one in recorded.get("outs", []):
        if not Path(one["path"]).exists():
            return f"{one['path']} is not here"
    return ""


def running(sign: Sign) -> str:
    """How far a stage is, and where it runs."""
    place = f"process {sign.pid} on {sign.host} since {datetime.fromtimestamp(sign.begun):%F %H:%M}"
    if not sign.total:
        return place
    left = f", {clock(sign.left)} left" if sign.left is not None else ""
    return f"{sign.what}: {sign.done}/{sign.total} {sign.unit}{left}; {place}"


def _broken(sign: Sign) -> tuple[State, str]:
    """How a stage ended that is not done."""
    kept = "" if sign.saved is None else f"step {sign.saved} is kept; "
    if sign.end == "stopped":
        return "stopped", f"{kept}run again"
    if sign.end == "failed":
        return "failed", sign.why
    return "failed", f"process {sign.pid} was killed; {kept}run again"


def _experiments() -> Iterable[Row]:
    """What experiments in copies of the clone are doing, or how they ended if they failed."""
    for file in sorted(EXPERIMENTS.glob("*/*.json")):
        if sign := read(file):
            told = ("running", running(sign)) if sign.alive else _broken(sign)
            yield Row(sign.stage, *told, experiment=file.parent.name)


def _json(file: Path) -> Any:
    """The content of a lock; None where there is none, or an incomplete one."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
