"""A mistake in the pipeline's settings is named by file, place and way out, before any work."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml
from support import ROOT

from autox3d.core import overrides, schema, settings
from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec, Sampling

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
