"""A search in parts: what is open in each, what it takes over, and through both engines."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT
from support.search_parts import PARTS, WHOLE

from autox3d.core import overrides, schema, settings
from autox3d.core.errors import Refused
from autox3d.core.search_settings import Part, Parts
from autox3d.search.parts import opened, save
from autox3d.search.space import Space
from autox3d.vision.arch.genotype import Genotype


@pytest.fixture
def whole(tmp_path) -> Space:
    (tmp_path / "whole.yaml").write_text(WHOLE)
    return Space.load(tmp_path / "whole.yaml")


def part(name: str) -> Part:
    return schema.check(PARTS["open"][name], Part, Path("params.yaml"), name)


def candidates(space: Space, column: str) -> list[tuple[Any, ...]]:
    return [choice.candidates for choice in space.choices if choice.column == column]


def last(space: Space) -> Genotype:
    """The network of each choice's last candidate."""
    draw = tuple(len(choice.candidates) - 1 for choice in space.choices)
    return space.genotype(draw, space.name)


def test_each_part_opens_what_it_names_on_what_was_found(whole):
    """Streams come in one by one; attention stands at its first candidate until its turn."""
    sparse = opened(whole, "sparse", part("sparse"), None)
    assert sparse.dense is None
    assert (sparse.input.frames, sparse.input.stride) == (2, 4)
    assert candidates(sparse, "channels") == [(8, 16)] * 2
    assert candidates(sparse, "attention") == [("none",)] * 2

    first = last(sparse)
    dense = opened(whole, "dense", part("dense"), first)
    assert dense.input == whole.input
    assert candidates(dense, "channels") == [(16,), (16,), (4, 8), (4, 8)]
    assert candidates(dense, "kernel") == [("t1_s5",), ("t1_s3",), ("t1_s3", "t3_s3"), ("t3_s3",)]
    assert candidates(dense, "fuse") == [("skip", "sample"), ("skip", "conv", "channels")]

    second = last(dense)
    final = opened(whole, "attention", part("attention"), second)
    assert final.size == 4
    assert candidates(final, "attention") == [("none", "glore")] * 2 + [("none",)] * 2
    found = last(final)
    assert [g.attention for g in found.groups] == ["glore", "glore"]
    without = tuple(replace(g, attention="none") for g in found.groups)
    assert without == second.groups
    assert replace(second.groups[0], attention="none") == first.groups[0]


def test_a_part_is_exactly_the_networks_that_agree_with_what_was_found(whole):
    """By enumeration: of all networks of the whole space, those with the sparse stream found."""
    first = last(opened(whole, "sparse", part("sparse"), None))
    made = opened(whole, "dense", part("dense"), first)
    every = itertools.product(*(range(len(choice.candidates)) for choice in whole.choices))
    networks = (whole.genotype(draw, "n") for draw in every)
    wanted = {one.choices for one in networks if one.groups == first.groups}
    own = itertools.product(*(range(len(choice.candidates)) for choice in made.choices))

    assert {made.genotype(draw, "n").choices for draw in own} == wanted
    assert len(wanted) == made.size == 48


def test_the_space_of_a_part_is_read_as_it_was_written(whole, tmp_path):
    """Every row, with and without the second stream, and with columns that a space may lack."""
    first = opened(whole, "sparse", part("sparse"), None)
    for space in (first, opened(whole, "dense", part("dense"), last(first)), whole):
        save(space, tmp_path / "made.yaml", "Part sparse of whole.yaml.")
        assert Space.load(tmp_path / "made.yaml") == space
    for path in sorted((ROOT / "architectures").glob("space_*.yaml")):
        space = Space.load(path)
        save(space, tmp_path / "made.yaml", "A copy.")
        assert Space.load(tmp_path / "made.yaml") == space


def test_one_stream_is_searched_in_parts_as_well(whole):
    """First its kernels, then the rest."""
    alone = replace(whole, dense=None)
    first = opened(alone, "k", Part(found="params/scratch", sparse=("kernel",), dense=()), None)
    assert first.size == 2
    assert first.input == whole.input
    then = Part(found="x", sparse=("expansion", "channels", "attention"), dense=())
    assert opened(alone, "rest", then, last(first)).size == 2**5


def test_a_part_without_open_choices_is_refused(whole):
    """By its name, before anything is searched; so is a column of a stream that is not there."""
    fixed = Part(found="params/scratch", sparse=(), dense=("attention",))
    with pytest.raises(Refused) as refused:
        opened(whole, "late", fixed, None)
    assert str(refused.value) == (
        "params.yaml: 'parts.open.late': every column that it opens has one candidate in whole."
        " Delete the part, or give them more."
    )
    with pytest.raises(Refused) as refused:
        opened(replace(whole, dense=None), "dense", part("dense"), None)
    assert str(refused.value) == (
        "params.yaml: 'parts.open.dense': whole has no dense stream. Write [] for 'dense'."
    )


