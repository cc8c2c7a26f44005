"""An editor and docs/SETTINGS.md say of each setting what core/settings.py says."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from support import ROOT

from autox3d.core import schema
from autox3d.core.errors import Refused
from autox3d.core.settings import Params
from autox3d.pipeline import settings_docs

FILES = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]
SCHEMA = json.loads((ROOT / settings_docs.SCHEMA).read_text())


def test_both_files_are_what_make_settings_writes():
    """Nobody edits them."""
    assert (ROOT / settings_docs.SCHEMA).read_text() == settings_docs.schema_text()
    assert (ROOT / settings_docs.PAGE).read_text() == settings_docs.page()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_schema_takes_every_settings_file_and_each_names_it(path):
    """By the path from the top of a clone, where a file is used; studies are pieces of one."""
    first, _, rest = path.read_text().partition("\n")

    assert f"{first}\n" == settings_docs.LINE
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(schema.parse_text(rest, path), SCHEMA)


def wrong(change: str) -> dict[str, Any]:
    """The settings of the demo with one mistake."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    *path, value = change.replace("=", ".").split(".")
    table = content
    for name in path[:-1]:
        table = table[name]
    if value == "MISSING":
        del table[path[-1]]
    else:
        table[path[-1]] = yaml.safe_load(value)
    return content


@pytest.mark.parametrize(
    "change",
    [
        *("train.s.bacth=8", "train.s.epochs=0", "train.s.dropout=2", "train.s.seed=MISSING"),
        *("evaluate.split=tset", "transcode.preset=1", "search.target=text", "annotate.shards=[]"),
    ],
)
def test_what_the_program_refuses_an_editor_marks(change):
    """The control: misspelt, missing, ill-typed, out of range."""
    with pytest.raises(Refused):
        schema.check(wrong(change), Params, Path("params.yaml"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong(change), SCHEMA)


def test_every_setting_has_a_type_and_a_meaning():
    """In the schema and on the page; the tables are those that the program has."""
    page = settings_docs.page()
    assert {field.name for field in dataclasses.fields(Params)} == SCHEMA["properties"].keys()
    for name, table in SCHEMA["$defs"].items():
        for field, kind in table["properties"].items():
            assert kind.get("description"), f"{name}.{field} has no comment"
            assert f"| `{field}` | {settings_docs.words(kind)} | " in page, f"{name}.{field}"
    assert "anything" not in page
    assert len(re.findall(r"(?m)^## ", page)) == len(SCHEMA["$defs"])
