"""Each environment variable of ours is read in one place, when it is asked for, and documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from autox3d.core import environment
from autox3d.core.errors import Refused

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/autox3d"
ROW = r"^\| `(AUTOX3D_\w+)` \| (.+?) \| (.+) \|$"


def test_operations_md_lists_every_variable():
    """Name, default and meaning, word for word and in the same order."""
    page = (ROOT / "docs/OPERATIONS.md").read_text()
    listed = re.findall(ROW, page, re.MULTILINE)

    assert [(name, default.strip("`"), what) for name, default, what in listed] == [
        tuple(variable) for variable in environment.ALL
    ]


def test_no_other_file_names_a_variable_to_read_it():
    """A message may name one within a sentence; a string that is a name alone is a second place."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
        found[path.name] = {text for text in texts if re.fullmatch(r"AUTOX3D_\w+", str(text))}

    ours = {variable.name for variable in environment.ALL} | {environment.MEETING}
    assert found.pop("environment.py") == ours
    assert not any(found.values())


SAYS = {
    "AUTOX3D_RAW": (environment.raw, Path("data/raw"), "/data", Path("/data")),
    "AUTOX3D_SHARDS": (environment.shards, Path("data/shards"), "/fast", Path("/fast")),
    "AUTOX3D_CHECKPOINTS": (environment.checkpoints, Path("checkpoints"), "/nfs", Path("/nfs")),
    "AUTOX3D_PROCESSES": (environment.processes, None, "2", 2),
    "AUTOX3D_WORKERS": (environment.workers, None, "0", 0),
    "AUTOX3D_SAVE_EVERY": (environment.save_every, 600.0, "0", 0.0),
    "AUTOX3D_TIMEOUT": (environment.timeout, 1800.0, "2.5", 2.5),
    "AUTOX3D_PATIENCE": (environment.patience, 3600.0, "1e2", 100.0),
    "AUTOX3D_TRACKING": (environment.tracking, True, "off", False),
}


@pytest.mark.parametrize("name", [variable.name for variable in environment.ALL])
def test_a_variable_is_read_when_it_is_asked_for(monkeypatch, name):
    """Its default where it is not set, and what it says from then on."""
    ask, default, text, value = SAYS[name]
    monkeypatch.delenv(name, raising=False)
    assert ask() == default
    monkeypatch.setenv(name, text)

    assert ask() == value


WRONG: dict[str, tuple[Callable[[], object], list[str], str]] = {
    "AUTOX3D_PROCESSES": (environment.processes, ["0", "two", "-1", ""], "a number from 1 on"),
    "AUTOX3D_WORKERS": (environment.workers, ["-1", "1.5", ""], "a number from 0 on"),
    "AUTOX3D_SAVE_EVERY": (
        environment.save_every,
        ["soon", "-1", "nan", ""],
        "a number of seconds from 0 on",
    ),
    "AUTOX3D_TIMEOUT": (environment.timeout, ["inf", "1 h"], "a number of seconds from 0 on"),
    "AUTOX3D_PATIENCE": (environment.patience, ["none"], "a number of seconds from 0 on"),
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, (_, texts, _) in WRONG.items() for text in texts]
)
def test_a_value_that_says_nothing_is_one_line(monkeypatch, name, text):
    """The variable, what it must be, and what it is."""
    ask, _, wanted = WRONG[name]
    monkeypatch.setenv(name, text)

    with pytest.raises(Refused) as refused:
        ask()
    assert str(refused.value) == f"{name}: must be {wanted}, not '{text}'."
