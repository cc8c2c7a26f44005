"""Writes the code dependencies of each stage into dvc.yaml, from imports (`make deps`).

    python -m autox3d.pipeline.deps [--check]

A stage depends on the rooms (folders of src/autox3d) whose files its program imports, directly or
through other files. The rooms are divided by what a change in them costs to run again, so a stage
lists a whole room; from `vision` it lists only an inner room if everything that it imports is in
there. Code that cannot change a result is not a dependency: settings are tracked by value, and
`core`, `runtime` and `pipeline` compute nothing that a stage writes. Neither do the programs in
`stages`: they read settings and inputs, make one call and write records. A test checks that, so
that one more metric for MLflow does not make the pipeline search and train again.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.runtime.program import run

PACKAGE = "autox3d"
SOURCE = Path("src") / PACKAGE
PIPELINE = Path("dvc.yaml")
MACHINERY = {"core", "runtime", "pipeline", "stages"}
INNER = ("vision/arch", "vision/clips/format")  # rooms inside a room, which fewer stages depend on
WIDTH = 100


def main() -> None:
    """Rewrites dvc.yaml; with --check, only checks that it would not change.

    Raises:
        Refused: with --check, dvc.yaml does not list the code that the programs import.
    """
    now = PIPELINE.read_text(encoding="utf-8")
    wanted = with_code(now, Path())
    if "--check" in sys.argv[1:] and wanted != now:
        raise Refused(
            f"{PIPELINE}: its code dependencies are not what the stages import. Run: make deps"
        )
    if wanted != now:
        atomic.write_text(PIPELINE, wanted)


def with_code(pipeline: str, root: Path) -> str:
    """The text of dvc.yaml with the code dependencies of every stage brought up to date."""
    parts = re.split(r"(?m)^(?=  \w+:$)", pipeline)
    return "".join(_with_code(part, root) for part in parts)


def rooms(stage: str, root: Path) -> list[str]:
    """The paths of the rooms that a stage depends on."""
    program = root / SOURCE / "stages" / f"{stage}.py"
    inside = {path.relative_to(root / SOURCE) for path in closure(program, root)}
    top = {path.parts[0] for path in inside if len(path.parts) > 1} - MACHINERY
    return [f"{SOURCE}/{_narrowed(room, inside)}" for room in sorted(top)]


def closure(start: Path, root: Path) -> set[Path]:
    """A file and the files of this package that it imports, directly or through others."""
    seen, todo = {start}, [start]
    while todo:
        new = {path for name in imports(todo.pop()) if (path := file_of(name, root))} - seen
        seen |= new
        todo += new
    return seen


def imports(path: Path) -> set[str]:
    """The dotted names of everything that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def file_of(name: str, root: Path) -> Path | None:
    """The file of a dotted name of this package; None for a name from elsewhere."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    for end in range(len(parts), 1, -1):
        place = (root / SOURCE).joinpath(*parts[1:end])
        if place.with_suffix(".py").is_file():
            return place.with_suffix(".py")
        if (place / "__init__.py").is_file():
            return place / "__init__.py"
    return None


def _narrowed(room: str, inside: set[Path]) -> str:
    """The inner room that has all the imported files of a room, or else the room."""
    files = [path for path in inside if path.parts[0] == room]
    for inner in INNER:
        if inner.startswith(room) and all(path.is_relative_to(inner) for path in files):
            return inner
    return room


def _with_code(part: str, root: Path) -> str:
    """An entry of dvc.yaml with its code dependencies; other text is returned unchanged."""
    name, found = part.partition(":")[0].strip(), re.search(_DEPS, part)
    if not found:
        return part
    listed = yaml.safe_load(found["list"])
    data = [item for item in listed if not item.startswith(f"{SOURCE}/")]
    lines = list(_wrapped([*map(_quoted, data), *rooms(name, root)], found["indent"]))
    return part[: found.start()] + "\n".join(lines) + "\n" + part[found.end() :]


_DEPS = r"(?m)^(?P<indent> +)deps:\s*(?P<list>\[[^\]]*\])\n"


def _quoted(path: str) -> str:
    return f'"{path}"' if "$" in path else path


def _wrapped(items: list[str], indent: str) -> Iterator[str]:
    """The lines of `deps: [a, b]`: one line if it fits, else the items filled into several."""
    line = f"{indent}deps: [{', '.join(items)}]"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"{indent}deps:"
    yield f"{indent}  ["
    line = f"{indent}   "
    for item in items:
        if len(f"{line} {item},") > WIDTH:
            yield line
            line = f"{indent}   "
        line += f" {item},"
    yield line
    yield f"{indent}  ]"


if __name__ == "__main__":
    run(main)
