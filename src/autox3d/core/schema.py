"""Reads YAML files into frozen dataclasses; an error names the file, the place and the fix."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as _dataclass

from autox3d.core.errors import Refused

T = TypeVar("T")
UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
BOUNDS = {
    "greater_than": ">",
    "greater_than_equal": ">=",
    "less_than": "<",
    "less_than_equal": "<=",
}
KINDS = {
    "int": "int",
    "float": "float",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dataclass": "a table",
    "finite_number": "finite",
}
EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Loader(yaml.SafeLoader):
    """A safe loader that reads 5e-5 as a number, as YAML 1.2 and DVC do."""


Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))


@dataclasses.dataclass(frozen=True)
class Added:
    """Marks a field that a later version added: `rate: Annotated[Share, Added(0.0)]`.

    The field is still required; the error message gives the value that keeps the old behaviour.
    """

    value: Any  # with which the program behaves as it did before the field was added


def added(kind: type) -> dict[str, Any]:
    """The fields that later versions added to a table, with the values of the old behaviour."""
    marks = {
        name: [mark.value for mark in field.metadata if isinstance(mark, Added)]
        for name, field in getattr(kind, "__pydantic_fields__", {}).items()
    }
    return {name: values[0] for name, values in marks.items() if values}


def optional_section() -> Any:
    """The default of a section that a later version added, for older files: an empty table."""
    return dataclasses.field(default_factory=dict)


@typing.dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(optional_section,)
)
def table(cls: type[T]) -> type[T]:
    """Makes `cls` a frozen, keyword-only dataclass whose YAML form is checked strictly."""
    return typing.cast("type[T]", _dataclass(cls, frozen=True, kw_only=True, config=STRICT))


def parse(path: Path) -> Any:
    """Returns the plain content of a YAML file.

    Raises:
        Refused: the file is missing, unreadable or not YAML, or has a duplicate key.
    """
    return parse_text(read(path), path)


def read(path: Path) -> str:
    """Returns the text of a file.

    Raises:
        Refused: the file is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise Refused(
            f"{path}: not UTF-8 text at byte {error.start}. Is it a YAML file?"
        ) from error


def parse_text(text: str, path: Path) -> Any:
    """Returns the plain content of YAML text; `path` names the file in error messages.

    Raises:
        Refused: the text is not YAML, or has a duplicate key.
    """
    try:
        loader = Loader(text)
    except yaml.reader.ReaderError as error:
        raise Refused(f"{path}: not YAML: {error.reason}. Is it a text file?") from error
    loader.name = str(path)
    try:
        node = loader.get_single_node()
        _refuse_double_keys(node, path)
        return loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Refused(f"{path}: not YAML at line {line}: {error.problem}.") from error
    finally:
        loader.dispose()


def _refuse_double_keys(node: yaml.Node | None, path: Path) -> None:
    """Refuses a duplicate key, of which YAML would silently keep the last value."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_double_keys(item, path)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                line = key.start_mark.line + 1
                raise Refused(f"{path}: '{key.value}' is listed twice (line {line}). Delete one.")
            seen.add(str(key.value))
            _refuse_double_keys(value, path)


def refuse_aliases(text: str, path: Path) -> None:
    """Refuses YAML aliases, because DVC cannot override a value that two sections share.

    `dvc exp run -S` would change it in both sections, or not at all.

    Raises:
        Refused: the file has an alias (`*s`) or a merge key (`<<:`).
    """
    for token in yaml.scan(text, Loader=Loader):
        if isinstance(token, yaml.AliasToken):
            name, what = f"*{token.value}", "an alias"
        elif isinstance(token, yaml.ScalarToken) and token.value == "<<" and token.plain:
            name, what = "<<", "a merge key"
        else:
            continue
        raise Refused(
            f"{path}: '{name}' (line {token.start_mark.line + 1}) is {what} of YAML: through it, "
            "`dvc exp run -S` changes nothing or too much. `autox3d upgrade` writes its values out."
        )


def load(path: Path, kind: type[T], section: str = "") -> T:
    """Reads the file, or its dotted `section`, as a `kind`.

    Raises:
        Refused: a key is unknown, missing, ill-typed or out of range; the first fault is reported.
    """
    content = parse(path)
    for key in filter(None, section.split(".")):
        if not isinstance(content, dict) or key not in content:
            raise Refused(f"{path}: missing section '{section}'.")
        content = content[key]
    return check(content, kind, path, section)


def check(found: Any, kind: type[T], path: Path, section: str = "") -> T:
    """Converts plain content to a `kind`; `path` and `section` name its place in error messages."""
    try:  # strict JSON: an object is a table, an array a tuple, and nothing else is converted
        return TypeAdapter(kind).validate_json(json.dumps(found, default=str))
    except ValidationError as error:
        raise Refused(f"{path}: {_message(error, kind, section)}") from error


def _message(error: ValidationError, kind: Any, section: str) -> str:
    """Describes one fault: an unknown key if there is one, as it often explains a missing one."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] not in UNKNOWN)
    fault = faults[0]
    place = _place(section, fault["loc"])
    if fault["type"] in UNKNOWN:
        known = [field.name for field in dataclasses.fields(_kind_at(kind, fault["loc"][:-1]))]
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, 1)
        hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known)}."
        return f"unknown {place}. {hint}"
    if fault["type"] in ("missing", "missing_keyword_only_argument"):
        return f"missing {place}.{_value_of_before(kind, fault['loc'])}"
    if fault["type"] == "value_error":
        return f"{place}: {fault.get('ctx', {})['error']}"
    return f"{place} must be {_wanted(fault)}, not {fault['input']!r}."


def _place(section: str, loc: tuple[int | str, ...]) -> str:
    """('groups', 2, 'kernel') -> 'groups', row 3, 'kernel'; ('seed',) -> 'train.seed'."""
    parts, names = [], [section] if section else []
    for step in loc:
        if isinstance(step, int):
            parts += [f"'{'.'.join(names)}'"] if names else []
            parts.append(f"row {step + 1}")
            names = []
        else:
            names.append(str(step))
    parts += [f"'{'.'.join(names)}'"] if names else []
    return ", ".join(parts) or "the file"


def _kind_at(kind: Any, loc: tuple[int | str, ...]) -> type:
    """The type of the table at the place `loc` inside `kind`."""
    for step in loc:
        if isinstance(step, int) or not dataclasses.is_dataclass(kind):
            kind = typing.get_args(kind)[-1 if isinstance(step, str) else 0]
        else:
            kind = typing.get_type_hints(kind)[step]
        if isinstance(kind, types.UnionType):
            kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
    return kind


def _value_of_before(kind: Any, loc: tuple[int | str, ...]) -> str:
    """A hint how to fix a file of an earlier version that lacks a field."""
    *table, name = loc
    before = added(_kind_at(kind, tuple(table)))
    if name not in before:
        return ""
    value = before[str(name)]
    many = isinstance(value, dict)  # a whole section: one line of JSON, which YAML is, too
    value = json.dumps(value) if many else dump(value).removesuffix("...\n").strip()
    return f" Write {value} there, or type `autox3d upgrade`, to keep what earlier versions did."


def _wanted(fault: Any) -> str:
    name, context = fault["type"], fault.get("ctx", {})
    if name == "literal_error":
        return f"one of {context['expected']}"
    if name in BOUNDS:
        return f"{BOUNDS[name]} {next(iter(context.values()))}"
    return KINDS.get(name.removesuffix("_type")) or str(fault["msg"])


def dump(content: Any) -> str:
    """Writes plain content as YAML: keys in order, one line for each innermost table."""
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
