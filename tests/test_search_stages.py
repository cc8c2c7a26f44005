"""The search's stages as programs: killed at any moment, they end with the same bits."""

from __future__ import annotations

import json
import math
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file
from support import ROOT, killing
from support.killing import digests
from support.spaces import SPACE

from autox3d.core import tables
from autox3d.core.errors import Refused
from autox3d.core.search_records import WarmupMade
from autox3d.runtime.checkpoint import RESUME
from autox3d.search.run import SearchClips
from autox3d.search.space import Space
from autox3d.stages import control, derive, search, warmup
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

STAGES = ("warmup", "search", "control", "derive")
ALPHAS = ("alpha.json", "control/alpha.json")


def change(folder: Path, **sections: dict[str, object]) -> None:
    """Overrides settings in the folder's params.yaml."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for name, settings in sections.items():
        params[name] |= settings
    path.write_text(yaml.safe_dump(params))


def lay_out(clips: Path, folder: Path) -> Path:
    """Settings, space and clips: 2 steps an epoch, 2 epochs of warm-up, 3 of search."""
    killing.lay_out(clips, folder)
    sampling = {
        "jitter": [32, 40],
        "flip": False,
        "autoaugment": False,
        "rule": "linspace",
        "repeats": 1,
    }
    likelihood = {"clips": 2, "reduction": "sum", "temperature": 1.0}
    change(
        folder,
        supernet={"batch": 4, "bn_clips": 2, "likelihood": likelihood, "sampling": sampling},
        warmup={"epochs": 2, "draws": 2},
        search={"epochs": 3, "draws": 2, "alpha_draws": 3, "target": 0.0008, "floor": None},
        control={"epochs": 2},
        derive={"window": [0.5, 1.0], "budgets": [0.001], "runners_up": 2, "calibration": 4},
    )
    return folder


@pytest.fixture
def project(clips, tmp_path) -> Path:
    """A folder where nothing has run yet."""
    return lay_out(clips, tmp_path)


@pytest.fixture(scope="module")
def whole(clips, runner, tmp_path_factory) -> Path:
    """Every stage, undisturbed."""
    folder = lay_out(clips, tmp_path_factory.mktemp("whole"))
    for stage in STAGES:
        runner.finish(stage, folder)
    return folder


def test_killed_in_warm_up_and_in_search_it_ends_with_the_same_bits(whole, runner, project):
    """kill -9 in a step of each stage, then the same command again."""
    assert runner.run("warmup", project, POINT="update:2") == -signal.SIGKILL
    assert runner.finish("warmup", project) == digests(whole, "warmup")
    assert runner.run("search", project, POINT="alpha:4") == -signal.SIGKILL
    assert runner.finish("search", project) == digests(whole, "search")


@pytest.mark.long
def test_a_signal_saves_within_the_epoch_and_the_job_asks_to_be_resumed(whole, runner, project):
    """SIGTERM: status 75, and the search goes on at its next step."""
    runner.finish("warmup", project)

    assert runner.run("search", project, TERM="update:2", TARGET="rank") == RESUME
    assert runner.finish("search", project) == digests(whole, "search")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_processes_are_killed_and_resumed_alike(
    whole, runner, project, clips, tmp_path_factory
):
    """Chunks are dealt out to two ranks; what they find is one alpha, whenever they are killed."""
    other = lay_out(clips, tmp_path_factory.mktemp("two"))
    for folder in (project, other):
        (folder / "warmup.safetensors").symlink_to(whole / "warmup.safetensors")
    undisturbed = runner.finish("search", other, 2)

    assert runner.run("search", project, 2, POINT="update:2") == -signal.SIGKILL
    assert runner.finish("search", project, 2) == undisturbed

    one, two = (
        np.array([row["logits"] for row in json.loads((at / "alpha.json").read_text())["choices"]
                  if len(row["logits"]) == 2])
        for at in (whole, other)
    )  # fmt: skip
    np.testing.assert_allclose(two, one, atol=0.02)  # up to the order of sums


def test_the_trace_has_a_row_a_step_and_a_row_an_epoch(whole):
    """The columns that the report reads, numbered on from warm-up."""
    steps, trace = tables.read_table(whole / "steps.parquet"), pd.read_csv(whole / "trace.csv")
    warm = pd.read_csv(whole / "warmup.csv")

    assert list(warm["epoch"]) == [1, 2]
    assert list(trace["epoch"]) == [3, 4, 5]
    assert len(steps) == 6
    wanted = {"phase", "loss", "alpha_loss", "lr", "entropy", "effective_draws", "over_target"}
    assert wanted | {"expected_gmacs", "mode_gmacs"} <= set(trace.columns)
    assert warm["entropy"].eq(1).all()
    of_alpha = {"alpha_loss", "over_target", "noise", "budget", "multiplier"}
    assert list(warm.columns) == [c for c in trace.columns if c not in of_alpha]
    assert trace[sorted(of_alpha)].notna().all(axis=None)
    assert {"entropy 1 kernel", "entropy 2 channels"} <= set(steps.columns)


def test_the_warm_up_compares_its_unit_with_none(whole):
    """The first group's, the only one of the space, in every chunk of alpha's half."""
    found = WarmupMade.read(whole / "warmup_made.json").attention

    assert found
    assert [(unit.group, unit.unit) for unit in found.units] == [(1, "glore")]
    assert (found.chunks, found.clips_a_chunk) == (4, 2)
    assert found.units[0].error > 0


def test_alpha_is_told_by_choice_and_epoch(whole):
    """Probabilities of each candidate, one row for each epoch of the search."""
    choices = json.loads((whole / "alpha.json").read_text())["choices"]

    assert [(row["group"], row["column"]) for row in choices[:2]] == [
        (1, "kernel"),
        (1, "expansion"),
    ]
    for row in choices:
        assert len(row["probabilities"]) == 3
        assert all(sum(epoch) == pytest.approx(1, abs=1e-5) for epoch in row["probabilities"])


def test_the_rate_is_one_cosine_over_warm_up_and_search(whole):
    """Half way down after 5 of 10 steps; the search does not start again at the top."""
    steps = tables.read_table(whole / "steps.parquet")
    peak = yaml.safe_load((whole / "params.yaml").read_text())["supernet"]["lr"] * 4 / 256

    wanted = [0.5 * peak * (1 + np.cos(np.pi * step / 10)) for step in range(4, 10)]
    np.testing.assert_allclose(steps["lr"], wanted)


def alphas(whole: Path) -> list[dict[str, Any]]:
    """The choices of alpha.json."""
    return json.loads((whole / "alpha.json").read_text())["choices"]


def test_derive_writes_a_network_of_the_window(whole):
    """Genotypes of the space, their costs and probabilities; the mode and others beside them."""
    space, genotype = Space.load(whole / "space.yaml"), Genotype.load(whole / "found.yaml")
    report = json.loads((whole / "derive.json").read_text())
    mode = math.exp(sum(math.log(max(row["probabilities"][-1])) for row in alphas(whole)))

    assert report["target_gmacs"] == 0.0008
    assert report["window"] == [0.0004, 0.0008]
    assert report["found"]["gmacs"] == cost(genotype, 3).gmacs
    assert report["mode"]["network"]["probability"] == pytest.approx(mode, rel=1e-4)
    assert 0 < report["found"]["probability"] <= mode * 1.001
    for network in (report["found"], *report["runners_up"]):
        assert 0.0004 <= network["gmacs"] <= 0.0008
    assert all(row["taken"] == "none" for row in report["found"]["choices"][3::4])  # undecided
    ranks = [row["supernet_log_likelihood"] for row in report["runners_up"]]
    assert len(ranks) == 2
    assert ranks == sorted(ranks, reverse=True)
    front = Genotype.load(whole / "front/0.001.yaml")
    assert space.draw(front)
    assert 0.0005 <= cost(front, 3).gmacs <= 0.001


def test_the_control_is_the_search_with_other_labels_for_alpha(whole):
    """Its first epochs, at its rates, in its columns: the same labels, another alpha.

    The third epoch is drawn on without clips, for the entropy alone.
    """
    traced, null_traced = (pd.read_csv(whole / at) for at in ("trace.csv", "control/trace.csv"))
    real, null = (json.loads((whole / at).read_text())["choices"] for at in ALPHAS)

    assert list(null_traced.columns) == list(traced.columns)
    assert list(null_traced["epoch"]) == list(traced["epoch"])
    assert list(null_traced["phase"]) == ["control", "control", "simulated"]
    assert list(null_traced["lr"][:2]) == list(traced["lr"])[:2]
    assert null_traced["entropy"].between(0, 1).all()
    assert null_traced["loss"].isna().tolist() == [False, False, True]
    assert null_traced["alpha_loss"][0] != traced["alpha_loss"][0]
    assert [row["candidates"] for row in null] == [row["candidates"] for row in real]
    assert any(
        n["probabilities"][1] != r["probabilities"][1] for n, r in zip(null, real, strict=True)
    )


def test_the_control_shuffles_alphas_labels_once_and_no_others(whole):
    """The same clips and as many of each class."""
    before = SearchClips.load(whole / "clips.parquet")
    after = SearchClips.load(whole / "clips.parquet")
    after.shuffle(1)

    assert sorted(after.alpha.labels) == sorted(before.alpha.labels)
    assert list(after.alpha.labels) != list(before.alpha.labels)
    assert list(after.weights.labels) == list(before.weights.labels)


def here(stage: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage's program in this process."""
    name = stage.__name__.rpartition(".")[2]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [name, *killing.FLAGS[name].split()])
    for variable, value in killing.ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    stage.main()


