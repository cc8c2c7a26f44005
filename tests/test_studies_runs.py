"""A study goes on run by run where it stood; a mistake in its settings is told before any work."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import killing
from support.studies import SMALL, digests, entry, lay_out, open_lab, study

from autox3d.core import overrides, settings
from autox3d.core.errors import Refused
from autox3d.runtime.checkpoint import RESUME
from autox3d.search.run import SearchRecipe
from autox3d.studies import kind, lab
from autox3d.studies.lab import Ready
from autox3d.vision.arch.genotype import Genotype

pytestmark = pytest.mark.slow  # searches and trainings, each of several runs


@pytest.fixture
def workspace(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One study of each kind, none of which has run; the working directory."""
    for name, value in killing.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(lay_out(clips, tmp_path, SMALL))
    return tmp_path


def test_a_finished_part_is_taken_from_its_last_checkpoint(workspace, monkeypatch):
    """Its files and its numbers are the same bytes, and no step is done again."""
    _, first = study("beta")
    made = digests(workspace / "out")
    shutil.rmtree(workspace / "out")  # as DVC does before it runs a stage again

    def no_step(*_: object, **__: object) -> None:
        raise AssertionError("a step was done again")

    monkeypatch.setattr("autox3d.search.loop.alpha_step", no_step, raising=True)
    _, again = study("beta")

    assert again == first
    assert digests(workspace / "out") == made


