"""The settings of a study, or of a part of a search: all of params.yaml, some with other values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autox3d.core import schema
from autox3d.core.errors import Refused
from autox3d.core.search_settings import NO_PARTS, PART
from autox3d.core.settings import PARAMS, Params, named

SEARCHED = ("supernet", "warmup", "search", "control", "derive")  # sections that a part may change
STUDIED = (*SEARCHED, "train")  # ... and a study


def for_study(params: Params, name: str, path: Path = PARAMS) -> Params:
    """Returns the settings with the space and the overrides of the study `name`, checked again.

    Raises:
        Refused: there is no such study, or an override is unknown or ill-typed.
    """
    study = named(params.studies, "studies", name, path)
    place = f"studies.{name}.overrides"
    if "space" in study.overrides.get("supernet", {}):
        raise Refused(
            f"{path}: '{place}.supernet.space' is another setting. Use 'studies.{name}.space'."
        )
    return _varied(params, study.overrides, STUDIED, "A study", study.space, path, place)


def for_part(params: Params, name: str, path: Path = PARAMS) -> Params:
    """Returns the settings with the space and the settings of the part `name`, checked again.

    Raises:
        Refused: there is no such part, or a setting is unknown or ill-typed.
    """
    overrides = named(params.parts.before, "parts.before", name, path)
    place, space = f"parts.before.{name}", PART.format(part=name)
    if "space" in overrides.get("supernet", {}):
        raise Refused(f"{path}: '{place}.supernet.space' is always {space}. Delete it.")
    return _varied(params, overrides, SEARCHED, "A part", space, path, place)


def _varied(
    params: Params,
    overrides: Mapping[str, Mapping[str, Any]],
    may: Sequence[str],
    who: str,
    space: str,
    path: Path,
    place: str,
) -> Params:
    """Returns the settings of a search apart: with overrides of the sections `may`, no parts."""
    for section in overrides:
        if section not in may:
            raise Refused(
                f"{path}: unknown '{place}.{section}'. {who} can change: {', '.join(may)}."
            )
    changed = _merged(asdict(params), {section: overrides.get(section, {}) for section in may})
    changed["supernet"]["space"] = space
    changed["parts"] = NO_PARTS
    return schema.check(changed, Params, path, place)


def _merged(content: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content with the changes applied; nested tables are merged key by key."""
    merged = dict(content)
    for key, value in changes.items():
        inner = merged.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            merged[key] = _merged(inner, value)
        else:
            merged[key] = value
    return merged
