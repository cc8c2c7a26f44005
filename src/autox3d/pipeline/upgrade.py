"""Upgrades a workspace of commit 486c83c to this version, keeping its results; runs no stage.

Every module has moved since that commit, so DVC considers every stage changed. The upgrade records
a stage as done under the new dvc.yaml if everything else is as dvc.lock has it: the code was that
of the commit, whose results this version reproduces bit for bit, and the command, settings, inputs
and outputs are the recorded ones. If anything differs, the stage is left for DVC to run. So are the
stages of `ANEW`, which this version computes otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import typing
from collections.abc import Iterator
from dataclasses import MISSING as REQUIRED
from dataclasses import fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

os.environ.setdefault("DVC_NO_ANALYTICS", "1")

from dvc.dependency import ParamsDependency
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage
from dvc.utils.serialize import load_yaml

from autox3d.core import atomic, schema
from autox3d.core.errors import Refused
from autox3d.core.settings import PARAMS, Params
from autox3d.core.values import UNTIMED
from autox3d.pipeline import bridge, patience
from autox3d.pipeline.plain_params import with_keys, without_aliases
from autox3d.runtime.lock import Lock

BEFORE = "486c83c"  # the last commit before the modules moved
# The code of that commit, by stage: `digest_of_code` of the entry of the stage in dvc.lock
CODE = {
    "annotate": "d987713fd2b75655",
    "transcode": "fef1863b868d8e65",
    "index": "094acc27be2dc743",
    "subset": "cb2632dc3c03cb3b",
    "warmup": "49e752f49acbfd68",
    "search": "f936fdfe0029b498",
    "control": "189f998c82da810c",
    "derive": "c00e248edf58995c",
    "scale": "fa3b2c83876d779f",
    "baseline": "95a08462a93c70b4",
    "train": "bafe83e9cb8bfcf7",
    "evaluate": "4fa1a163d78bb220",
    "latency": "8024be17352201d4",
    "explain": "dba3a115b919cd06",
    "report": "f7a7a83e08cd1c08",
}
MOVED = {
    "autox3d.run.launch": "autox3d.runtime.launch"
}  # programs that the commands in dvc.yaml start
ANEW = {"search", "control", "derive"}  # by CHANGELOG.md; the warm-up before them is the same
SOURCE = "src/autox3d/"
LOCK, OWN = Path("dvc.lock"), Path("params")
PARTS = ("deps", "outs")
SHOWN = 3  # reasons that the line of a stage lists
MISSING = object()  # in place of a value that is not there


Entry = dict[str, Any]  # one stage in dvc.lock


def upgrade() -> Iterator[str]:
    """Upgrades the workspace in the current folder; yields a line for each thing done.

    Raises:
        Refused: no known version wrote dvc.lock, a file of settings cannot be rewritten by
            program, or a job is working here.
    """
    lock: dict[str, Entry] = load_yaml(str(LOCK)).get("stages", {}) if LOCK.exists() else {}
    if lock and not any(_is_before(name, lock[name]) or _is_now(lock[name]) for name in lock):
        raise Refused(
            f"{LOCK}: neither this version nor commit {BEFORE} wrote it. Bring the workspace to "
            f"commit {BEFORE} first (git checkout, dvc repro)."
        )
    with _locked_workspace():
        for path in [PARAMS, *sorted(OWN.glob("*.yaml"))]:
            yield from _with_plain_settings(path)
        if not all(map(_is_now, lock.values())):
            yield from patience.patiently("upgrade", lambda: _record(lock))


@contextlib.contextmanager
def _locked_workspace() -> Iterator[None]:
    """Keeps Snakemake out of the workspace while the block runs.

    Raises:
        Locked: Snakemake, or a job that it has left behind, is working here.
    """
    lock = bridge.locked_workspace(dry=False)
    assert lock is not None
    try:
        for path in bridge.FOLDER.glob("*.claim"):
            if path != bridge.WORKSPACE_LOCK:
                job = Lock(path)
                job.acquire()
                job.release()
        yield
    finally:
        lock.release()


def _with_plain_settings(path: Path) -> Iterator[str]:
    """Rewrites a file of settings that has aliases, or lacks a key that a later version added."""
    text = schema.read(path)
    try:
        plain = without_aliases(text)
        whole, names = with_keys(plain, _added_keys(Params))
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise Refused(f"{path}: {reason}. Write its values out by hand, then run again.") from error
    if whole != text:
        atomic.write_text(path, whole)
    if plain != text:
        yield f"{path}: aliases and merge keys are written out; every value is as before"
    for name in names:
        yield f"{path}: {name} is new; its value keeps the earlier behaviour"


def _record(lock: dict[str, Entry]) -> list[str]:
    """Records the stages that are done; one line for each that is not, and a last one."""
    repo = Repo(os.curdir)
    with repo.lock:
        todo = [
            stage
            for stage in repo.index.stages
            if isinstance(stage, PipelineStage)
            and (entry := lock.get(_name(stage))) is not None
            and not _is_now(entry)
        ]
        for stage in todo:
            _restore(stage)
        params = load_yaml(str(PARAMS))
        reasons = {stage: list(_reasons(stage, lock[_name(stage)], params)) for stage in todo}
        done = [stage for stage in todo if not reasons[stage]]
        for stage in done:
            bridge.save_result(stage)
            for out in stage.outs:
                if out.use_cache and out.changed_cache():
                    out.commit()
        if done:
            done[0].dvcfile.dump_stages(done, update_pipeline=False)
    lines = [
        f"{stage.addressing}: left to run: {'; '.join(found[:SHOWN])}"
        for stage, found in reasons.items()
        if found
    ]
    return [*lines, f"{len(done)} of {len(todo)} stages are recorded as done; none was run"]


def _name(stage: PipelineStage) -> str:
    """The name of a stage with its item, such as train@s."""
    return str(stage.addressing)


def _restore(stage: PipelineStage) -> None:
    """Checks out outputs that only DVC's cache has, as `dvc repro` would."""
    for out in stage.outs:
        if not out.exists and out.use_cache and not out.changed_cache():
            out.checkout()


