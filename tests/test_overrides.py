"""`dvc exp run -S` changes the one setting that it names, in each file that we ship."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides

from autox3d.core import schema

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "params").rglob("*.yaml"))]
ROUNDS = 12  # each setting is changed in another half of them: 924 at most
SMALL = 1.25e-05  # which DVC writes in a way that YAML 1.1 takes for text

Leaf = tuple[str, ...]


def leaves(content: Any, place: Leaf = ()) -> Iterator[tuple[Leaf, Any]]:
    """Every setting with its value; a list is one, and so is an empty table."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from leaves(value, (*place, key))
    else:
        yield place, content


def another(value: Any) -> Any:
    """A value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return SMALL
    if isinstance(value, list):
        return [*value, *value[-1:]] or [SMALL]
    return {"more": "another"} if value == {} else "another"


def override(place: Leaf, value: Any) -> str:
    """As one types it behind -S; the plus adds what was not there."""
    if isinstance(value, dict):
        return f"+{'.'.join(place)}.more={json.dumps(value['more'])}"
    return f"{'.'.join(place)}={json.dumps(value)}"


def changed(content: Any, changes: dict[Leaf, Any]) -> Any:
    """What the file ought to say then."""
    found = json.loads(json.dumps(content))  # nothing in it is shared
    for (*tables, name), value in changes.items():
        table = found
        for step in tables:
            table = table[step]
        table[name] = value
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_override_changes_the_setting_that_it_names_and_no_other(tmp_path, file):
    """Of any two settings there is a round that changes the first and not the second."""
    path, content = tmp_path / "params.yaml", schema.parse(file)
    every = {place: another(value) for place, value in leaves(content)}
    codes = [*itertools.combinations(range(ROUNDS), ROUNDS // 2)]
    assert len(every) <= len(codes)
    assert len(every) > 100 or file.parent.name == "studies"  # which are added to a whole file

    for number in range(ROUNDS):
        rounds = zip(every.items(), codes, strict=False)
        changes = {place: value for (place, value), code in rounds if number in code}
        path.write_text(file.read_text())
        apply_overrides(path, [override(*change) for change in changes.items()])
        assert schema.parse(path) == changed(content, changes)


ALIAS = "s: &s {flip: false}\nm: *s\n"
MERGED = "s: &s {lr: 0.1, sampling: {flip: false}}\nm: {<<: *s, lr: 0.5}\n"
SHARED = {
    "lost by an alias": (ALIAS, ("s", "flip")),
    "doubled by an alias": (ALIAS, ("m", "flip")),
    "lost by a merge key": (MERGED, ("s", "sampling", "flip")),
    "doubled by a merge key": (MERGED, ("m", "sampling", "flip")),
}


@pytest.mark.parametrize("case", SHARED)
def test_a_table_that_two_sections_share_takes_no_override(tmp_path, case):
    """The control, and why the settings refuse a file with an alias or a merge key."""
    path = tmp_path / "params.yaml"
    text, place = SHARED[case]
    path.write_text(text)
    content = schema.parse(path)
    apply_overrides(path, [override(place, True)])
    found = schema.parse(path)

    assert (found == content) == case.startswith("lost")
    assert found != changed(content, {place: True})