def test_no_control_is_an_empty_trace(whole, project, monkeypatch):
    """`control.epochs: 0` does no step, and leaves what the report reads: a head and no rows."""
    change(project, control={"epochs": 0})
    here(control, project, monkeypatch)
    trace = pd.read_csv(project / "control/trace.csv")

    assert list(trace.columns) == list(pd.read_csv(whole / "trace.csv").columns)
    assert trace.empty
    assert json.loads((project / "control/alpha.json").read_text())["choices"] == []


def test_a_search_may_begin_without_warm_up(whole, project, monkeypatch):
    """`warmup.epochs: 0`: weights without momentum, a head without rows; search has epoch 1."""
    change(project, warmup={"epochs": 0}, search={"epochs": 1})
    here(warmup, project, monkeypatch)
    curve = pd.read_csv(project / "warmup.csv")
    names = load_file(project / "warmup.safetensors")

    assert list(curve.columns) == list(pd.read_csv(whole / "warmup.csv").columns)
    assert curve.empty
    assert {name.partition(".")[0] for name in names} == {"weight"}
    here(search, project, monkeypatch)
    assert list(pd.read_csv(project / "trace.csv")["epoch"]) == [1]
    assert tables.read_table(project / "steps.parquet")["loss"].notna().all()


def test_a_budget_that_cannot_be_kept_stops_the_warm_up(project, monkeypatch):
    """Not the search after it, nor the derivation."""
    change(project, search={"target": 0.01, "floor": None})
    with pytest.raises(Refused, match=r"'search\.target' 0\.01: no network .* nearest cost"):
        here(warmup, project, monkeypatch)
    change(project, search={"target": 0.001}, derive={"window": [0.0, 0.1]})
    with pytest.raises(Refused, match=r"'search\.target' 0\.001: no network .* nearest costs"):
        here(warmup, project, monkeypatch)

    assert not (project / "warmup.safetensors").exists()


