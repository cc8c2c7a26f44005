"""The stages that a dvc.yaml has by some settings, without DVC, which reads whole clones alone."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any


def present(
    lock: Mapping[str, Any], pipeline: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The stages of a dvc.lock that are there by the settings: DVC keeps those that are gone.

    Args:
        lock, pipeline, settings: the content of dvc.lock, dvc.yaml and params.yaml
    """
    names = set(stage_names(pipeline, settings))
    return {name: entry for name, entry in (lock.get("stages") or {}).items() if name in names}


def stage_names(pipeline: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """As `dvc stage list --name-only`: train@s, candidate@step1-depth-2, report."""
    stages = _of(pipeline, "stages")
    for name, entry in stages.items() if isinstance(stages, Mapping) else ():
        if "foreach" in entry:
            yield from (f"{name}@{item}" for item in _items(entry["foreach"], settings))
        elif "matrix" in entry:
            columns = [_items(values, settings) for values in entry["matrix"].values()]
            yield from (f"{name}@{'-'.join(row)}" for row in itertools.product(*columns))
        else:
            yield name


def _items(listed: Any, settings: Mapping[str, Any]) -> list[str]:
    """The keys of a table or the values of a list: as they stand, or `${expand.path}` of settings.

    What the settings do not have is empty.
    """
    if isinstance(listed, str):
        keys = listed.removeprefix("${").removesuffix("}").split(".")
        listed = functools.reduce(_of, keys, settings)
    return [str(item) for item in listed] if isinstance(listed, (Mapping, list)) else []


def _of(table: Any, key: str) -> Any:
    return table.get(key) if isinstance(table, Mapping) else None
