"""A mistake in a YAML file is named by file, place and way out, before any work."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

import pytest
from pydantic import Field
from support import ROOT

from autox3d.core import schema, settings
from autox3d.core.errors import Refused


@schema.table
class Row:
    """A row of a table."""

    kernel: Literal["t1", "t3"]
    blocks: Annotated[int, Field(gt=0)]


@schema.table
class Train:
    """A section."""

    batch: int
    weight_decay: float
    init: str | None
    groups: tuple[Row, ...]


GOOD = "train: {batch: 8, weight_decay: 1, init: null, groups: [{kernel: t3, blocks: 2}]}"


def read(folder: Path, text: str) -> Train:
    path = folder / "params.yaml"
    path.write_text(text)
    return schema.load(path, Train, "train")


def test_a_good_file_is_read_into_frozen_tables(tmp_path):
    """Values keep their type, whole numbers serve as floats, and nothing can be changed later."""
    train = read(tmp_path, GOOD)

    assert (train.batch, train.weight_decay, train.init) == (8, 1.0, None)
    assert train.groups == (Row(kernel="t3", blocks=2),)
    with pytest.raises(AttributeError):
        train.batch = 9  # type: ignore[misc]


WRONG = {
    "misspelt": ("batch", "bacth", "unknown 'train.bacth'. Did you mean 'batch'?"),
    "unknown": (
        "batch: 8",
        "batch: 8, zebra: 1",
        "unknown 'train.zebra'. Known: batch, weight_decay, init, groups.",
    ),
    "missing": ("batch: 8, ", "", "missing 'train.batch'."),
    "yaml's float trap": (
        "weight_decay: 1",
        "weight_decay: 5e-5",
        "'train.weight_decay' must be float, not '5e-5'. (YAML reads 5e-5 as text; write 5.0e-5.)",
    ),
    "float for int": ("batch: 8", "batch: 8.5", "'train.batch' must be int, not 8.5."),
    "truth for int": ("batch: 8", "batch: true", "'train.batch' must be int, not True."),
    "text for int": ("batch: 8", "batch: many", "'train.batch' must be int, not 'many'."),
    "not finite": (
        "weight_decay: 1",
        "weight_decay: .nan",
        "'train.weight_decay' must be finite, not nan.",
    ),
    "wrong word in a row": (
        "t3",
        "t9",
        "'train.groups', row 1, 'kernel' must be one of 't1' or 't3', not 't9'.",
    ),
    "out of range": (
        "blocks: 2",
        "blocks: 0",
        "'train.groups', row 1, 'blocks' must be > 0, not 0.",
    ),
    "key twice": ("batch: 8", "batch: 8, batch: 9", "'batch' stands twice (line 1). Delete one."),
    "no table": (GOOD, "train: 8", "'train' must be a table, not 8."),
    "no section": (GOOD, "search: {}", "missing section 'train'."),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_mistake_has_its_line(tmp_path, case):
    """File, place, what is wrong and what to do, word for word."""
    old, new, line = WRONG[case]

    with pytest.raises(Refused) as refused:
        read(tmp_path, GOOD.replace(old, new, 1))

    assert str(refused.value) == f"{tmp_path / 'params.yaml'}: {line}"


def test_a_missing_file_is_named(tmp_path):
    """The path and the reason."""
    with pytest.raises(Refused, match=r"gone\.yaml: cannot be read \(No such file or directory\)"):
        schema.load(tmp_path / "gone.yaml", Train)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: [1, 2", b"a: b: c", b"\x00\x01"])
def test_what_is_no_yaml_is_refused_in_one_line(tmp_path, content):
    """Binary, broken off or ill-formed: one line, no traceback."""
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)

    with pytest.raises(Refused) as refused:
        schema.load(path, Train)

    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_merged_sections_keep_the_later_value(tmp_path):
    """`<<: *other` takes over what is not said anew, along a chain of sections."""
    text = f"""
base: &base {GOOD.removeprefix("train: ")}
next: &next {{<<: *base, batch: 16}}
train: {{<<: *next, weight_decay: 2}}
"""

    train = read(tmp_path, text)

    assert (train.batch, train.weight_decay) == (16, 2.0)


SEARCH = ("supernet", "warmup", "search", "control", "derive", "supernet.likelihood")


@pytest.mark.parametrize("section", SEARCH)
def test_every_setting_of_the_search_has_its_line_in_paper_md(section):
    """As `name` or `section.name`, with a value or without: what it reads into the papers."""
    text, kind = (ROOT / "docs/PAPER.md").read_text(), settings.Params
    for name in section.split("."):
        kind = get_type_hints(kind)[name]
    place = rf"(?:(?:{re.escape(section)}|{section.rpartition('.')[2]})\.)?"
    names = [field.name for field in dataclasses.fields(kind)]

    assert [name for name in names if not re.search(rf"`{place}{name}(?:: [^`]*)?`", text)] == []


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))])
def test_shipped_settings_are_complete(path):
    """Every file that is meant to be copied over params.yaml is right in each section."""
    params = schema.load(path, settings.Params)

    assert set(params.baseline) | set(params.scale) == set(params.train)


def test_a_mistake_in_any_section_stops_the_first_stage(tmp_path):
    """A misspelt key of the evaluation is told before a video is touched."""
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("  momentum:", "  momentun:"))

    with pytest.raises(Refused, match=r"unknown 'supernet\.momentun'. Did you mean 'momentum'\?"):
        settings.load("annotate", settings.Annotate, path)


def test_a_range_that_holds_no_cost_is_refused(tmp_path):
    """`search.floor` above `search.target`; where they are equal, there is one cost to hit."""
    path, text = tmp_path / "params.yaml", (ROOT / "params.yaml").read_text()
    path.write_text(text.replace("floor: 0.0052", "floor: 0.0063"))
    with pytest.raises(Refused) as refused:
        settings.load("warmup", settings.Warmup, path)

    assert str(refused.value) == (
        f"{path}: 'search.floor': 0.0063 is above the target, 0.0062. Lower it, or write null."
    )
    path.write_text(text.replace("floor: 0.0052", "floor: 0.0062"))
    assert settings.load("search", settings.Search, path).floor == 0.0062
