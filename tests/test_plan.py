"""`autox3d plan` computes the cost from the settings and the rates alone."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from support import ROOT

from autox3d import cli
from autox3d.commands.plan import rows
from autox3d.core import settings, tables
from autox3d.core.device_table import DeviceTable, Rates
from autox3d.datasets import adapters, demo, demo_boxes, demo_labels
from autox3d.planning.plan import (
    BOXED,
    Videos,
    genotypes,
    networks_of,
    searches,
    stage_costs,
)
from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Space
from autox3d.vision.arch.cost import cost

KINETICS = ["--train", "240000", "--val", "20000", "--classes", "400", "--seconds", "10"]
RATES = {
    "device": "a GPU",
    "measured": "a pencil",
    "train": 3600.0,
    "forward": 7200.0,
    "transcode": 5.0,
    "clips": 50.0,
    "megabytes": 0.1,
    "cores": 8,
    "disk": 100.0,
}
DEVICE = {"name": "a GPU", "instructions": "sm_90", "threads": 1, "torch": "2"}


@pytest.fixture
def rates(tmp_path: Path) -> Path:
    path = tmp_path / "table.yaml"
    path.write_text(table(RATES))
    return path


def table(rates: dict[str, object] | None) -> str:
    """The text of the table of a device."""
    return yaml.safe_dump({"device": DEVICE, "rates": rates, "kernels": []})


def autox3d(
    *words: object, monkeypatch: pytest.MonkeyPatch, status: int = 0, command: str = "plan"
) -> None:
    """Runs the program in this process, in the repository."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["autox3d", command, *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status