def _reasons(stage: PipelineStage, entry: Entry, params: dict[str, Any]) -> Iterator[str]:
    """Yields the reasons why the recorded result cannot be taken over, if there are any."""
    if _name(stage) in ANEW:
        yield "this version computes it otherwise (CHANGELOG.md)"
    if not _is_before(_name(stage), entry):
        yield (
            f"its code was not that of commit {BEFORE}. If the difference changed no result: "
            f"dvc commit --force {stage.addressing}"
        )
    if _words(stage, entry["cmd"]) != _words(stage, str(stage.cmd)):
        yield f"its command was '{entry['cmd']}'"
    recorded = {
        part: {one["path"]: one.get("md5") for one in entry.get(part, [])} for part in PARTS
    }
    inputs = [dep for dep in stage.deps if not _is_code(dep.def_path)]
    for dep in inputs:
        if isinstance(dep, ParamsDependency):
            old = entry.get("params", {}).get(dep.def_path, {})
            yield from _other_params(old, dep.params or list(params), params)
        elif dep.def_path == str(PARAMS):  # the report once depended on every setting by name
            old = entry.get("params", {}).get(str(PARAMS), {})
            yield from _other_params(old, list(params), params)
        elif dep.def_path not in recorded["deps"]:
            if not _is_empty(dep):
                yield f"{dep.def_path} is a new input"
        else:
            yield from _other_file(dep, recorded["deps"][dep.def_path])
    for out in stage.outs:
        if out.def_path not in recorded["outs"]:
            yield f"{out.def_path} is a new output"
        else:
            yield from _other_file(out, recorded["outs"][out.def_path])


