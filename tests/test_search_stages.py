"""The search's stages as programs: killed at any moment, they end with the same bits."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file
from support import shards

from autox3d.core import tables
from autox3d.core.errors import Refused
from autox3d.runtime.checkpoint import RESUME
from autox3d.search.run import SearchClips
from autox3d.search.space import Space
from autox3d.stages import control, search, warmup
from autox3d.vision.arch.genotype import Genotype

ROOT = Path(__file__).parents[1]
SPACE = """\
name: tiny
input: {frames: 4, stride: 2, crop: 32, short: 32}
stem: {channels: 8, temporal_kernel: 1}
expansion_of: in
block: {first: relu, second: swish, depthwise: true}
attention: {placement: after_group, nodes: 0.25}
head: {channels: 16, hidden: 16}
groups:
  - {kernel: [t1_s3, t3_s3], expansion: [1.5, 3.0], channels: [8, 16],
     blocks: 1, stride: 2, squeeze_excite: even, attention: [none, glore]}
  - {kernel: [t1_s3, t5_s3], expansion: [1.5], channels: [8, 16],
     blocks: 2, stride: 1, squeeze_excite: even, attention: [none]}
"""
FLAGS = {
    "warmup": "--space space.yaml --clips subset.parquet --weights warmup.safetensors "
    "--curve warmup.csv --made warmup_made.json",
    "search": "--space space.yaml --clips subset.parquet --init warmup.safetensors "
    "--weights search.safetensors --alpha alpha.json --steps steps.parquet "
    "--trace trace.csv --made search_made.json",
    "control": "--space space.yaml --clips subset.parquet --init warmup.safetensors "
    "--alpha control/alpha.json --trace control/trace.csv --made control/made.json",
    "derive": "--space space.yaml --clips subset.parquet --alpha alpha.json "
    "--weights search.safetensors --genotype found.yaml --report derive.json",
}
MADE = {
    "warmup": ["warmup.safetensors", "warmup.csv"],
    "search": ["search.safetensors", "alpha.json", "steps.parquet", "trace.csv"],
    "control": ["control/alpha.json", "control/trace.csv"],
    "derive": ["found.yaml", "derive.json"],
}
ALPHAS = ("alpha.json", "control/alpha.json")
ENVIRONMENT = {"AUTOX3D_TRACKING": "off", "OMP_NUM_THREADS": "1", "AUTOX3D_WORKERS": "1"}


def start(stage: str, folder: Path, processes: int) -> subprocess.Popen[str]:
    """The stage's program, in a session of its own."""
    command = [sys.executable, "-m", "autox3d.runtime.launch", stage, *FLAGS[stage].split()]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | ENVIRONMENT | {"AUTOX3D_PROCESSES": str(processes)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(stage: str, folder: Path, processes: int = 1) -> dict[str, str]:
    """Runs the stage to its end; the digests of what it made."""
    process = start(stage, folder, processes)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in MADE[stage]}


def stop(stage: str, folder: Path, number: int, how: int, processes: int = 1) -> int:
    """Ends the stage by a signal once its checkpoint `number` is there; its exit status."""
    process = start(stage, folder, processes)
    kept = folder / "checkpoints"
    while len(list(kept.glob(f"{stage}-*/step-*.ckpt"))) < number:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    os.killpg(process.pid, how)
    process.communicate(timeout=60)
    return process.returncode


def change(folder: Path, **sections: dict[str, object]) -> None:
    """Overrides settings in the folder's params.yaml."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for name, settings in sections.items():
        params[name] |= settings
    path.write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """24 real videos, 16 for training in two halves of 8, 8 for validation."""
    folder = tmp_path_factory.mktemp("clips")
    table = tables.read_table(shards.make(folder, 24))
    classes = tables.read_classes(folder / "clips.parquet")
    table["split"] = np.where(np.arange(len(table)) < 16, "train", "val")
    table["half"] = np.where(np.arange(len(table)) % 2, "weights", "alpha")
    tables.write_table(table, folder / "subset.parquet", classes)
    return folder


def lay_out(clips: Path, folder: Path) -> Path:
    """Settings, space and clips: 2 steps an epoch, 2 epochs of warm-up, 3 of search."""
    (folder / "space.yaml").write_text(SPACE)
    (folder / "subset.parquet").symlink_to(clips / "subset.parquet")
    (folder / "data").mkdir()
    (folder / "data/shards").symlink_to(clips / "shards")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
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
        derive={"runners_up": 2, "calibration": 4},
    )
    return folder


@pytest.fixture
def project(clips, tmp_path) -> Path:
    """A folder where nothing has run yet."""
    return lay_out(clips, tmp_path)


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory) -> Path:
    """Every stage, undisturbed."""
    folder = lay_out(clips, tmp_path_factory.mktemp("whole"))
    for stage in FLAGS:
        finish(stage, folder)
    return folder


def digests(folder: Path, stage: str) -> dict[str, str]:
    """Of what a stage made."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in MADE[stage]}


