"""The differences between two runs of the pipeline: causes, and their effects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from autox3d.reporting.results import Network, Results, Tested

CAUSES = ("settings", "data", "code", "genotype")  # the other subjects are effects
LEFT_OUT = ("k_clips", "per_class", "beside")  # of an evaluation: tables of their own
HASH = 8  # characters of a hash, enough to distinguish two


class PipelineRun(NamedTuple):
    """The settings, results and lock of a run of the pipeline."""

    name: str  # of its folder or revision, as the user gave it
    results: Results
    stages: Mapping[str, Any]  # of dvc.lock: the inputs and outputs of each
    commit: str = ""  # of a revision; empty for a folder
    lost: Sequence[str] = ()  # files of a revision that are no longer in any cache

    @property
    def label(self) -> str:
        """The run as messages and pages call it."""
        return f"revision {self.name} ({self.commit})" if self.commit else f"folder {self.name}"


class Difference(NamedTuple):
    """One value that differs; None in a run that does not have it."""

    subject: str  # settings, data, code, genotype, search, or the name of a network
    name: str
    before: Any
    after: Any

    @property
    def change(self) -> float | None:
        """The value after minus the value before, if both are numbers."""
        numbers = (self.before, self.after)
        if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            return None
        return self.after - self.before


def differences(before: PipelineRun, after: PipelineRun) -> list[Difference]:
    """All differences: causes first (settings, data, code, genotype), then their effects.

    Genotypes are compared if both runs have one.
    """
    old, new = facts(before), facts(after)
    subjects = dict.fromkeys([*old, *new])
    if not (old["genotype"] and new["genotype"]):
        subjects.pop("genotype")
    rows = []
    for subject in subjects:
        of_old, of_new = old.get(subject, {}), new.get(subject, {})
        for name in dict.fromkeys([*of_old, *of_new]):
            values = of_old.get(name), of_new.get(name)
            if values[0] != values[1]:
                rows.append(Difference(subject, name, *values))
    return rows


def facts(run: PipelineRun) -> dict[str, dict[str, Any]]:
    """All values of a run, by subject and name."""
    results = run.results
    subjects: dict[str, Mapping[str, Any]] = {
        "settings": results.settings,
        "data": _data(results) | tables(run.stages),
        "code": code(run.stages),
        "genotype": asdict(results.genotype) if results.genotype else {},
        "search": _search(results),
    }
    subjects |= {network.name: _network(network) for network in results.networks}
    return {subject: flat(values) for subject, values in subjects.items()}


def tables(stages: Mapping[str, Any]) -> dict[str, str]:
    """The tables that stages read, with their hashes as the stages before them wrote them."""
    inputs, outputs = _hashes(stages, "deps"), _hashes(stages, "outs")
    names = [path for path in inputs if path.startswith("data/") and path.endswith(".parquet")]
    return {path: " ".join(outputs.get(path, inputs[path])) for path in names}


def code(stages: Mapping[str, Any]) -> dict[str, str]:
    """The rooms of code that stages depend on, with their hashes: several where stages differ."""
    inputs = _hashes(stages, "deps").items()
    return {path: " ".join(hashes) for path, hashes in inputs if path.startswith("src/")}


def _hashes(stages: Mapping[str, Any], what: str) -> dict[str, list[str]]:
    """The different hashes of each of the paths that stages have as `what`, by path."""
    found: dict[str, set[str]] = {}
    for stage in stages.values():
        for of in stage.get(what, []):
            found.setdefault(of["path"], set()).add(of.get("md5", "")[:HASH])
    return {path: sorted(found[path]) for path in sorted(found)}


def _data(results: Results) -> dict[str, Any]:
    """The numbers of videos, and of usable ones per class."""
    if results.data is None:
        return {}
    content = results.data.content()
    content.pop("refused_videos")
    by_class = {name: counts.usable for name, counts in results.data.by_class.items()}
    return content | {"by_class": by_class}


def _search(results: Results) -> dict[str, Any]:
    """The end of the search, and the derived network."""
    facts: dict[str, Any] = {}
    if results.trace:
        facts = {key: results.trace[key][-1] for key in ("entropy", "mode_gmacs")}
    if results.derived is not None:
        network = results.derived.content()["found"]
        groups = network.pop("groups")
        network.pop("choices", None)
        facts["derived"] = network
        facts["derived"]["groups"] = {str(n): group for n, group in enumerate(groups, 1)}
    return facts


def _network(network: Network) -> dict[str, Any]:
    """Accuracy, cost, provenance and latency of a network."""
    facts: dict[str, Any] = {}
    if network.evaluation:
        content = network.evaluation.content()
        facts = {key: value for key, value in content.items() if key not in LEFT_OUT}
    if network.made:
        facts["made"] = network.made.content()
    if network.latency:
        content = network.latency.content()
        facts["latency"] = {key: content[key] for key in ("device", "dtype", "batched")}
    return facts


def standard_error(before: Tested, after: Tested) -> float:
    """One standard error of the difference of two shares of independently drawn videos."""
    variances = [n.headline * (1 - n.headline) / n.evaluation.labelled for n in (before, after)]
    return math.sqrt(sum(variances))


def networks_in_both(before: PipelineRun, after: PipelineRun) -> dict[str, tuple[Tested, Tested]]:
    """The networks that both runs have tested on labelled videos, in the same task."""
    old, new = ({n.name: n for n in run.results.tested} for run in (before, after))
    return {
        name: (old[name], new[name])
        for name in old
        if name in new and old[name].task.name == new[name].task.name
    }


def flat(content: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    """{"groups": [{"blocks": 2}]} -> {"groups.1.blocks": 2}; a list of plain values stays one."""
    pairs = content.items() if isinstance(content, Mapping) else enumerate(content, 1)
    flattened: dict[str, Any] = {}
    for name, value in pairs:
        rows = isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value)
        if isinstance(value, Mapping) or rows:
            flattened |= {f"{name}.{inner}": deep for inner, deep in flat(value).items()}
        else:
            flattened[str(name)] = value
    return flattened
