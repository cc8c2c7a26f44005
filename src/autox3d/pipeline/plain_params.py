"""Writes out the YAML aliases and merge keys of a file of settings, and adds keys that it lacks.

With aliases, DVC's own overrides (`dvc exp run -S train.s.epochs=7`) lose or multiply values. Only
the text that has to change is changed: comments, order and the spelling of numbers stay.
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
SPECIAL = set(",[]{}")  # characters that a plain scalar may not have inside brackets


def without_aliases(text: str) -> str:
    """The text with every alias and merge key replaced by the values that it stands for.

    Raises:
        ValueError: this file cannot be rewritten by program.
        yaml.YAMLError: the text is not YAML.
    """
    tokens = list(yaml.scan(text))
    aliases = [token for token in tokens if isinstance(token, yaml.AliasToken)]
    anchors = [token for token in tokens if isinstance(token, yaml.AnchorToken)]
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None or not (aliases or anchors):
        return text
    rewrite = _Rewrite(text, [(one.start_mark.index, one.end_mark.index) for one in aliases])
    try:
        rewrite.visit(root)
    except RecursionError as error:
        raise ValueError("a table contains itself") from error
    for anchor in anchors:
        start, end = anchor.start_mark.index, anchor.end_mark.index
        if not any(left <= start < right for left, right, _ in rewrite.edits):
            rewrite.edits.append(_whole_anchor(text, start, end))
    plain = _applied(text, rewrite.edits)
    left = [token for token in yaml.scan(plain) if isinstance(token, yaml.AliasToken)]
    if left or _typed(yaml.safe_load(plain)) != _typed(yaml.safe_load(text)):
        raise ValueError("its aliases cannot be written out by program")
    return plain


def with_keys(text: str, added: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The text with the keys of `added` that it lacks, each at the end of its table.

    Args:
        text: without aliases
        added: values by dotted name, in which a part may be `*`: `train.*.drop_connect`

    Returns:
        The text, and the names of the keys that were added.
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


Edit = tuple[int, int, str]  # begin, end, the new text


@dataclass
class _Rewrite:
    """Collects the edits that replace the aliases of a text."""

    text: str
    aliases: list[tuple[int, int]]
    edits: list[Edit] = field(default_factory=list)

    def visit(self, node: Node) -> None:
        """Visits a table or list with all its contents; one in brackets is replaced as a whole."""
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
        else:  # a table on the lines below its key; a comment stays beside the key
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
        """The entries of a table, with those that it merges in where the merge key was."""
        assert isinstance(node, MappingNode)
        merged = [
            row for key, value in node.value if key.tag == MERGE for row in self._merged(value)
        ]
        found = {key.value: (key, value) for key, value in reversed(merged)}
        found = dict(reversed(found.items()))
        found.update({k.value: (k, v) for k, v in node.value if k.tag != MERGE})
        return list(found.values())

    def _merged(self, value: Node) -> list[tuple[Node, Node]]:
        """The entries that `<<` merges in; of several tables the first one wins."""
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
        """The node on one line, scalars spelt as before; `inside`: it may end up in brackets."""
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
    """Whether a node is a scalar, a list, or a table in brackets without another table."""
    if not isinstance(node, MappingNode):
        return True
    return bool(node.flow_style) and not any(isinstance(v, MappingNode) for _, v in pairs(node))


def _in_brackets(node: Node) -> bool:
    return isinstance(node, (MappingNode, SequenceNode)) and bool(node.flow_style)


def _begin(text: str, node: Node) -> int:
    """Where the node itself starts, after its anchor."""
    start = node.start_mark.index
    if text[start : start + 1] != "&":
        return start
    while not text[start].isspace():
        start += 1
    while start < node.end_mark.index and text[start].isspace():
        start += 1
    return start


def _whole_anchor(text: str, start: int, end: int) -> Edit:
    """The edit that deletes an anchor with the blanks after it, or before it at a line's end."""
    while text[end : end + 1] == " ":
        end += 1
    while text[end : end + 1] in ("\n", "") and text[start - 1 : start] == " ":
        start -= 1
    return start, end, ""


def _tables(
    node: Node | None, parts: list[str], place: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], MappingNode]]:
    """Yields the tables whose dotted name matches the parts of a pattern."""
    if not isinstance(node, MappingNode):
        return
    if not parts:
        yield place, node
        return
    for key, value in node.value:
        if fnmatchcase(str(key.value), parts[0]):
            yield from _tables(value, parts[1:], (*place, str(key.value)))


def _appended(text: str, table: MappingNode, entry: str) -> Edit:
    """The edit that adds an entry at the end of a table."""
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
    """The value with the type of each scalar, so that 1, 1.0 and true differ."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return type(value), value
