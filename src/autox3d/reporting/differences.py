"""Two runs of the pipeline side by side: what was changed, and what that did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from autox3d.reporting.results import Network, Results

CAUSES = ("settings", "data", "code", "genotype")  # the other parts are effects
LEFT_OUT = ("k_clips", "per_class")  # of an evaluation: tables of their own
HASH = 8  # characters of a hash that tell two apart


class Run(NamedTuple):
    """All that a run has left."""

    name: str  # of its folder or revision, as it was given
    results: Results
    lock: Mapping[str, Any]  # dvc.lock: what each stage was made from
    commit: str = ""  # of a revision
    lost: Sequence[str] = ()  # files that a revision records and that are gone

    @property
    def label(self) -> str:
        """What it is, to people."""
        return f"revision {self.name} ({self.commit})" if self.commit else f"folder {self.name}"


class Difference(NamedTuple):
    """One fact that is not the same; None where a run does not have it."""

    part: str  # settings, data, code, genotype, search, or a network
    name: str
    before: Any
    after: Any

    @property
    def change(self) -> float | None:
        """After less before, of numbers."""
        numbers = (self.before, self.after)
        if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            return None
        return self.after - self.before


def compare(before: Run, after: Run) -> list[Difference]:
    """All that differs: causes first (settings, data, code, architecture), then what came of it.

    Genotypes are compared where both runs have one.
    """
    old, new = facts(before), facts(after)
    parts = dict.fromkeys([*old, *new])
    if not (old["genotype"] and new["genotype"]):
        parts.pop("genotype")
    found = []
    for part in parts:
        of_old, of_new = old.get(part, {}), new.get(part, {})
        for name in dict.fromkeys([*of_old, *of_new]):
            values = of_old.get(name), of_new.get(name)
            if values[0] != values[1]:
                found.append(Difference(part, name, *values))
    return found


def facts(run: Run) -> dict[str, dict[str, Any]]:
    """Part -> name -> value, of everything that a run says of itself."""
    results = run.results
    parts: dict[str, Mapping[str, Any]] = {
        "settings": results.settings,
        "data": _data(results) | recorded(run.lock, "data/", (".parquet",)),
        "code": recorded(run.lock, "src/", (".py",)),
        "genotype": asdict(results.found) if results.found else {},
        "search": _search(results),
    }
    parts |= {network.name: _network(network) for network in results.networks}
    return {part: flat(of) for part, of in parts.items()}


def recorded(lock: Mapping[str, Any], under: str, ends: tuple[str, ...]) -> dict[str, str]:
    """File -> hash of the stages' inputs, as dvc.lock has them."""
    inputs = [of for stage in lock.get("stages", {}).values() for of in stage.get("deps", [])]
    return {
        of["path"]: of.get("md5", "")[:HASH]
        for of in sorted(inputs, key=lambda of: of["path"])
        if of["path"].startswith(under) and of["path"].endswith(ends)
    }


def _data(results: Results) -> dict[str, Any]:
    """Counts; classes by their names, since a list's places mean nothing to a reader."""
    found = dict(results.data or {})
    found.pop("refused_videos", None)
    if "by_class" in found:
        found["by_class"] = {row["class"]: row["usable"] for row in found["by_class"]}
    return found


def _search(results: Results) -> dict[str, Any]:
    """Where the search came to rest."""
    found: dict[str, Any] = {}
    if results.trace is not None and len(results.trace):
        last = results.trace.iloc[-1]
        found = {key: float(last[key]) for key in ("entropy", "mode_gmacs")}
    if results.derived is not None:
        rest = ("gmacs", "probability", "supernet_top1")
        found["derived"] = {key: results.derived["found"][key] for key in rest}
        groups = results.derived["found"]["groups"]
        found["derived"]["groups"] = {str(n): group for n, group in enumerate(groups, 1)}
    return found


def _network(network: Network) -> dict[str, Any]:
    """Accuracy and cost, how it was trained, and how fast it is."""
    found: dict[str, Any] = {}
    if network.evaluation:
        found = {k: v for k, v in network.evaluation.items() if k not in LEFT_OUT}
    if network.made:
        found["made"] = network.made
    if network.latency:
        found["latency"] = {key: network.latency[key] for key in ("device", "dtype", "batched")}
    return found


def shares(network: Network) -> dict[str, float | None]:
    """Top-1 of each class, by its name."""
    tested = network.evaluation or {"per_class": []}
    return {row["class"]: row["top1"] for row in tested["per_class"]}


def chance(before: Network, after: Network) -> float | None:
    """One standard error of the difference in top-1, as if each run saw videos of its own."""
    tests = [n.evaluation for n in (before, after) if n.evaluation and n.evaluation["labelled"]]
    if len(tests) != 2:
        return None
    spread = [t["lcr"]["top1"] * (1 - t["lcr"]["top1"]) / t["labelled"] for t in tests]
    return math.sqrt(sum(spread))


def flat(content: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    """{"groups": [{"blocks": 2}]} -> {"groups.1.blocks": 2}; a list of plain values stays one."""
    pairs = content.items() if isinstance(content, Mapping) else enumerate(content, 1)
    found: dict[str, Any] = {}
    for name, value in pairs:
        rows = isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value)
        if isinstance(value, Mapping) or rows:
            found |= {f"{name}.{inner}": deep for inner, deep in flat(value).items()}
        else:
            found[str(name)] = value
    return found