@pytest.fixture(scope="module")
def kinetics() -> dict[str, dict[str, Any]]:
    """The row of each stage at the scale of the papers."""
    rates = Rates(**RATES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        params = settings.load(Path("params/kinetics400.yaml"))
        found = rows(stage_costs(params, Videos(240_000, 20_000, 0, 400, 10), rates), rates)
    return {row["stage"]: {key: row[key] for key in row if key != "stage"} for row in found}


def test_programs_get_the_same_as_json(rates, kinetics, monkeypatch, capsys):
    """The output has the rates that were used."""
    words = ("--params", "params/kinetics400.yaml", "--table", rates, *KINETICS, "--json")
    autox3d(*words, monkeypatch=monkeypatch)
    found = json.loads(capsys.readouterr().out)

    assert {row.pop("stage"): row for row in found["stages"]} == kinetics
    assert found["rates"] == RATES


def test_every_stage_that_takes_long_is_there(kinetics):
    """The total is their sum."""
    names = ["s", "m", "l", "x3d_s", "s_t1", "s_no_attention", "m_no_attention", "l_no_attention"]
    names += ["x3d_m", "x3d_l", "autox3d_s", "autox3d_m", "autox3d_l"]
    names += ["autox3d_s_no_attention", "autox3d_m_no_attention", "autox3d_l_no_attention"]
    items = [f"{stage}@{name}" for stage in ("train", "evaluate") for name in names]
    stages = ["transcode", "warmup", "search", "control", "derive", *items]

    assert list(kinetics) == [*stages, "total"]
    for key in kinetics["total"].keys() - {"limit"}:
        total = kinetics["total"][key]
        assert total == pytest.approx(sum(kinetics[stage][key] for stage in stages))


def test_every_part_of_a_search_is_there(monkeypatch):
    """Each by its own stages and schedule; the last one by those of the search."""
    monkeypatch.chdir(ROOT)
    params = settings.load(Path("params/kinetics400_two_streams.yaml"))
    parts = list(searches(params, 200))
    names, schedules, spaces = zip(*((n, own.warmup.epochs, s) for n, own, s in parts), strict=True)

    assert names == ("sparse", "dense", "")
    assert schedules == (200, 100, 50)
    assert [space.input.frames for space in spaces] == [4, 16, 16]
    assert [bool(space.dense) for space in spaces] == [False, True, True]
    assert spaces[2].size == 2**11
    stages = stage_costs(params, Videos(240_000, 20_000, 0, 400, 10), Rates(**RATES))
    found = {cost.stage: cost for cost in stages}
    pairs = [found[f"part_{stage}@{name}"] for name in names[:2] for stage in ("warmup", "search")]
    pairs += [found["warmup"], found["search"]]
    for (_, own, space), warm, search in zip(parts, pairs[::2], pairs[1::2], strict=True):
        assert warm.clips * 6 == search.clips  # a quarter of the epochs, and two halves of clips
        costs = SpaceCosts(space, 200)
        mean = costs.expected([[1 / len(c.candidates)] * len(c.candidates) for c in space.choices])
        assert warm.trained == pytest.approx(3 * warm.clips * own.warmup.draws * mean)


def test_videos_are_transcoded_once(kinetics):
    """260,000 videos of 10 s at 5 s of video a core-second, with 0.1 MB a second."""
    found = kinetics["transcode"]

    assert found["core_hours"] == pytest.approx(2_600_000 / 5 / 3600)
    assert (found["gigabytes"], found["files"]) == (pytest.approx(260), 512)


def test_x3d_s_costs_what_its_published_figures_say(kinetics):
    """1.963 and 2.727 G (X3D, Table 3) times clips, epochs and views."""
    clips = 300 * (240_000 // 512) * 512
    checked = 300 * 20_000 + 200 * 512  # a centre clip of each, and batch norm's statistics
    places = {k / (n - 1) if n > 1 else 0.5 for n in (1, 3, 5, 7, 10) for k in range(n)}
    a_video = len(places) * (1.963 + 3 * 2.727)
    train, evaluate = kinetics["train@x3d_s"], kinetics["evaluate@x3d_s"]

    assert settings.load(ROOT / "params/kinetics400.yaml").train["x3d_s"].bn_steps == 200
    hours = (3 * clips * 1.963 / 3600 + checked * 1.963 / 7200) / 3600
    assert train["device_hours"] == pytest.approx(hours, rel=1e-3)
    assert train["petamacs"] == pytest.approx((3 * clips + checked) * 1.963 / 1e6, rel=1e-3)
    assert train["core_hours"] == pytest.approx((clips + checked) / 50 / 3600)
    assert evaluate["device_hours"] == pytest.approx(20_000 * a_video / 7200 / 3600, rel=1e-3)


def test_a_test_of_boxes_sees_all_of_the_shorter_side():
    """Training crops of 84 px, and tests of 96, of which a box is asked about at one place."""
    params = settings.load(ROOT / "params/demo_boxes.yaml")
    rates = Rates(**RATES)
    videos = Videos(600, 100, 300, 8, 2)
    found = {row["stage"]: row for row in rows(stage_costs(params, videos, rates), rates)}
    recipe = params.train["x3d"]
    genotype = genotypes(params, {})["x3d"]
    whole, crop = (cost(genotype, 8, crop=side, boxes=1).gmacs for side in (96, 84))
    steps = 600 // recipe.batch
    seen = (3 * recipe.epochs * steps + min(recipe.bn_steps, steps)) * recipe.batch
    validated = -(-recipe.epochs // recipe.validate_every) * 100

    assert whole > 1.15 * crop
    assert found["evaluate@x3d"]["petamacs"] == pytest.approx(300 * whole / 1e6)
    assert found["train@x3d"]["petamacs"] == pytest.approx((seen * crop + validated * whole) / 1e6)


def test_the_data_sets_of_boxes_are_those_whose_labels_are_boxes():
    """The names by which a plan knows them, beside what each adapter imports."""
    every = [
        importlib.import_module(f"{adapters.__name__}.{m.name}")
        for m in pkgutil.iter_modules(adapters.__path__)
    ]
    every += [demo, demo_boxes, demo_labels]
    assert {m.__name__.rpartition(".")[2] for m in every if hasattr(m, "DETECT")} == set(BOXED)


def test_the_search_costs_the_mean_network_for_each_draw(kinetics):
    """Half of 80,000 clips, 208 steps of 192: one draw; then 13 both ways, and 13 forward."""
    space = Space.load(ROOT / "architectures/space_autox3d.yaml")
    rng = np.random.default_rng(7)
    counts = [len(choice.candidates) for choice in space.choices]
    draws = rng.integers(counts, size=(300, len(counts))).tolist()
    mean = np.mean([cost(space.genotype(tuple(d), "any"), 200).gmacs for d in draws])
    epoch = 208 * 192 * mean / 3600  # hours of 3600 G a second
    warmup, search = kinetics["warmup"], kinetics["search"]

    assert warmup["device_hours"] == pytest.approx(200 * epoch * 3 / 3600, rel=0.05)
    assert search["device_hours"] == pytest.approx(400 * epoch * (13 * 3 + 13 / 2) / 3600, rel=0.05)
    assert kinetics["control"]["device_hours"] == pytest.approx(search["device_hours"] / 10)


def test_a_network_in_the_window_takes_the_place_of_the_searched_one():
    """And one for each budget of the front, which a baseline may name before there is one."""
    params = settings.load(ROOT / "params/kinetics400.yaml")
    small = params.baseline["s_t1"]
    front = {"small": replace(small, of="results/derive/front/1.yaml")}
    train = {"small": params.train["s_t1"]}
    derive = replace(params.derive, budgets=(1.0,))
    params = replace(params, derive=derive, baseline=params.baseline | front, train=train)
    space = Space.load(ROOT / "architectures/space_autox3d.yaml")
    found = networks_of(params, space, 200)

    costs = [cost(genotype, 200).gmacs for genotype in found.values()]
    assert [path.name for path in found] == ["1.yaml", "genotype.yaml"]
    assert 0.9 <= costs[0] <= 1.0
    assert 1.8 <= costs[1] <= 2.0
    assert list(genotypes(params, found)) == ["small"]


def test_the_shipped_kinetics_trains_on_nothing_enlarged(rates, monkeypatch, capsys):
    """At 256 px M and L did; the plan has a line about it."""
    words = ("--params", "params/kinetics400.yaml", "--table", rates, *KINETICS)
    autox3d(*words, monkeypatch=monkeypatch)
    assert "Upscaled" not in capsys.readouterr().out
    shorter = Path("params/kinetics400.yaml").read_text().replace("short: 446", "short: 256")
    path = rates.with_name("params.yaml")
    path.write_text(shorter)
    autox3d("--params", path, "--table", rates, *KINETICS, monkeypatch=monkeypatch)

    assert capsys.readouterr().out.splitlines()[-1] == (
        "Upscaled: clips are stored with a shorter side of 256 px, and these train or test on"
        " longer ones: m (up to 320 px), l (up to 446 px), m_no_attention (up to 320 px),"
        " l_no_attention (up to 446 px), x3d_m (up to 320 px), x3d_l (up to 446 px), autox3d_m (up"
        " to 320 px), autox3d_l (up to 446 px), autox3d_m_no_attention (up to 320 px),"
        " autox3d_l_no_attention (up to 446 px). Raise 'transcode.short' to 446, if the videos are"
        " that large."
    )


def test_the_demo_and_own_data_have_a_plan(rates, monkeypatch, capsys):
    """It is a table, followed by the device of the rates."""
    for path in ("params.yaml", "params/folder.yaml"):
        words = ("--train", 512, "--val", 96, "--test", 128, "--classes", 8, "--seconds", 2)
        autox3d("--params", path, "--table", rates, *words, monkeypatch=monkeypatch)
        output = capsys.readouterr().out

        assert output.startswith("stage")
        assert "\nA device: a GPU, measured with a pencil.\n" in output


def test_the_rates_of_this_machine_are_measured(tmp_path, monkeypatch, capsys):
    """They are written as a file of the same form before they are used."""
    monkeypatch.setattr("autox3d.planning.rates.ENOUGH", 0.0)
    monkeypatch.setattr("autox3d.planning.rates.WARMUP", 0)
    monkeypatch.setattr("autox3d.planning.rates.VIDEO", "testsrc2=s=340x256:r=30")
    network = (ROOT / "architectures/x3d_xs.yaml").read_text()
    smaller = network.replace("crop: 160", "crop: 96")
    assert smaller != network
    (tmp_path / "x3d_xs.yaml").write_text(smaller)
    monkeypatch.setattr("autox3d.planning.rates.NETWORK", tmp_path / "x3d_xs.yaml")
    path = tmp_path / "here.yaml"
    words = ("--params", "params/kinetics400.yaml", "--no-kernels", "--out", path)
    autox3d(*words, monkeypatch=monkeypatch, command="tune")
    words = ("--params", "params/kinetics400.yaml", "--table", path, *KINETICS)
    autox3d(*words, monkeypatch=monkeypatch)
    found = DeviceTable.load(path).rates
    assert found is not None

    assert found.forward > found.train / 3 > 0  # a step is worth three passes, or thereabouts
    assert f"A device: {found.device}" in capsys.readouterr().out


SOME = ["--train", 9, "--val", 9]
WRONG = {
    "no val": (["--train", 9], {}, "plan: no videos of split 'val'. Say how many: --val 1000"),
    "no rate": (
        ["--train", 9, "--val", 9],
        {"clips": None},
        "'rates.clips' must be float, not None.",
    ),
    "zero": (["--train", 9, "--val", 9], {"train": 0.0}, "'rates.train' must be > 0.0, not 0.0."),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_line(case, rates, monkeypatch, capsys):
    """It names what is missing, and the flag for it."""
    words, changed, line = WRONG[case]
    rates.write_text(table(RATES | changed))
    shape = ("--classes", 3, "--seconds", 10, "--params", "params/kinetics400.yaml")
    autox3d(*words, *shape, "--table", rates, monkeypatch=monkeypatch, status=1)
    output = capsys.readouterr().err

    assert output.count("\n") == 1
    assert output.endswith(f"{line}\n")


def test_what_is_not_said_is_counted_in_the_table_of_clips(rates, tmp_path, monkeypatch, capsys):
    """Videos of each split, classes, mean length; a number on the command line goes before."""
    clips = tmp_path / "clips.parquet"
    rows = [("train", 60)] * 6 + [("val", 120)] * 2
    content = {"split": [split for split, _ in rows], "frames": [n for _, n in rows], "rate": 30}
    tables.write_table(pd.DataFrame(content), clips, ["a", "b", "c"])
    words = ("--params", "params/folder.yaml", "--table", rates, "--clips", clips, "--json")
    autox3d(*words, monkeypatch=monkeypatch)
    found = json.loads(capsys.readouterr().out)["videos"]
    autox3d(*words, "--train", 9, "--val", 5, "--seconds", 7, monkeypatch=monkeypatch)
    told = json.loads(capsys.readouterr().out)["videos"]

    assert found == {"train": 6, "val": 2, "test": 0, "classes": 3, "seconds": 2.5}
    assert told == {"train": 9, "val": 5, "test": 0, "classes": 3, "seconds": 7}


def test_a_plan_without_rates_or_counts_says_which_flag(rates, tmp_path, monkeypatch, capsys):
    """Each in one line."""
    words = ("--params", "params/folder.yaml", "--clips", tmp_path / "gone.parquet")
    gone = tmp_path / "gone.yaml"
    autox3d(*words, "--table", rates, "--classes", 3, monkeypatch=monkeypatch, status=1)
    autox3d(*words, "--table", gone, *KINETICS, monkeypatch=monkeypatch, status=1)

    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/gone.parquet: there is no such table to count videos of each split, seconds. "
        "Make it (dvc repro index), or say them: --train 9000 --val 1000 --classes 40 --seconds 10",
        f"{gone}: there is no table of a device. Make one: autox3d tune --out params/here.yaml",
    ]