def _other_file(file: Output, md5: str | None) -> Iterator[str]:
    """Yields what differs about an input or output from what is recorded, if anything does."""
    if not file.exists:
        yield f"{file.def_path} is missing"
    elif file.get_hash().value != md5:
        yield f"{file.def_path} is not the recorded one"


def _other_params(old: dict[str, Any], keys: list[str], params: dict[str, Any]) -> Iterator[str]:
    """Yields the settings that differ from the recorded ones, apart from keys added later."""
    for name in dict.fromkeys([*old, *keys]):
        covered = any(
            name.startswith(f"{other}.")  # compared with the whole table
            or other.startswith(f"{name}.")  # a stage now depends on the whole table
            for other in old
        )
        if not covered:
            yield from _differences(name, old.get(name, MISSING), _value(params, name))


def _differences(name: str, old: Any, now: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*old, *now]):
            yield from _differences(f"{name}.{key}", old.get(key, MISSING), now.get(key, MISSING))
    elif old is MISSING and _is_added(name, now):
        return
    elif old != now:
        was = "was not there" if old is MISSING else f"was {old}"
        yield f"{PARAMS}: {name} {was}, is {'gone' if now is MISSING else now}"


def _value(params: Any, name: str) -> Any:
    for key in name.split("."):
        if not isinstance(params, dict) or key not in params:
            return MISSING
        params = params[key]
    return params


def _is_added(name: str, value: Any) -> bool:
    """Whether the key was added later, with the value that keeps the earlier behaviour."""
    sections = {one.name: {} for one in fields(Params) if one.default_factory is not REQUIRED}
    return any(
        fnmatchcase(name, pattern)
        and value in (MISSING, list(old) if isinstance(old, tuple) else old)
        for pattern, old in (_added_keys(Params) | sections).items()
    )


def _added_keys(kind: type, place: str = "") -> dict[str, Any]:
    """The keys that later versions added, such as `train.*.drop_connect`.

    Each has the value that keeps the earlier behaviour.
    """
    added = {f"{place}{name}": value for name, value in schema.added(kind).items()}
    for name, hint in typing.get_type_hints(kind).items():
        if is_dataclass(hint):
            added |= _added_keys(typing.cast("type", hint), f"{place}{name}.")
        elif typing.get_origin(hint) is dict and is_dataclass(item := typing.get_args(hint)[1]):
            added |= _added_keys(typing.cast("type", item), f"{place}{name}.*.")
    return added


def digest_of_code(entry: Entry) -> str:
    """16 hex digits of the paths and MD5s of the code that dvc.lock has for a stage."""
    deps = entry.get("deps", [])
    code = sorted((dep["path"], dep.get("md5")) for dep in deps if _is_code(dep["path"]))
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def _is_before(name: str, entry: Entry) -> bool:
    """Whether the code of commit BEFORE made the recorded result."""
    return digest_of_code(entry) == CODE.get(name.partition("@")[0])


def _is_now(entry: Entry) -> bool:
    """Whether code in its current place made the recorded result, so that DVC can judge it."""
    paths = [dep["path"] for dep in entry.get("deps", []) if _is_code(dep["path"])]
    return all(Path(path).exists() for path in paths)


def _is_code(path: str) -> bool:
    return path.startswith(SOURCE)


def _is_empty(dep: Output) -> bool:
    """Whether an input says nothing: an empty folder, or the file that stands for no table."""
    return dep.def_path == UNTIMED or (dep.isdir() and dep.get_meta().nfiles == 0)


def _words(stage: PipelineStage, command: str) -> list[str]:
    """The words of a command, with the programs under their current names.

    `--network ITEM` is left out: at commit BEFORE a stage took the name of its item from the name
    of a file.
    """
    words = [MOVED.get(word, word) for word in command.split()]
    item = _name(stage).partition("@")[2]
    for place in range(len(words) - 1):
        if words[place : place + 2] == ["--network", item]:
            return words[:place] + words[place + 2 :]
    return words
