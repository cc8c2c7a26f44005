"""Two runs of the pipeline side by side: what was changed, and what that did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from autox3d.report.results import Network, Results


class Difference(NamedTuple):
    """One fact that is not the same; None where a run does not have it."""

    part: str  # settings, data, genotype, or a network
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


def compare(before: Results, after: Results) -> list[Difference]:
    """All that differs: causes first (settings, data, architecture), then each network."""
    old, new = facts(before), facts(after)
    keys = list(dict.fromkeys([*old, *new]))
    differing = [key for key in keys if old.get(key) != new.get(key)]
    parts = list(dict.fromkeys(part for part, _ in keys))
    return [Difference(*key, old.get(key), new.get(key)) for part in parts
            for key in differing if key[0] == part]  # fmt: skip


def facts(results: Results) -> dict[tuple[str, str], Any]:
    """(part, name) -> value, of everything that a run says of itself."""
    parts: dict[str, Mapping[str, Any]] = {"settings": results.settings}
    parts["data"] = results.data or {}
    parts["genotype"] = asdict(results.found) if results.found else {}
    parts |= {network.name: _tested(network) for network in results.networks}
    return {(part, name): value for part, of in parts.items() for name, value in flat(of).items()}


def _tested(network: Network) -> dict[str, Any]:
    """Accuracy and cost; classes by their names, since a list's places mean nothing to a reader."""
    if not network.evaluation:
        return {}
    found = dict(network.evaluation)
    found.pop("k_clips")
    found["per_class"] = {row["class"]: row["top1"] for row in found["per_class"]}
    return found


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
