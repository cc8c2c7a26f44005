"""A file of settings without YAML aliases and merge keys, and with the keys that it lacks.

DVC's own overrides (`dvc exp run -S train.s.epochs=7`) lose or multiply values through aliases. The
text is changed where it must be and nowhere else: comments, order and spelling of numbers stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

MERGE = "tag:yaml.org,2002:merge"
SPECIAL = set(",[]{}")  # what a plain word may not have inside brackets


def without_aliases(text: str) -> str:
    """The same values, each written where it counts.

    Raises:
        ValueError: this file is beyond the method.
        yaml.YAMLError: the text is not YAML.
    """
    tokens = list(yaml.scan(text))
    aliases = [token for token in tokens if isinstance(token, yaml.AliasToken)]
    anchors = [token for token in tokens if isinstance(token, yaml.AnchorToken)]
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None or not (aliases or anchors):
        return text
    work = _Work(text, [(one.start_mark.index, one.end_mark.index) for one in aliases])
    try:
        work.visit(root)
    except RecursionError as error:
        raise ValueError("a table contains itself") from error
    for anchor in anchors:
        start, end = anchor.start_mark.index, anchor.end_mark.index
        if not any(left <= start < right for left, right, _ in work.edits):
            work.edits.append(_whole_anchor(text, start, end))
    made = _applied(text, work.edits)
    left = [token for token in yaml.scan(made) if isinstance(token, yaml.AliasToken)]
    if left or _typed(yaml.safe_load(made)) != _typed(yaml.safe_load(text)):
        raise ValueError("its aliases cannot be written out by program")
    return made


def with_keys(text: str, added: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The text with the keys of `added` that it lacks, each last in its table; and their names.

    Args:
        text: has no aliases
        added: values by dotted names, of which a part may be `*`: `train.*.drop_connect`
    """
    names: list[str] = []
    for pattern, value in added.items():
        *above, key = pattern.split(".")
        root = yaml.compose(text, yaml.SafeLoader)
        edits = []
        for place, node in _tables(root, above, ()):
            if key not in {one.value for one, _ in node.value}:
                edits.append(_appended(text, node, f"{key}: {json.dumps(value)}"))
                names.append(".".join((*place, key)))
        text = _applied(text, edits)
    return text, names


Edit = tuple[int, int, str]  # from, to, what comes in its place


