"""Runs dvc.yaml under Snakemake: its entries become rules, and a stage becomes a job.

    python -m autox3d.pipeline.bridge train@s

does what `dvc repro --single-item train@s` does, but does not hold DVC's lock while the command
runs, so that many jobs on many nodes can share one workspace. Only `dvc status` decides whether a
stage is done; Snakemake sees the answer as a stamp file, `.pipeline/<stage>.done`. Only this
folder uses DVC's internals, those of DVC 3.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("DVC_NO_ANALYTICS", "1")

from dvc import rwlock
from dvc.dependency import ParamsDependency, param
from dvc.lock import LockNoop
from dvc.repo import Repo
from dvc.stage import PipelineStage, Stage
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.run import _make_cmd, get_executable, prepare_kwargs
from snakemake_interface_common.exceptions import WorkflowError

from autox3d.core.errors import Refused
from autox3d.pipeline import patience, subprocesses
from autox3d.runtime import slurm
from autox3d.runtime.activity import FOLDER
from autox3d.runtime.lock import Lock, Locked
from autox3d.runtime.program import RESUME, run

WORKSPACE_LOCK = FOLDER / "snakemake.claim"  # held by the one Snakemake that works here
HERE = "Run snakemake in the folder that has it, or with --directory FOLDER."
SNAKEMAKE_LOCKS = Path(".snakemake/locks")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of dvc.yaml, which becomes one rule: a stage, or the items of a matrix."""

    name: str
    stages: dict[str, list[str]]  # each item and the stages it needs: {"train@s": ["scale@s"]}
    resources: dict[str, Any]  # `meta: resources`

    @property
    def items(self) -> bool:
        """Whether the entry has items, so that its rule has a wildcard."""
        return self.name not in self.stages

    @property
    def stage(self) -> str:
        """The name of the stage, with Snakemake's wildcard in place of the item."""
        return f"{self.name}@{{item}}" if self.items else self.name

    def inputs(self, wildcards: Any) -> list[str]:
        """The stamps that the stage with these wildcards waits for."""
        stage = f"{self.name}@{wildcards.item}" if self.items else self.name
        return [stamp(needed) for needed in self.stages[stage]]

    def after(self, left: dict[str, list[str]]) -> dict[str, Any]:
        """The resource that makes SLURM start a job only after `left` ones, which do its work."""
        if not left:
            return {}

        def extra(wildcards: Any) -> str:
            item = f"_wildcards_{wildcards.item}" if self.items else ""
            jobs = left.get(f"rule_{self.name}{item}", [])
            return f"--dependency=afterany:{':'.join(jobs)}" if jobs else ""

        return {"slurm_extra": extra}


def stamp(stage: str) -> str:
    """The file that marks a stage as done."""
    return str(FOLDER / f"{stage}.done")


def log(stage: str) -> str:
    """The file that the output of a stage's command goes to."""
    return str(FOLDER / f"{stage}.log")


def rules(main: bool, dry: bool) -> list[Entry]:
    """The entries to make rules of; Snakemake's main process brings the stamps up to date, too.

    Raises:
        WorkflowError: a user error; Snakemake prints its one line without a traceback.
    """
    try:
        if not Path("dvc.yaml").is_file():
            raise Refused(f"dvc.yaml: not in this folder. {HERE}")
        lock = locked_workspace(dry) if main else None
        if lock is None:
            with patience.one_line("dvc.yaml"):
                return entries(Repo(os.curdir))
        found, stale = patience.patiently("dvc.yaml", lambda: _state(dry))
        _sync(found, stale)
        if dry:
            lock.release()
        left = slurm.left_behind()
        return [replace(one, resources=one.resources | one.after(left)) for one in found]
    except Refused as error:
        raise WorkflowError(str(error)) from None


def entries(repo: Repo) -> list[Entry]:
    """All entries of dvc.yaml, read without a lock.

    Raises:
        DvcException: dvc.yaml is missing or wrong.
        Refused: there is a second dvc.yaml.
    """
    found: dict[str, Entry] = {}
    graph = repo.index.graph
    for stage in graph:
        if not isinstance(stage, PipelineStage):
            continue  # data that `dvc add` tracks
        if stage.path_in_repo != "dvc.yaml":
            raise Refused(f"{stage.path_in_repo}: a second pipeline. Move it into dvc.yaml.")
        name = str(stage.addressing).partition("@")[0]
        entry = found.setdefault(name, Entry(name, {}, (stage.meta or {}).get("resources", {})))
        needed = [] if stage.frozen else graph.successors(stage)
        stages = [str(other.addressing) for other in needed if isinstance(other, PipelineStage)]
        entry.stages[str(stage.addressing)] = sorted(stages)
    return list(found.values())


def locked_workspace(dry: bool) -> Lock | None:
    """Locks the workspace, for one Snakemake at a time; None for a dry run beside another one.

    Raises:
        Locked: another Snakemake is working here, and this is not a dry run.
    """
    lock = Lock(WORKSPACE_LOCK)
    try:
        FOLDER.mkdir(exist_ok=True)
        died = lock.acquire()
    except Locked:
        if dry:
            return None
        raise
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        look = "To look, `autox3d status` is enough."
        raise Refused(f"{FOLDER}: {reason}. Snakemake writes, even in a dry run. {look}") from error
    atexit.register(lock.release)
    if died and not dry:  # the one before was killed and has left its own locks
        for left in SNAKEMAKE_LOCKS.glob("*"):
            left.unlink()
    return lock


