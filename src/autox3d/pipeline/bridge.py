"""dvc.yaml under Snakemake: its entries as rules, and one stage of it as a job.

    python -m autox3d.pipeline.bridge train@s

does what `dvc repro --single-item train@s` does, but holds no lock of DVC's while the command
runs, so that many jobs on many nodes share one workspace. Whether a stage is done, `dvc status`
alone knows; Snakemake sees it as a stamp `.pipeline/<stage>.done`. This file is the only one
that knows DVC's insides, and it knows those of DVC 3.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

os.environ.setdefault("DVC_NO_ANALYTICS", "1")

from dvc.dependency import ParamsDependency, param
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.stage import PipelineStage, Stage
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.run import _make_cmd, get_executable, prepare_kwargs
from snakemake_interface_common.exceptions import WorkflowError

from autox3d.core import environment
from autox3d.core.errors import Refused
from autox3d.pipeline import subprocesses
from autox3d.runtime import slurm
from autox3d.runtime.lock import Claim, Taken
from autox3d.runtime.program import RESUME, run

T = TypeVar("T")
FOLDER = Path(".pipeline")  # stamps and logs; nothing in it is worth keeping
WHOLE = FOLDER / "snakemake.claim"  # of the one Snakemake that works here
LOCKS = Path(".snakemake/locks")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of dvc.yaml, which is one rule: a stage, or the items of a matrix."""

    name: str
    stages: dict[str, list[str]]  # each item with those that it needs: {"train@s": ["scale@s"]}
    resources: dict[str, Any]  # `meta: resources`

    @property
    def items(self) -> bool:
        """Whether the rule has a wildcard."""
        return self.name not in self.stages

    @property
    def stage(self) -> str:
        """The stage's name, with Snakemake's wildcard for the item."""
        return f"{self.name}@{{item}}" if self.items else self.name

    def inputs(self, wildcards: Any) -> list[str]:
        """The stamps that the stage of these wildcards waits for."""
        stage = f"{self.name}@{wildcards.item}" if self.items else self.name
        return [stamp(needed) for needed in self.stages[stage]]

    def after(self, left: dict[str, list[str]]) -> dict[str, Any]:
        """The resource that keeps a job out of SLURM's nodes while `left` ones do its work."""
        if not left:
            return {}

        def extra(wildcards: Any) -> str:
            item = f"_wildcards_{wildcards.item}" if self.items else ""
            jobs = left.get(f"rule_{self.name}{item}", [])
            return f"--dependency=afterany:{':'.join(jobs)}" if jobs else ""

        return {"slurm_extra": extra}


def stamp(stage: str) -> str:
    """The file that says that the stage is done."""
    return str(FOLDER / f"{stage}.done")


def log(stage: str) -> str:
    """The file that its command writes to."""
    return str(FOLDER / f"{stage}.log")


def plan(main: bool, dry: bool) -> list[Entry]:
    """The rules to make; in Snakemake's `main` process, the stamps are brought up to date, too.

    Raises:
        WorkflowError: with one line; Snakemake prints it without a traceback.
    """
    try:
        claim = claimed(dry) if main else None
        if claim is None:
            with _one_line("dvc.yaml"):
                return entries(Repo(os.curdir))
        found, stale = patiently("dvc.yaml", _state)
        _sync(found, stale)
        if dry:
            claim.give_back()
        left = slurm.left_behind()
        return [replace(one, resources=one.resources | one.after(left)) for one in found]
    except Refused as error:
        raise WorkflowError(str(error)) from None


def entries(repo: Repo) -> list[Entry]:
    """All of dvc.yaml; takes no lock.

    Raises:
        DvcException: dvc.yaml is missing or wrong.
        Refused: it is not the only one.
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


def claimed(dry: bool) -> Claim | None:
    """One Snakemake at a time works here, to its end; a dry run beside it takes its stamps.

    Raises:
        Refused: another one is at work, and this is no dry run.
    """
    FOLDER.mkdir(exist_ok=True)
    claim = Claim(WHOLE)
    try:
        died = claim.take()
    except Taken:
        if dry:
            return None
        raise
    atexit.register(claim.give_back)
    if died and not dry:  # killed, and its locks are nobody's
        for left in LOCKS.glob("*"):
            left.unlink()
    return claim


def _state() -> tuple[list[Entry], set[str]]:
    """All of dvc.yaml, and the stages that `dvc status` would name: from one reading, locked."""
    repo = Repo(os.curdir)
    with repo.lock, _params_parsed_once():
        found = entries(repo)
        stages = (stage.status(check_updates=True) for stage in repo.index.stages)
        return found, {name for status in stages for name in status}


@contextlib.contextmanager
def _params_parsed_once() -> Iterator[None]:
    """DVC parses params.yaml anew for each stage: with 240 shards, most of its status' time."""
    load = param.load_path
    param.load_path = functools.cache(load)
    try:
        yield
    finally:
        param.load_path = load


