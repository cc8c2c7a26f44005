"""The studies of the search: each is one command on the clips of a finished workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from bench import trial
from bench.ranking import kendall
from bench.search_demo import agreement
from bench.search_studies import MANUAL, by_hand, costs
from bench.trial import Lab
from support import ROOT
from test_search_stages import ENVIRONMENT, change, clips, lay_out, whole

from autox3d.core.errors import Refused
from autox3d.search.space import Space, SpaceCosts
from autox3d.vision.arch.genotype import Genotype

__all__ = ["clips", "whole"]  # fixtures
SPACES = {path.stem: Space.load(path) for path in (ROOT / "architectures").glob("space_*.yaml")}


def test_units_by_hand_stand_behind_the_first_blocks_of_a_stage():
    """X3D-S has 3, 5, 11 and 7 blocks; A3D's Table 3 sets 2 units, or 2 and 3."""
    space = SPACES["space_x3d_s_attention"]
    placed = {
        name: [row for row, group in enumerate(space.genotype(by_hand(space, units), name).groups)
               if group.attention == "glore"]
        for name, units in MANUAL.items()
    }  # fmt: skip

    assert placed == {
        "stage 1": [0, 1],
        "stage 2": [3, 4],
        "stage 3": [8, 9],
        "stages 3, 4": [8, 9, 19, 20, 21],
    }


def test_a_stage_of_one_block_takes_one_unit():
    """The demo's X3D-S begins with a stage of a single block."""
    space = SPACES["space_demo_attention"]

    assert sum(by_hand(space, {1: 2})) == 1


def test_targets_lie_between_the_cheapest_network_and_the_median():
    """Of a space small enough to count."""
    space = SPACES["space_demo"]
    least, median = costs(space, 8)

    assert least == SpaceCosts(space, 8).of((0,) * len(space.choices))
    assert least < median


def test_agreement_is_over_choices_that_are_open():
    """Two seeds that differ in one open choice of `demo`, which has 10 of 16."""
    space = SPACES["space_demo"]
    one = (0,) * len(space.choices)
    other = (1, *one[1:])

    assert agreement(space, [one, one]) == 1
    assert agreement(space, [one, other]) == pytest.approx(0.9)
    assert agreement(space, [one, one, other]) == pytest.approx((1 + 0.9 + 0.9) / 3)


