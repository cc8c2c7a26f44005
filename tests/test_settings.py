"""A mistake in a YAML file is named by file, place and way out, before any work."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Annotated, Literal, get_args, get_type_hints

import pytest
import yaml
from pydantic import Field
from support import ROOT

from autox3d.core import overrides, schema, settings
from autox3d.core.errors import Refused
from autox3d.core.schema import Added
from autox3d.core.values import ClipSpec, Sampling


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


ALIASED = {
    "alias": ("train: {s: &s {epochs: 1}}\nmore: *s\n", "'*s' (line 2) is an alias"),
    "merge key": ("a: &a {b: 1}\nc:\n  {<<: *a, d: 2}\n", "'<<' (line 3) is a merge key"),
    "merge key without an alias": ("a: {<<: {b: 1}}\n", "'<<' (line 1) is a merge key"),
}


@pytest.mark.parametrize("case", ALIASED)
def test_settings_have_no_alias_and_no_merge_key(tmp_path, case):
    """DVC's overrides lose or multiply values through them, so the first one is refused."""
    path, (text, fault) = tmp_path / "params.yaml", ALIASED[case]
    path.write_text(text)

    with pytest.raises(Refused) as refused:
        settings.load(path)

    assert str(refused.value) == (
        f"{path}: {fault} of YAML: through it, `dvc exp run -S` changes nothing or too much. "
        "`autox3d upgrade` writes its values out."
    )


def test_a_star_or_two_arrows_in_a_text_are_no_alias():
    """Quoted, or within a comment."""
    schema.refuse_aliases("a: '*s'  # *s\n'<<': \"<<\"\nb: x*s\n", Path("params.yaml"))


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


FIRST = [
    "annotate",
    "transcode",
    "subset",
    "supernet",
    "warmup",
    "search",
    "control",
    "derive",
    "scale",
    "baseline",
    "train",
    "evaluate",
    "latency",
    "explain",
]


@pytest.mark.parametrize("section", FIRST)
def test_the_sections_of_the_first_version_are_required(tmp_path, section):
    """A file without one is told so, whichever stage reads it."""
    path, content = tmp_path / "params.yaml", yaml.safe_load((ROOT / "params.yaml").read_text())
    del content[section]
    path.write_text(yaml.safe_dump(content))

    with pytest.raises(Refused, match=f"missing '{section}'\\.$"):
        settings.load(path)


def test_only_an_empty_section_may_be_absent():
    """Every other setting has no default: what is not written is not guessed."""
    todo, seen = [settings.Params], set()
    while todo:
        kind = todo.pop()
        seen.add(kind)
        for field in dataclasses.fields(kind):
            assert field.default is dataclasses.MISSING
            if field.default_factory is not dataclasses.MISSING:
                assert kind is settings.Params
                assert field.name not in FIRST
                assert field.default_factory() == {}
        hints = [hint for hint in get_type_hints(kind).values() for hint in (hint, *get_args(hint))]
        todo += [hint for hint in hints if dataclasses.is_dataclass(hint) and hint not in seen]
    assert settings.Train in seen
    assert Sampling in seen


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
    params = settings.load(path)

    for part in params.parts.before:
        overrides.for_part(params, part, path)
    made = set(params.baseline) | set(params.scale) | set(params.expand.targets)
    assert made == set(params.train)
    assert set(params.pages) <= set(params.explain.networks), "a page shows its network's clips"