@dataclass
class _Work:
    """The places where an alias stands, and the edits that take it away."""

    text: str
    aliases: list[tuple[int, int]]
    edits: list[Edit] = field(default_factory=list)

    def visit(self, node: Node) -> None:
        """Everything in a table or list; one in brackets is written anew as a whole."""
        if isinstance(node, MappingNode) and node.flow_style:
            if self._inside(node):
                start = _begin(self.text, node)
                self.edits.append((start, node.end_mark.index, self.flow(node)))
        elif isinstance(node, MappingNode):
            for key, value in node.value:
                self._entry(node, key, value)
        elif isinstance(node, SequenceNode):
            self._items(node)

    def _entry(self, table: MappingNode, key: Node, value: Node) -> None:
        after = key.end_mark.index
        alias = value.start_mark.index < after
        start, end = self._next(after) if alias else (value.start_mark.index, value.end_mark.index)
        if key.tag == MERGE:
            own = {one.value for one, _ in table.value}
            rows = [row for row in self._merged(value) if row[0].value not in own]
            lines = self._block(rows, key.start_mark.column)
            self.edits.append((key.start_mark.index, end, "\n".join(lines).lstrip()))
        elif not alias and not (_in_brackets(value) and self._inside(value)):
            self.visit(value)
        elif _on_one_line(self.pairs, value):
            self.edits.append((start if alias else _begin(self.text, value), end, self.flow(value)))
        else:  # a table below its name; a comment stays beside the name
            colon = self.text.index(":", after) + 1
            self.edits.append((colon, end, ""))
            line = self.text.find("\n", end)
            line = len(self.text) if line < 0 else line
            rows = self._block(self.pairs(value), key.start_mark.column + 2)
            self.edits.append((line, line, "".join(f"\n{row}" for row in rows)))

    def _items(self, node: SequenceNode) -> None:
        if node.flow_style:
            if self._inside(node):
                start = _begin(self.text, node)
                self.edits.append((start, node.end_mark.index, self.flow(node)))
            return
        cursor = node.start_mark.index
        for item in node.value:
            if item.start_mark.index < cursor:
                start, cursor = self._next(cursor)
                self.edits.append((start, cursor, self.flow(item)))
            else:
                self.visit(item)
                cursor = item.end_mark.index

    def pairs(self, node: Node) -> list[tuple[Node, Node]]:
        """The entries of a table, those merged into it in the place of the original."""
        assert isinstance(node, MappingNode)
        merged = [
            row for key, value in node.value if key.tag == MERGE for row in self._merged(value)
        ]
        found = {key.value: (key, value) for key, value in reversed(merged)}
        found = dict(reversed(found.items()))
        found.update({k.value: (k, v) for k, v in node.value if k.tag != MERGE})
        return list(found.values())

    def _merged(self, value: Node) -> list[tuple[Node, Node]]:
        """What `<<` brings in; of several tables the first wins."""
        tables = value.value if isinstance(value, SequenceNode) else [value]
        found: dict[str, tuple[Node, Node]] = {}
        for one in tables:
            for key, item in self.pairs(one):
                found.setdefault(key.value, (key, item))
        return list(found.values())

    def _block(self, rows: list[tuple[Node, Node]], indent: int) -> list[str]:
        lines = []
        for key, value in rows:
            name = f"{' ' * indent}{self.flow(key)}:"
            if isinstance(value, MappingNode) and not _on_one_line(self.pairs, value):
                lines += [name, *self._block(self.pairs(value), indent + 2)]
            else:
                lines.append(f"{name} {self.flow(value, inside=False)}")
        return lines

    def flow(self, node: Node, *, inside: bool = True) -> str:
        """On one line, scalars as they are spelt; `inside`: it may come to stand in brackets."""
        if isinstance(node, MappingNode):
            rows = (f"{self.flow(key)}: {self.flow(value)}" for key, value in self.pairs(node))
            return f"{{{', '.join(rows)}}}"
        if isinstance(node, SequenceNode):
            return f"[{', '.join(map(self.flow, node.value))}]"
        assert isinstance(node, ScalarNode)
        spelt = self.text[_begin(self.text, node) : node.end_mark.index]
        ambiguous = inside and not node.style and SPECIAL & set(spelt)
        if node.style in ("|", ">") or "\n" in spelt or ambiguous:
            return json.dumps(node.value, ensure_ascii=False)
        return spelt or "null"

    def _inside(self, node: Node) -> bool:
        return any(node.start_mark.index <= left < node.end_mark.index for left, _ in self.aliases)

    def _next(self, place: int) -> tuple[int, int]:
        return next(span for span in self.aliases if span[0] >= place)


def _on_one_line(pairs: Any, node: Node) -> bool:
    """A scalar, a list, or a table in brackets that holds no other table."""
    if not isinstance(node, MappingNode):
        return True
    return bool(node.flow_style) and not any(isinstance(v, MappingNode) for _, v in pairs(node))


def _in_brackets(node: Node) -> bool:
    return isinstance(node, (MappingNode, SequenceNode)) and bool(node.flow_style)


def _begin(text: str, node: Node) -> int:
    """Where the node starts behind its anchor, which counts as a part of it."""
    start = node.start_mark.index
    if text[start : start + 1] != "&":
        return start
    while not text[start].isspace():
        start += 1
    while start < node.end_mark.index and text[start].isspace():
        start += 1
    return start


def _whole_anchor(text: str, start: int, end: int) -> Edit:
    """With the blanks after it, or before it where the line ends."""
    while text[end : end + 1] == " ":
        end += 1
    while text[end : end + 1] in ("\n", "") and text[start - 1 : start] == " ":
        start -= 1
    return start, end, ""


def _tables(
    node: Node | None, parts: list[str], place: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], MappingNode]]:
    """The tables whose dotted name fits the parts of a pattern."""
    if not isinstance(node, MappingNode):
        return
    if not parts:
        yield place, node
        return
    for key, value in node.value:
        if fnmatchcase(str(key.value), parts[0]):
            yield from _tables(value, parts[1:], (*place, str(key.value)))


def _appended(text: str, table: MappingNode, entry: str) -> Edit:
    """The edit that makes `entry` the last one of a table."""
    if table.flow_style:
        end = table.end_mark.index - 1
        return end, end, f", {entry}" if table.value else entry
    last: Node = table
    while not _in_brackets(last) and isinstance(last, (MappingNode, SequenceNode)) and last.value:
        last = last.value[-1][1] if isinstance(last, MappingNode) else last.value[-1]
    end = last.end_mark.index - (text[last.end_mark.index - 1] == "\n")
    line = text.find("\n", end)
    line = len(text) if line < 0 else line
    return line, line, f"\n{' ' * table.start_mark.column}{entry}"


def _applied(text: str, edits: list[Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _typed(value: Any) -> Any:
    """1 and 1.0 and true differ."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return type(value), value