def test_kendalls_tau_is_the_textbooks():
    """1 in the same order, -1 in the other; ties as tau-b discounts them."""
    assert kendall([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall([1, 2, 2], [1, 2, 3]) == pytest.approx(2 / 6**0.5)
    assert kendall([1, 1, 1], [1, 2, 3]) == 0


def test_a_setting_that_is_not_there_is_named(tmp_path):
    """`--set` changes settings and makes none."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())

    with pytest.raises(Refused, match=r"--set search\.epoch=1: .* has no 'search\.epoch'"):
        Lab(tmp_path, tmp_path / "out", ["search.epoch=1"])
    lab = Lab(tmp_path, tmp_path, ["search.epochs=1", "train.s.epochs=2"])
    assert (lab.settings["search"]["epochs"], lab.settings["train"]["s"]["epochs"]) == (1, 2)


INPUTS = {
    "clips": "data/subset.parquet",
    "space": "architectures/space_demo.yaml",
    "weights to start from": "data/supernet/warmup.safetensors",
}


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Lab:
    """A workspace whose stages do nothing but say, in `ran`, that they were there."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for name in (*INPUTS.values(), "data/clips.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as it was")

    def stage(command: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        name = command[3]
        (cwd / f"{name}_made.json").write_text("{}")
        (cwd / "train.csv").write_text("val_top1\n0.5\n")
        with (tmp_path / "ran").open("a") as file:
            file.write(f"{name}\n")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(trial.subprocess, "run", stage)
    return Lab(tmp_path, tmp_path / "out", [])


@pytest.mark.parametrize("name", INPUTS)
def test_a_search_of_other_inputs_is_not_taken_for_this_one(lab, name):
    """Settings are not all that it follows from; what has not changed is not made again."""
    init = lab.workspace / INPUTS["weights to start from"]
    lab.search("once", lab.settings, init)
    lab.search("once", lab.settings, init)
    assert (lab.workspace / "ran").read_text() == "search\n"

    (lab.workspace / INPUTS[name]).write_text("another")
    with pytest.raises(Refused) as refused:
        lab.search("once", lab.settings, init)

    assert str(refused.value) == (
        f"{lab.out / 'once'}: made with other settings or inputs. Delete it, or give another --out."
    )


def test_a_training_of_another_network_of_that_name_is_refused(lab):
    """And the genotype beside the weights stays that of the weights."""
    space = SPACES["space_demo"]
    one, other = (space.genotype(draw, "found") for draw in ((0,) * 16, (1,) + (0,) * 15))
    assert lab.train(one, lab.settings, "s") == lab.train(one, lab.settings, "s") == 0.5

    with pytest.raises(Refused, match="made with other settings or inputs"):
        lab.train(other, lab.settings, "s")

    assert Genotype.load(lab.out / "found/found.yaml") == one
    assert (lab.workspace / "ran").read_text() == "train\n"


@pytest.fixture
def workspace(clips, tmp_path) -> Path:
    """Clips, space and settings where the pipeline leaves them; an epoch of everything."""
    folder = lay_out(clips, tmp_path)
    for table in ("subset", "clips"):
        (folder / f"data/{table}.parquet").symlink_to(clips / "subset.parquet")
    train = yaml.safe_load((folder / "params.yaml").read_text())["train"]["s"]
    train |= {"epochs": 1, "warmup": 0, "batch": 4, "bn_clips": 2}
    change(
        folder,
        supernet={"space": str(folder / "space.yaml")},
        search={"epochs": 1},
        warmup={"epochs": 1},
        control={"epochs": 1},
        train={"s": train},
    )
    return folder


def study(workspace: Path, *words: str) -> str:
    """What the command says."""
    command = [sys.executable, "-m", *words, "--workspace", str(workspace), "--out"]
    done = subprocess.run(
        [*command, str(workspace / "out")],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_study_goes_on_where_it_was_stopped_and_never_mixes_settings(workspace):
    """Two weights of the cost from one warm-up; again, it makes nothing; otherwise, it refuses."""
    command = ("bench.search_studies", "beta", "--betas", "0", "0.5")
    said = study(workspace, *command)
    made = sorted((workspace / "out").rglob("*.csv"))
    times = [path.stat().st_mtime_ns for path in made]

    assert [path.parent.name for path in made] == ["beta0", "beta0.5", "warmup"]
    assert [line.split(":")[0] for line in said.splitlines()[1:]] == ["beta 0", "beta 0.5"]
    assert study(workspace, *command) == said
    assert [path.stat().st_mtime_ns for path in made] == times
    with pytest.raises(AssertionError, match="made with other settings or inputs"):
        study(workspace, *command, "--set", "search.alpha_lr=0.5")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["channels", "attention", "targets"])
def test_every_study_is_one_command(workspace, name):
    """At the size of a test: every number is one, and each trace has a row an epoch."""
    space = "--set", f"supernet.space={workspace / 'space.yaml'}"
    said = study(workspace, "bench.search_studies", name, "--train", "s", *space)
    traces = list((workspace / "out").rglob("trace.csv"))

    assert "nan" not in said
    assert len(traces) == {"channels": 2, "attention": 1, "targets": 9}[name]
    assert all(len(pd.read_csv(path)) == 1 for path in traces)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_seeds_stand_beside_their_controls(workspace):
    """Two of each, and how far the seeds agree."""
    said = study(workspace, "bench.search_demo", "--seeds", "1", "2").splitlines()

    assert [line.split("  ")[0].strip() for line in said[:-1]] == [
        f"seed {seed}, {what}" for seed in (1, 2) for what in ("search", "null control")
    ]
    assert "agree" in said[-1]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_found_network_stands_beside_random_ones(workspace, whole):
    """Four others, each as a path of the supernet and trained for an epoch."""
    for path, source in {
        "data/supernet/search.safetensors": "search.safetensors",
        "results/derive/genotype.yaml": "found.yaml",
    }.items():
        (workspace / path).parent.mkdir(parents=True)
        (workspace / path).symlink_to(whole / source)
    window = ("--least", "0.0001", "--most", "1")
    said = study(workspace, "bench.ranking", "--draws", "4", *window).splitlines()

    assert [line.split()[0] for line in said[1:6]] == [
        "found", "random_1", "random_2", "random_3", "random_4",
    ]  # fmt: skip
    assert "over 4 random networks" in said[6]