def test_another_setting_or_input_is_another_run(workspace):
    """What has changed is made anew, what has not is kept: by fingerprint, not by name."""
    study("beta")
    before = {path.name for path in Path("checkpoints").iterdir()}
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["studies"]["beta"]["values"] = [0.5, 0.25]
    Path("params.yaml").write_text(yaml.safe_dump(params))
    study("beta")
    more = {path.name for path in Path("checkpoints").iterdir()} - before
    assert len(more) == 1  # beta 0.25; the warm-up and beta 0.5 were there

    params["studies"]["beta"]["overrides"] = {"supernet": {"lr": 0.5}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    study("beta")
    assert len(list(Path("checkpoints").iterdir())) == len(before) + 1 + 3


def test_the_pipelines_warm_up_is_taken_where_its_settings_are_the_same(workspace):
    """And nowhere else: other epochs of the search bend the cosine that both share."""
    found = open_lab("beta")
    own = SearchRecipe.of(found.params)
    own_weights = Path("ready.safetensors")
    given = replace(found, ready=Ready(own_weights, own), made={})

    assert given.warm_up("warmup", given.recipe(search={"alpha_lr": 9.0})) == own_weights
    assert given.warm_up("warmup", given.recipe(search={"epochs": 2})).is_file()
    assert list(given.made) == ["warmup"]


def test_a_memory_cap_makes_another_warm_up(workspace):
    """It takes candidates out of the draws; a strategy of its own does so, too."""
    found = open_lab("beta")
    own = SearchRecipe.of(found.params)
    capped = found.recipe(search={"memory_mb": 1000.0})
    given = replace(found, ready=Ready(Path("ready.safetensors"), own), made={})

    assert own.drawn_by == {}
    assert given.warm_up("warmup", capped).is_file()
    assert list(given.made) == ["warmup"]


def test_a_test_that_is_done_is_not_done_again(workspace, monkeypatch):
    """The test of a training is kept beside its checkpoints, as the training itself is."""
    found = open_lab("trainings")
    found.train(Genotype.load(Path("genotypes/s.yaml")), "s")
    first = found.test("s")

    def no_view(*_: object, **__: object) -> None:
        raise AssertionError("a test was done again")

    monkeypatch.setattr(lab, "every_view", no_view)
    assert found.test("s") == first
    assert len(first.hits) == 8
    found.train(Genotype.load(Path("genotypes/s.yaml")), "s", seed=2)
    with pytest.raises(AssertionError, match="a test was done again"):
        found.test("s")


def test_told_to_stop_between_two_runs_a_study_stops(workspace, monkeypatch):
    """A signal after the last step of a run is not lost with that run."""

    def told(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        write(*args)

    write = lab.write_curve
    monkeypatch.setattr(lab, "write_curve", told)
    with pytest.raises(SystemExit) as stopped:
        study("beta")
    assert stopped.value.code == RESUME
    assert len(list(Path("checkpoints").iterdir())) == 1  # the warm-up's

    monkeypatch.setattr(lab, "write_curve", write)
    assert study("beta")[1].rows


TRAIN = {"train": {"s": {"init": "w"}}}
REFUSED = {
    "unknown kind": (
        entry("betas", values=[1.0]),
        f"'studies.x.kind' is 'betas'. Known: {', '.join(sorted(kind.names()))}.",
    ),
    "no values": (
        entry("beta"),
        "'studies.x.values' must be one or more weights of the cost, not [] (kind 'beta').",
    ),
    "values twice": (
        entry("seeds", values=[1, 1]),
        "'studies.x.values' has a number twice: [1.0, 1.0] (kind 'seeds').",
    ),
    "values for nothing": (
        entry("channels", values=[1.0]),
        "'studies.x.values' must be empty, not [1.0] (kind 'channels').",
    ),
    "networks for nothing": (
        entry("beta", values=[1.0], networks=3),
        "'studies.x.networks' must be 0, not 3: this kind samples none (kind 'beta').",
    ),
    "one network": (
        entry("random_networks", networks=1, train="s"),
        "'studies.x.networks' must be 2 or more, not 1 (kind 'random_networks').",
    ),
    "no training": (
        entry("random_networks", networks=2),
        "'studies.x.train' must name an entry of 'train', not null (kind 'random_networks').",
    ),
    "genotypes for nothing": (
        entry("beta", values=[1.0], genotypes="genotypes"),
        "'studies.x.genotypes' must be params/scratch, not genotypes: this kind reads none "
        "(kind 'beta').",
    ),
    "no genotypes": (
        entry("trainings", values=[1]),
        "'studies.x.genotypes' must be a folder of genotypes, not params/scratch "
        "(kind 'trainings').",
    ),
    "a network of many from weights": (
        entry(
            "trainings",
            values=[1],
            genotypes="genotypes",
            overrides={"train": {"m": {"init": "w"}}},
        ),
        "'train.m.init' is w, but a study trains from scratch. Set it to params/scratch in "
        "'studies.x.overrides'.",
    ),
    "training for nothing": (
        entry("beta", values=[1.0], train="s"),
        "'studies.x.train' must be null, not 's': this kind trains no network alone (kind 'beta').",
    ),
    "no such training": (entry("channels", train="t"), "missing section 'train.t'."),
    "weights to start from": (
        entry("channels", train="s", overrides=TRAIN),
        "'train.s.init' is w, but a study trains from scratch. Set it to params/scratch in "
        "'studies.x.overrides'.",
    ),
    "unknown section": (
        entry("channels", overrides={"subset": {"seed": 2}}),
        "unknown 'studies.x.overrides.subset'. A study can change: supernet, warmup, search, "
        "control, derive, train.",
    ),
    "unknown key": (
        entry("channels", overrides={"search": {"epoch": 1}}),
        "unknown 'studies.x.overrides.search.epoch'. Did you mean 'epochs'?",
    ),
    "ill-typed value": (
        entry("channels", overrides={"search": {"epochs": "many"}}),
        "'studies.x.overrides.search.epochs' must be int, not 'many'.",
    ),
    "the space twice": (
        entry("channels", overrides={"supernet": {"space": "other.yaml"}}),
        "'studies.x.overrides.supernet.space' is another setting. Use 'studies.x.space'.",
    ),
    "not a seed": (
        entry("seeds", values=[1.5]),
        "'studies.x.values' must be seeds, whole numbers: [1.5].",
    ),
    "a control longer than the search": (
        entry("seeds", values=[1], overrides={"search": {"epochs": 1}, "control": {"epochs": 2}}),
        "'studies.x': 'control.epochs' is 2, but the search has 1. Set it to 1 or less in "
        "the overrides.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_in_a_study_is_one_line_before_any_work(workspace, name):
    """It names the setting and the way out; the control is every other test of this file."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["studies"] = {"x": REFUSED[name][0]}
    Path("params.yaml").write_text(yaml.safe_dump(params))

    with pytest.raises(Refused) as refused:
        study("x")

    assert str(refused.value) == f"params.yaml: {REFUSED[name][1]}"
    assert not Path("checkpoints").exists()


def test_overrides_are_for_one_study_alone(workspace):
    """Nested as in the file, down to a single key; all else is the file's."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    own = {"search": {"epochs": 7}, "train": {"s": {"sampling": {"flip": True}}}}
    params["studies"]["channels"]["overrides"] = own
    Path("params.yaml").write_text(yaml.safe_dump(params))
    whole = settings.load()
    changed = overrides.for_study(whole, "channels")

    assert (changed.search.epochs, whole.search.epochs) == (7, 1)
    assert changed.train["s"].sampling.flip
    assert changed.train["s"].sampling.jitter == whole.train["s"].sampling.jitter
    assert changed.warmup == whole.warmup
    assert overrides.for_study(whole, "beta").search == whole.search
