"""Writes what the tables in core say about each setting, for editors and for people.

    python -m autox3d.pipeline.settings_docs

The JSON Schema of params.yaml is for editors that complete and check while one types; the page is
docs/SETTINGS.md. Types and bounds come from the tables, the words from the comments beside them.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from autox3d.core import atomic, search_settings, settings, values
from autox3d.core.settings import Params
from autox3d.runtime.program import run

SCHEMA, PAGE = Path("workflow/schemas/params.schema.json"), Path("docs/SETTINGS.md")
LINE = f"# yaml-language-server: $schema={SCHEMA}\n"  # the first of a settings file
FIELD = re.compile(r"(?m)^    (\w+): .*?  # (.+)$")
KINDS = {"integer": "whole number", "string": "text", "boolean": "`true` or `false`"}
KINDS |= {"number": "number", "null": "`null`", "object": "table"}
HEAD = """# Settings

What each section of params.yaml means, made by `make settings` from the tables in
`src/autox3d/core`; do not edit it here. There are no defaults: a file has every setting, and a
missing or misspelt one stops the first stage with a line that names it. `params.yaml` and the
files in `params/` begin with the line by which an editor finds the schema, and completes and
checks while you type. That line is right at the top of a clone, where a file from `params/` is
copied to.
"""


def main() -> None:
    """Writes both."""
    atomic.write_text(SCHEMA, schema_text())
    atomic.write_text(PAGE, page())


def schema_text() -> str:
    """The JSON Schema of params.yaml, with the comments as descriptions."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of params.yaml as plain content."""
    found = TypeAdapter(Params).json_schema()
    tables = {**found["$defs"], "Params": found}
    for name, table in tables.items():
        said = comments(name)
        for field, kind in table.get("properties", {}).items():
            kind.pop("title", None)
            inner = _table_of(kind)
            if field in said:
                kind["description"] = said[field]
            elif inner and table is not found:  # sections speak for themselves
                kind["description"] = (inspect.getdoc(_class(inner)) or "").split("\n")[0]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def comments(name: str) -> dict[str, str]:
    """The comment beside each field of a table, from its source."""
    return dict(FIELD.findall(inspect.getsource(_class(name))))


def _class(name: str) -> type:
    return next(
        vars(file)[name] for file in (settings, search_settings, values) if name in vars(file)
    )


def page() -> str:
    """The text of docs/SETTINGS.md: a table a section, and one for each table within."""
    found = schema()
    names = {field.name: field for field in fields(Params)}
    parts = [HEAD]
    seen: set[str] = set()
    for section in names:
        parts += _section(section, found["properties"][section], found["$defs"], seen)
    return "\n".join(parts)


def _section(
    place: str, kind: Mapping[str, Any], tables: Mapping[str, Any], seen: set[str]
) -> Iterator[str]:
    """The part of a section, and those of the tables that it has and nobody has told yet."""
    name = _table_of(kind)
    if name is None or name in seen:
        return
    seen.add(name)
    table = tables[name]
    several = f" An entry for each name: `{place}.NAME`." if "additionalProperties" in kind else ""
    title = f"{place} ({name})" if "." in place else place
    yield f"## {title}\n\n{table['description'].strip()}{several}\n"
    yield "| setting | is | meaning |\n|---|---|---|"
    for field, inner in table["properties"].items():
        yield f"| `{field}` | {words(inner)} | {_cell(inner.get('description', ''))} |"
    yield ""
    for field, inner in table["properties"].items():
        yield from _section(f"{place}.{field}", inner, tables, seen)


def _table_of(kind: Mapping[str, Any]) -> str | None:
    """The name of the table that a value, an entry or a list item is."""
    for inner in (kind, *map(kind.get, ("additionalProperties", "items")), *kind.get("anyOf", ())):
        if isinstance(inner, Mapping) and "$ref" in inner:
            return inner["$ref"].rpartition("/")[2]
    return None


def words(kind: Mapping[str, Any]) -> str:
    """What a value may be: `whole number > 0`, `one of ...`, `list of ...`."""
    if "$ref" in kind:
        return f"table {kind['$ref'].rpartition('/')[2]}"
    if "anyOf" in kind:
        return " or ".join(map(words, kind["anyOf"]))
    if "enum" in kind or "const" in kind:
        return ", ".join(f"`{one}`" for one in kind.get("enum", [kind.get("const")]))
    if kind.get("type") == "array":
        items = kind.get("prefixItems")
        return f"{len(items)} x {words(items[0])}" if items else f"list of {words(kind['items'])}"
    inner = kind.get("additionalProperties")
    if isinstance(inner, Mapping):
        return f"table with, for each name, {words(inner)}"
    signs = {"exclusiveMinimum": "> ", "minimum": ">= ", "maximum": "<= ", "exclusiveMaximum": "< "}
    bounds = [f"{sign}{kind[key]:g}" for key, sign in signs.items() if key in kind]
    return " ".join([KINDS.get(kind.get("type", ""), "anything"), ", ".join(bounds)]).strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    run(main)