def test_a_network_of_another_space_is_not_taken_over(whole):
    """Where the file of the space was changed by hand, and the part before was not run again."""
    found = last(opened(whole, "sparse", part("sparse"), None))
    other = replace(found, groups=tuple(replace(g, channels=24) for g in found.groups))
    with pytest.raises(Refused) as refused:
        opened(whole, "dense", part("dense"), other)
    assert str(refused.value) == (
        "params.yaml: 'parts.open.dense' takes over a network that is not in 'parts.space':"
        " whole_sparse: row 1, channels 24 is not in the space whole_sparse. Run the part before"
        " it again."
    )


def asked(**changes: Any) -> dict[str, Any]:
    return PARTS | changes


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no space": (
        {"space": None},
        "'parts.open': the parts need a space. Name its file in 'parts.space'.",
    ),
    "nothing open": (
        {"open": {"a": PARTS["open"]["sparse"] | {"sparse": []}}, "before": {}},
        "'parts.open': a opens no column. Name some, or delete it.",
    ),
    "twice": (
        {"open": {"a": PARTS["open"]["sparse"] | {"sparse": ["kernel"] * 2}}, "before": {}},
        "'parts.open': a opens kernel twice. Delete one.",
    ),
    "another order": (
        {"open": {n: PARTS["open"][n] for n in ("sparse", "attention")}, "before": {"sparse": {}}},
        "'parts.open': attention takes over results/parts/dense/derive/genotype.yaml. Write"
        " results/parts/sparse/derive/genotype.yaml.",
    ),
    "settings of the last": (
        {"before": {"sparse": {}, "dense": {}, "attention": {}}},
        "'parts.before': has sparse, dense, attention, but the parts before the last are sparse,"
        " dense. Give each of them a table, in this order.",
    ),
    "fusion of one stream": (
        {"open": {"a": PARTS["open"]["sparse"] | {"sparse": ["fuse"]}}, "before": {}},
        "'parts.open.a.sparse', row 1 must be one of 'kernel', 'expansion', 'channels' or"
        " 'attention', not 'fuse'.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_parts_that_do_not_follow_each_other_are_refused(name):
    """One line each."""
    changes, wanted = MISTAKES[name]
    with pytest.raises(Refused) as refused:
        schema.check(asked(**changes), Parts, Path("params.yaml"), "parts")
    assert str(refused.value) == f"params.yaml: {wanted}"


def written(folder: Path, space: str = "results/parts/attention/space.yaml", **before: Any) -> Path:
    """The committed settings with a search in parts."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["parts"] = PARTS | {"before": {"sparse": {}, "dense": {}} | before}
    params["supernet"]["space"] = space
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder / "params.yaml"


def test_a_part_has_settings_of_its_own(tmp_path):
    """Rate, schedule and budget; what it does not name is that of the search."""
    own = {"supernet": {"lr": 0.8}, "warmup": {"epochs": 3}, "search": {"target": 0.001}}
    path = written(tmp_path, sparse=own)
    params = settings.load(path)
    of = overrides.for_part(params, "sparse", path)

    assert (of.supernet.lr, of.warmup.epochs, of.search.target) == (0.8, 3, 0.001)
    assert of.supernet.space == "results/parts/sparse/space.yaml"
    assert of.search.epochs == params.search.epochs
    assert overrides.for_part(params, "dense", path).supernet.lr == params.supernet.lr


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "section": (
        {"train": {}},
        "unknown 'parts.before.sparse.train'. A part can change: supernet, warmup, search,"
        " control, derive.",
    ),
    "key": (
        {"search": {"epoch": 3}},
        "unknown 'parts.before.sparse.search.epoch'. Did you mean 'epochs'?",
    ),
    "space": (
        {"supernet": {"space": "x.yaml"}},
        "'parts.before.sparse.supernet.space' is always results/parts/sparse/space.yaml. Delete"
        " it.",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_of_a_part_are_refused(name, tmp_path):
    """By their place; `part` checks those of all parts before the first is searched."""
    changes, wanted = WRONG[name]
    path = written(tmp_path, sparse=changes)
    with pytest.raises(Refused) as refused:
        overrides.for_part(settings.load(path), "sparse", path)
    assert str(refused.value) == f"{path}: {wanted}"


def test_the_last_part_is_what_the_search_searches(tmp_path):
    """Its space is the one that stage `part` writes."""
    path = written(tmp_path, space="architectures/space_demo.yaml")
    with pytest.raises(Refused) as refused:
        settings.load(path)
    assert str(refused.value) == (
        f"{path}: 'parts': supernet.space is architectures/space_demo.yaml. Write"
        " results/parts/attention/space.yaml, of the last part."
    )