def test_the_papers_own_search_is_one_file(whole, project, monkeypatch):
    """`params/autox3d_as_printed.yaml` at toy size: the plain hinge, 13 draws, the mode derived."""
    printed = yaml.safe_load((ROOT / "params/autox3d_as_printed.yaml").read_text())
    assert printed["search"]["cost"] == "plain"
    toy = {"epochs": 1, "target": 0.0008}
    change(project, search=printed["search"] | toy, control={"epochs": 0})
    change(project, warmup=printed["warmup"] | {"epochs": 1})
    change(project, derive=printed["derive"] | {"runners_up": 1, "calibration": 4})
    for stage in (warmup, search, control, derive):
        here(stage, project, monkeypatch)

    steps = tables.read_table(project / "steps.parquet")
    assert (steps["multiplier"] == 0).all()
    assert steps["effective_draws"].max() > 2  # of 13
    report = json.loads((project / "derive.json").read_text())
    assert "window" not in report
    assert report["found"]["groups"] == report["mode"]["network"]["groups"]


MISTAKES = {
    "one draw": ({"search": {"alpha_draws": 1}}, "params.yaml: 'search.alpha_draws' must be >= 2"),
    "longer control": (
        {"control": {"epochs": 4}},
        "params.yaml: 'control.epochs' is 4, but the search has 3. Set it to 3 or less.",
    ),
    "other space": (
        {"search": {"target": 0.001}},
        "warmup.safetensors: 'widest.stem.space.weight' does not fit tiny. Run `warmup` again.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(whole, project, name, monkeypatch):
    """Before any step."""
    changes, line = MISTAKES[name]
    (project / "warmup.safetensors").symlink_to(whole / "warmup.safetensors")
    change(project, **changes)
    if name == "other space":
        (project / "space.yaml").write_text(SPACE.replace("channels: 8,", "channels: 12,"))
    with pytest.raises(Refused) as refused:
        here(control if name == "longer control" else search, project, monkeypatch)

    assert str(refused.value).startswith(line)
    assert not (project / "alpha.json").exists()