def test_a_file_is_checked_once_and_again_after_each_change(tmp_path):
    """The same text gives the same tables; a change within the same instant is seen, too."""
    path, text = tmp_path / "params.yaml", (ROOT / "params.yaml").read_text()
    path.write_text(text)
    first = settings.load(path)
    assert settings.load(path) is first
    before = path.stat()
    path.write_text(text.replace("epochs: 80", "epochs: 81", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert (first.warmup.epochs, settings.load(path).warmup.epochs) == (80, 81)


def test_an_entry_that_a_table_lacks_is_a_missing_section():
    """The stage was given a file that no section of the settings is named after."""
    params = settings.load(ROOT / "params.yaml")

    assert settings.named(params.scale, "scale", "s").spec == ClipSpec(
        frames=8, stride=4, crop=48, short=56
    )
    with pytest.raises(Refused) as refused:
        settings.named(params.train, "train", "xl")
    assert str(refused.value) == "params.yaml: missing section 'train.xl'."


def test_a_mistake_in_any_section_stops_the_first_stage(tmp_path):
    """A misspelt key of the evaluation is told before a video is touched."""
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("  momentum:", "  momentun:"))

    with pytest.raises(Refused, match=r"unknown 'supernet\.momentun'. Did you mean 'momentum'\?"):
        settings.load(path)


LOG = {"cost: dual": "cost: log", "beta: null": "beta: 0.2"}
UNFIT = {  # what is replaced -> the end of the line
    "range": (
        LOG | {"floor: null": "floor: 0.0063"},
        "'search.floor': 0.0063 is above the target, 0.0062. Lower it, or write null.",
    ),
    "floor of a multiplier": (
        {"floor: null": "floor: 0.005"},
        "'search.floor': cost dual has only an upper bound: write null.",
    ),
    "weight of a multiplier": (
        {"beta: null": "beta: 0.2"},
        "'search.beta': 0.2 has no use with cost dual, which has no weight: write null.",
    ),
    "penalty without weight": (
        {"cost: dual": "cost: plain"},
        "'search.beta': cost plain needs a weight. Write a number, such as 0.2.",
    ),
    "no epsilon": ({"alpha_eps: 0.1": "alpha_eps: 0"}, "'search.alpha_eps' must be > 0.0, not 0."),
    "time without a table": (
        {"budget: gmacs": "budget: ms"},
        "'search.latency': budget ms needs a latency table: make one with `autox3d profile`.",
    ),
    "a table without use": (
        {"latency: params/untimed": "latency: mine.yaml"},
        "'search.latency': a latency table has no use with budget gmacs: write params/untimed.",
    ),
}


def demo_with(path, changes):
    text = (ROOT / "params.yaml").read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", UNFIT)
def test_settings_of_the_budget_that_do_not_fit_are_refused(tmp_path, name):
    """A range without a cost, a weight or a table that nothing uses, an epsilon of 0."""
    changes, line = UNFIT[name]
    path = demo_with(tmp_path / "params.yaml", changes)
    with pytest.raises(Refused) as refused:
        settings.load(path)

    assert str(refused.value).startswith(f"{path}: {line}")


SHARED, PASS = (
    {"shared_draws: false": "shared_draws: true"},
    "pass_clips: null  # clips of a forward",
)
UNFIT_PASSES = {
    "draws of each chunk": (
        {PASS: "pass_clips: 16  #"},
        "several chunks have one network only with shared_draws: write null.",
    ),
    "a part of a chunk": (
        SHARED | {PASS: "pass_clips: 12  #"},
        "12 is no multiple of likelihood.clips, 8. Take one, or null.",
    ),
    "norms over chunks": (
        SHARED | {PASS: "pass_clips: 16  #", "bn_clips: 8": "bn_clips: 16"},
        "likelihood.clips, 8, is no multiple of bn_clips, 16: write null.",
    ),
}


@pytest.mark.parametrize("name", UNFIT_PASSES)
def test_a_pass_of_the_search_takes_whole_chunks_of_shared_draws(tmp_path, name):
    """Statistics and importances belong to a chunk, a network to a pass."""
    changes, line = UNFIT_PASSES[name]
    path = demo_with(tmp_path / "params.yaml", changes)
    with pytest.raises(Refused) as refused:
        settings.load(path)

    assert str(refused.value) == f"{path}: 'supernet.pass_clips': {line}"
    fits = demo_with(tmp_path / "params.yaml", SHARED | {PASS: "pass_clips: 16  #"})
    assert settings.load(fits).supernet.pass_clips == 16


def test_a_range_may_be_one_cost(tmp_path):
    """Floor and target are equal: there is one cost to hit."""
    path = demo_with(tmp_path / "params.yaml", LOG | {"floor: null": "floor: 0.0062"})
    assert settings.load(path).search.floor == 0.0062


def test_an_unknown_strategy_stops_the_first_stage(tmp_path):
    """Before any video is transcoded, not when the search begins."""
    path = tmp_path / "params.yaml"
    path.write_text(
        (ROOT / "params.yaml").read_text().replace("strategy: parsec", "strategy: pasec")
    )
    with pytest.raises(Refused) as refused:
        settings.load(path)
    line = "'search.strategy': there is no strategy 'pasec'. Known: parsec."
    assert str(refused.value) == f"{path}: {line}"
