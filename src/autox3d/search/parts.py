"""A search in parts: the space of a part, in which some columns of a larger space are open.

What is not open stands at what the part before has found, or at its first candidate where none has
searched it yet. A dense stream is not there before a part opens a column of it, so that the first
part searches the sparse stream alone, on every alpha-th frame (TS-S, Table 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from autox3d.core import atomic, schema
from autox3d.core.errors import Refused
from autox3d.core.search_settings import Part
from autox3d.core.settings import PARAMS
from autox3d.search.space import DenseSpace, Space, columns_of
from autox3d.vision.arch.blocks import Candidates, Group
from autox3d.vision.arch.genotype import Genotype


def opened(whole: Space, name: str, part: Part, found: Genotype | None) -> Space:
    """The space of a part.

    Args:
        whole: all candidates of all parts
        name: of the part
        found: the network of the part before; None for the first one

    Raises:
        Refused: the part leaves no choice, opens a column of a stream that is not there, or what
            was found is not in the space.
    """
    place = f"{PARAMS}: 'parts.open.{name}'"
    if part.dense and whole.dense is None:
        raise Refused(f"{place}: {whole.name} has no dense stream. Write [] for 'dense'.")
    if found:
        _check(found, whole if found.dense else sparse_alone(whole), name)
    two = bool(part.dense or (found and found.dense))
    space = whole if two else sparse_alone(whole)
    groups = _rows(space.groups, part.sparse, found.groups if found else ())
    dense = space.dense and replace(
        space.dense,
        groups=_rows(
            space.dense.groups, part.dense, found.dense.groups if found and found.dense else ()
        ),
    )
    made = replace(space, name=f"{whole.name}_{name}", groups=groups, dense=dense)
    if made.size == 1:
        raise Refused(
            f"{place}: every column that it opens has one candidate in {whole.name}. Delete the"
            " part, or give them more."
        )
    return made


def sparse_alone(space: Space) -> Space:
    """The sparse stream of two as a space of its own, with its own clips."""
    if space.dense is None:
        return space
    clip, alpha = space.input, space.dense.alpha
    thinner = replace(clip, frames=clip.frames // alpha, stride=clip.stride * alpha)
    return replace(space, input=thinner, dense=None)


def save(space: Space, path: Path, comment: str) -> None:
    """Writes a space as a file that `Space.load` reads, a line for each row."""
    atomic.write_text(path, f"# {comment}\n" + "\n".join(_lines(space)) + "\n")


def _check(found: Genotype, whole: Space, name: str) -> None:
    """Refuses a network of another space than that of the parts."""
    own = replace(whole, name=found.name)
    try:
        own.draw(found)
    except ValueError as error:
        raise Refused(
            f"{PARAMS}: 'parts.open.{name}' takes over a network that is not in 'parts.space':"
            f" {error}. Run the part before it again."
        ) from error


def _rows(
    groups: Sequence[Candidates], columns: Sequence[str], found: Sequence[Group]
) -> tuple[Candidates, ...]:
    """The rows of a stream; `found` is empty where it has just come in."""
    taken: Iterable[Group | None] = found or [None] * len(groups)
    return tuple(_row(*pair, columns) for pair in zip(groups, taken, strict=True))


def _row(group: Candidates, found: Group | None, columns: Sequence[str]) -> Candidates:
    """A row in which the columns not named have one candidate."""
    fixed = {
        column: (getattr(found, column) if found else getattr(group, column)[0],)
        for column in columns_of(group)
        if column not in columns
    }
    return replace(group, **fixed)


def _lines(part: Space | DenseSpace) -> Iterator[str]:
    """The lines of a file, without fields that a later version added where they are unused."""
    for name, value in _written(part).items():
        if name == "groups":
            yield "groups:"
            yield from (f"  - {_flow(group)}" for group in value)
        elif isinstance(value, DenseSpace):
            yield f"{name}:"
            yield from (f"  {line}" for line in _lines(value))
        else:
            yield f"{name}: {_flow(value)}"


def _flow(value: Any) -> str:
    """A value on one line."""
    if is_dataclass(value):
        return f"{{{', '.join(f'{k}: {_flow(v)}' for k, v in _written(value).items())}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_flow, value))}]"
    return schema.dump(value).removesuffix("...\n").strip()


def _written(part: Any) -> dict[str, Any]:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    before = schema.added(type(part))
    return {k: v for k, v in values.items() if k not in before or v != before[k]}