def _sync(entries: list[Entry], stale: set[str]) -> None:
    """Makes the stamps say what `dvc status` says."""
    done = time.time() - 3600  # long ago, and the same for all
    for stage in (stage for entry in entries for stage in entry.stages):
        path = Path(stamp(stage))
        if stage in stale:
            path.unlink(missing_ok=True)
        else:
            path.touch()
            os.utime(path, (done, done))


def main() -> None:
    """Runs the stage that is named on the command line, unless it is done; one process at a time.

    Raises:
        Refused: it failed, or what it depends on changed meanwhile; nothing is recorded.
    """
    if len(sys.argv) != 2:
        raise Refused("pipeline: one stage, please: python -m autox3d.pipeline.bridge train@s")
    name = sys.argv[1]
    FOLDER.mkdir(exist_ok=True)
    claim = Claim(FOLDER / f"{name}.claim")
    claim.wait()
    try:
        work = patiently(name, lambda: _begin(name))
        if work is None:
            return
        status = _execute(name, work)
        if status:
            sys.exit(status)
        patiently(name, lambda: _record(name, work.inputs))
    finally:
        claim.give_back()


class Work(NamedTuple):
    """What a stage was asked to do."""

    inputs: dict[str, Any]  # what it depends on, and in which state
    commands: list[str | list[str]]
    options: dict[str, Any]  # of the processes: folder, environment


def _begin(name: str) -> Work | None:
    """Clears the way; None when there is nothing to run."""
    repo = Repo(os.curdir)
    with repo.lock:
        stage = repo.stage.load_one(name=name)
        if not stage.changed():
            return _say(f"{name}: nothing to do")
        if stage.frozen:
            raise Refused(f"{name}: frozen, but not as dvc.lock has it. Type: dvc unfreeze {name}")
        stage.remove_outs(ignore_remove=False)
        try:
            repo.stage_cache.restore(stage)
        except RunCacheNotFoundError:
            stage.save_deps()
        else:
            _save(stage)
            return _say(f"{name}: restored from the cache")
    commands = stage.cmd if isinstance(stage.cmd, list) else str(stage.cmd).splitlines()
    options = prepare_kwargs(stage)
    ours = Path(sys.executable).parent  # also where nobody activated the environment
    options["env"]["PATH"] = f"{ours}{os.pathsep}{options['env']['PATH']}"
    shell = get_executable()
    return Work(_inputs(stage), [_make_cmd(shell, line) for line in commands], options)


def _record(name: str, before: dict[str, Any]) -> None:
    """Writes the result into dvc.lock and the cache."""
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
        _say(f"{name}: done")


def _inputs(stage: Stage) -> dict[str, Any]:
    """All that the result follows from, as DVC sees it now, by its name."""
    found: dict[str, Any] = {"its command": stage.cmd}
    for dependency in stage.deps:
        state: Any = dependency.hash_info.value if dependency.hash_info else None
        if isinstance(dependency, ParamsDependency):  # a mapping of names to values
            found |= {f"{dependency.def_path}: {key}": state[key] for key in state or {}}
        else:
            found[str(dependency.def_path)] = state
    return found


def _save(stage: Stage) -> None:
    """As `dvc repro` ends."""
    save_result(stage)
    stage.commit()
    stage.dump(update_pipeline=False)


def save_result(stage: Stage) -> None:
    """Takes what is there as the stage's result; dvc.lock does not have it yet.

    An output that is neither cached nor a metric bars the run cache.
    """
    loose = [out for out in stage.outs if not (out.use_cache or out.is_metric or out.is_plot)]
    stage.save(run_cache=not loose)


def _execute(name: str, work: Work) -> int:
    """Runs the commands; the status of the first that fails, after the end of its log."""
    status, end = subprocesses.execute(work.commands, work.options, Path(log(name)))
    if status:
        shown = "\n".join(f"  {line}" for line in end)
        what = "saved and stopped: run again to resume" if status == RESUME else f"status {status}"
        _say(f"{name}: {what}. The end of {log(name)}:\n{shown}")
    return status


def patiently(name: str, action: Callable[[], T]) -> T:
    """The action's result, as soon as no other DVC process is in its way.

    Raises:
        Refused: one is for too long, or DVC has an error to tell.
    """
    patience = environment.patience()
    until, told = time.monotonic() + patience, False
    while True:
        try:
            with _one_line(name):
                return action()
        except LockError as error:
            if not told:
                _say(f"{name}: waiting for another DVC process")
                told = True
            if time.monotonic() > until:
                raise Refused(
                    f"{name}: DVC is locked for {patience:.0f} s. Find the dvc process at work "
                    "here; where there is none, delete .dvc/tmp/rwlock."
                ) from error
            time.sleep(0.2)


@contextlib.contextmanager
def _one_line(name: str) -> Iterator[None]:
    """DVC's error is the user's line."""
    try:
        yield
    except LockError:
        raise
    except DvcException as error:
        reasons = [" ".join(str(reason).split()) for reason in (error, error.__cause__) if reason]
        raise Refused(f"{name}: {': '.join(reasons)}") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run(main)