def test_killed_in_warm_up_and_in_search_it_ends_with_the_same_bits(whole, project):
    """kill -9 after a checkpoint in each stage, then the same command again."""
    assert stop("warmup", project, 1, signal.SIGKILL) == -signal.SIGKILL
    assert finish("warmup", project) == digests(whole, "warmup")
    assert stop("search", project, 2, signal.SIGKILL) == -signal.SIGKILL
    assert finish("search", project) == digests(whole, "search")


@pytest.mark.long
def test_a_signal_saves_within_the_epoch_and_the_job_asks_to_be_resumed(whole, project):
    """SIGTERM: status 75, and the search goes on at its next step."""
    finish("warmup", project)

    assert stop("search", project, 1, signal.SIGTERM) == RESUME
    assert finish("search", project) == digests(whole, "search")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_processes_are_killed_and_resumed_alike(whole, project, clips, tmp_path_factory):
    """Chunks are dealt out to two ranks; what they find is one alpha, whenever they are killed."""
    other = lay_out(clips, tmp_path_factory.mktemp("two"))
    for folder in (project, other):
        (folder / "warmup.safetensors").symlink_to(whole / "warmup.safetensors")
    undisturbed = finish("search", other, 2)

    stop("search", project, 1, signal.SIGKILL, 2)
    assert finish("search", project, 2) == undisturbed

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
    assert list(warm.columns) == [
        c for c in trace.columns if c not in ("alpha_loss", "over_target")
    ]
    assert {"entropy 1 kernel", "entropy 2 channels"} <= set(steps.columns)


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


def test_derive_writes_the_most_probable_network(whole):
    """A genotype of the space, its cost, its probability, and others under the target."""
    space, genotype = Space.load(whole / "space.yaml"), Genotype.load(whole / "found.yaml")
    report = json.loads((whole / "derive.json").read_text())
    choices = json.loads((whole / "alpha.json").read_text())["choices"]

    for choice, taken in zip(choices, space.draw(genotype), strict=True):
        assert choice["probabilities"][-1][taken] == max(choice["probabilities"][-1])
    assert 0 < report["found"]["probability"] < 1
    assert all(row["gmacs"] <= report["target_gmacs"] for row in report["runners_up"])
    ranks = [row["supernet_top1"] for row in report["runners_up"]]
    assert ranks == sorted(ranks, reverse=True)


def test_the_control_is_the_search_with_other_labels_for_alpha(whole):
    """Its first epochs, at its rates, in its columns: the same labels, another alpha."""
    traced, null_traced = (pd.read_csv(whole / at) for at in ("trace.csv", "control/trace.csv"))
    real, null = (json.loads((whole / at).read_text())["choices"] for at in ALPHAS)

    assert list(null_traced.columns) == list(traced.columns)
    assert list(null_traced["epoch"]) == list(traced["epoch"])[:2]
    assert list(null_traced["lr"]) == list(traced["lr"])[:2]
    assert null_traced["alpha_loss"][0] != traced["alpha_loss"][0]
    assert [row["candidates"] for row in null] == [row["candidates"] for row in real]
    assert any(
        n["probabilities"][1] != r["probabilities"][1] for n, r in zip(null, real, strict=True)
    )


def test_the_control_shuffles_alphas_labels_once_and_no_others(whole):
    """The same clips and as many of each class."""
    before = SearchClips.load(whole / "subset.parquet")
    after = SearchClips.load(whole / "subset.parquet")
    after.shuffle(1)

    assert sorted(after.alpha.labels) == sorted(before.alpha.labels)
    assert list(after.alpha.labels) != list(before.alpha.labels)
    assert list(after.weights.labels) == list(before.weights.labels)


def here(stage: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage's program in this process."""
    name = stage.__name__.rpartition(".")[2]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [name, *FLAGS[name].split()])
    for variable, value in ENVIRONMENT.items():
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


MISTAKES = {
    "one draw": ({"search": {"alpha_draws": 1}}, "params.yaml: 'search.alpha_draws' must be >= 2"),
    "longer control": (
        {"control": {"epochs": 4}},
        "params.yaml: 'control.epochs' is 4, but the search has 3. Ask for as many or fewer.",
    ),
    "other space": (
        {},
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