def _state(dry: bool) -> tuple[list[Entry], set[str]]:
    """All entries, and the stages that `dvc status` would name: read once, under DVC's lock.

    A dry run takes no lock, since a `dvc repro` beside it waits for one no longer than 3 s.
    """
    repo = Repo(os.curdir)
    with _unlocked(repo) if dry else repo.lock, _params_parsed_once():
        found = entries(repo)
        stages = (stage.status(check_updates=True) for stage in repo.index.stages)
        return found, {name for status in stages for name in status}


@contextlib.contextmanager
def _unlocked(repo: Repo) -> Iterator[None]:
    """Lets DVC compare stages with dvc.lock without its locks."""
    of_files = rwlock.rwlock
    repo.lock = LockNoop("")
    rwlock.rwlock = lambda *_: contextlib.nullcontext()
    try:
        with repo.lock:
            yield
    finally:
        rwlock.rwlock = of_files


@contextlib.contextmanager
def _params_parsed_once() -> Iterator[None]:
    """Caches params.yaml, since parsing it for each of 240 shards dominates `dvc status`."""
    load = param.load_path
    param.load_path = functools.cache(load)
    try:
        yield
    finally:
        param.load_path = load


def _sync(entries: list[Entry], stale: set[str]) -> None:
    """Makes the stamps agree with `dvc status`."""
    done = time.time() - 3600  # in the past, and the same for all stamps
    for stage in (stage for entry in entries for stage in entry.stages):
        path = Path(stamp(stage))
        if stage in stale:
            path.unlink(missing_ok=True)
        else:
            path.touch()
            os.utime(path, (done, done))


def main() -> None:
    """Runs the stage named on the command line unless it is done; one process at a time.

    Raises:
        Refused: the stage failed, or its inputs changed while it ran; nothing is recorded.
    """
    if len(sys.argv) != 2:
        raise Refused("pipeline: name one stage: python -m autox3d.pipeline.bridge train@s")
    name = sys.argv[1]
    FOLDER.mkdir(exist_ok=True)
    lock = Lock(FOLDER / f"{name}.claim")
    lock.wait()
    try:
        job = patience.patiently(name, lambda: _prepare(name))
        if job is None:
            return
        status = _execute(name, job)
        if status:
            sys.exit(status)
        patience.patiently(name, lambda: _record(name, job.inputs))
    finally:
        lock.release()


class Job(NamedTuple):
    """A stage that is ready to run."""

    inputs: dict[str, Any]  # what it depends on, and in which state
    commands: list[str | list[str]]
    options: dict[str, Any]  # for `subprocess.Popen`: folder, environment


def _prepare(name: str) -> Job | None:
    """Removes the old outputs of a stage; returns None when there is nothing to run."""
    repo = Repo(os.curdir)
    with repo.lock:
        stage = repo.stage.load_one(name=name)
        if not stage.changed():
            return patience.say(f"{name}: nothing to do")
        if stage.frozen:
            fix = f"Run: dvc unfreeze {name}"
            raise Refused(f"{name}: frozen, but changed since dvc.lock was written. {fix}")
        stage.remove_outs(ignore_remove=False)
        try:
            repo.stage_cache.restore(stage)
        except RunCacheNotFoundError:
            stage.save_deps()
        else:
            _save(stage)
            return patience.say(f"{name}: restored from the cache")
    commands = stage.cmd if isinstance(stage.cmd, list) else str(stage.cmd).splitlines()
    options = prepare_kwargs(stage)
    ours = Path(sys.executable).parent  # for an environment that is not activated
    options["env"]["PATH"] = f"{ours}{os.pathsep}{options['env']['PATH']}"
    shell = get_executable()
    return Job(_inputs(stage), [_make_cmd(shell, line) for line in commands], options)


def _record(name: str, before: dict[str, Any]) -> None:
    """Records the result in dvc.lock and the cache; Refused if an input changed meanwhile."""
    repo = Repo(os.curdir)
    with repo.lock:
        stage = repo.stage.load_one(name=name)
        stage.save_deps()
        after = _inputs(stage)
        if after != before:
            changed = [key for key in before | after if before.get(key) != after.get(key)]
            raise Refused(
                f"{name}: {', '.join(changed)} changed while it ran, so its result is not "
                "recorded. Run again."
            )
        _save(stage)
        patience.say(f"{name}: done")


def _inputs(stage: Stage) -> dict[str, Any]:
    """The state of everything that the result depends on, by name, as DVC sees it now."""
    found: dict[str, Any] = {"its command": stage.cmd}
    for dependency in stage.deps:
        state: Any = dependency.hash_info.value if dependency.hash_info else None
        if isinstance(dependency, ParamsDependency):  # a mapping of names to values
            found |= {f"{dependency.def_path}: {key}": state[key] for key in state or {}}
        else:
            found[str(dependency.def_path)] = state
    return found


def _save(stage: Stage) -> None:
    """Records the outputs of a stage in dvc.lock and the cache, as `dvc repro` does."""
    save_result(stage)
    stage.commit()
    stage.dump(update_pipeline=False)


def save_result(stage: Stage) -> None:
    """Takes the outputs on the disk as the result of the stage, without writing dvc.lock.

    The run cache is not used for a stage with an output that is neither cached nor a metric.
    """
    loose = [out for out in stage.outs if not (out.use_cache or out.is_metric or out.is_plot)]
    stage.save(run_cache=not loose)


def _execute(name: str, job: Job) -> int:
    """Runs the commands; prints the end of the log of one that fails, and returns its status."""
    status, end = subprocesses.execute(job.commands, job.options, Path(log(name)))
    if status:
        shown = "\n".join(f"  {line}" for line in end)
        what = "saved and stopped: run again to resume" if status == RESUME else f"status {status}"
        patience.say(f"{name}: {what}. The end of {log(name)}:\n{shown}")
    return status


if __name__ == "__main__":
    run(main)
