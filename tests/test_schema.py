"""A YAML file is read into frozen tables; a mistake in it is named by place and way out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from autox3d.core import schema, settings
from autox3d.core.errors import Refused
from autox3d.core.schema import Added


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


@pytest.mark.parametrize("text", ["5e-5", "5.0e-5", "+5E-05", ".5e-4", "0.05e-3", "5.e-5"])
def test_every_way_to_write_a_number_is_one(tmp_path, text):
    """As YAML 1.2 and DVC read and write it; PyYAML alone takes most of these for text."""
    train = read(tmp_path, GOOD.replace("weight_decay: 1", f"weight_decay: {text}"))

    assert train.weight_decay == 5e-5


WRONG = {
    "misspelt": ("batch", "bacth", "unknown 'train.bacth'. Did you mean 'batch'?"),
    "unknown": (
        "batch: 8",
        "batch: 8, zebra: 1",
        "unknown 'train.zebra'. Known: batch, weight_decay, init, groups.",
    ),
    "missing": ("batch: 8, ", "", "missing 'train.batch'."),
    "text for float": (
        "weight_decay: 1",
        "weight_decay: 5e",
        "'train.weight_decay' must be float, not '5e'.",
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
    "key twice": (
        "batch: 8",
        "batch: 8, batch: 9",
        "'batch' is listed twice (line 1). Delete one.",
    ),
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


@schema.table
class Later:
    """A section as a later version has it."""

    batch: int
    rate: Annotated[float, Field(ge=0), Added(0.0)]
    rows: Annotated[tuple[int, ...] | None, Added(None)]


@schema.table
class Whole:
    """A file as a later version has it."""

    train: dict[str, Later]
    studies: dict[str, Later] = schema.optional_section()


ADDED = {
    "number": ("rate: 0.5, ", "missing 'train.s.rate'. Write 0.0 there"),
    "nothing": (", rows: [1]", "missing 'train.s.rows'. Write null there"),
}


@pytest.mark.parametrize("case", ADDED)
def test_a_key_that_a_later_version_added_is_refused_with_the_value_of_before(tmp_path, case):
    """One line, to be followed by hand or by the upgrade."""
    gone, line = ADDED[case]
    path, text = tmp_path / "params.yaml", "train: {s: {batch: 8, rate: 0.5, rows: [1]}}"
    path.write_text(text)
    assert schema.load(path, Whole).train["s"].rate == 0.5
    path.write_text(text.replace(gone, ""))
    with pytest.raises(Refused) as refused:
        schema.load(path, Whole)

    assert str(refused.value) == (
        f"{path}: {line}, or type `autox3d upgrade`, to keep what earlier versions did."
    )


def test_what_was_added_is_told_with_its_value_of_before():
    """For the upgrade, and for the fingerprints of checkpoints."""
    assert schema.added(Later) == {"rate": 0.0, "rows": None}
    assert schema.added(Row) == {}
    assert schema.added(settings.Train) == {
        "schedule": "cosine",
        "drops": (),
        "drop_connect": 0.0,
        "validate_every": 1,
        "pass_clips": None,
        "compile": False,
    }


def test_a_section_that_a_later_version_added_may_be_absent(tmp_path):
    """It is empty then; what stands in it is checked like all else."""
    path, text = tmp_path / "params.yaml", "train: {s: {batch: 8, rate: 0.5, rows: [1]}}\n"
    path.write_text(text)
    assert schema.load(path, Whole).studies == {}
    path.write_text(text + text.replace("train: {s", "studies: {one"))
    assert schema.load(path, Whole).studies["one"].rows == (1,)
    path.write_text(text + "studies: {one: {batch: 8.5, rate: 0.5, rows: [1]}}")
    with pytest.raises(Refused, match=r"'studies\.one\.batch' must be int, not 8\.5\."):
        schema.load(path, Whole)
