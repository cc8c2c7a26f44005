"""A run that is killed at any moment and resumed ends with the bits of an undisturbed run."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from support import killing
from support.killing import Runner

from autox3d.core.device_table import Choice, DeviceTable
from autox3d.vision.kernels.choice import here, in_use

pytestmark = pytest.mark.timeout(3600)

WRITING = ("half", "synced", "linked", "named", "half")
TRAIN = (*WRITING, *("score",) * 3, "settle", "measured", *("turn",) * 3, "saved")
TRAIN += (*("backward",) * 3, *("update",) * 3)
PHASE = ("half", "named", "turn", "turn", "saved", "backward", "backward", "update", "update")
PLACES = {
    "train": TRAIN,
    "warmup": (*PHASE, "synced"),
    "search": (*PHASE, "alpha"),
}


class Whole(NamedTuple):
    """An undisturbed run."""

    digests: dict[str, str]
    counts: dict[str, int]  # of each kind of point, in rank 0
    folder: Path


@pytest.fixture(scope="module")
def wholes(
    clips: Path, runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], Whole]:
    """Undisturbed runs; each is made once, when it is first needed."""

    class Wholes(dict[tuple[str, int], Whole]):
        def __missing__(self, key: tuple[str, int]) -> Whole:
            stage, processes = key
            like = self["warmup", 1].folder if stage == "search" else None
            folder = killing.fresh(clips, tmp_path_factory.mktemp(stage) / "whole", like)
            found = runner.finish(stage, folder, processes, COUNTS="counts")
            self[key] = Whole(found, json.loads((folder / "counts").read_text()), folder)
            return self[key]

    return Wholes()


def points(stage: str, counts: dict[str, int], seed: int) -> list[str]:
    """One random occurrence of each place where a run can be killed."""
    chance = random.Random(seed)
    return [f"{kind}:{chance.randint(1, counts[kind])}" for kind in PLACES[stage]]


def killed(
    stage: str, processes: int, at: list[str], whole: Whole, clips: Path, runner: Runner, to: Path
) -> None:
    """Kills a run at each of the points in turn, then lets it finish."""
    like = whole.folder if stage == "search" else None
    folder = killing.fresh(clips, to, like)
    for point in at:
        status = runner.run(stage, folder, processes, POINT=point)
        assert status == -9, f"{stage} did not reach {point}: {(folder / 'log').read_text()}"
    assert runner.finish(stage, folder, processes) == whole.digests, at


@pytest.mark.parametrize("point", ["half:6", "score:11"])
def test_a_killed_training_ends_with_the_same_bits(point, wholes, clips, runner, tmp_path):
    """It is killed while it writes a checkpoint, and during a validation."""
    killed("train", 1, [point], wholes["train", 1], clips, runner, tmp_path / "run")


def test_drop_connect_is_a_setting_of_training(wholes, clips, runner, tmp_path):
    """Another rate gives other weights from the same start, with checkpoints of its own."""
    folder = killing.fresh(clips, tmp_path / "run")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["train"]["s"]["drop_connect"] = 0.5
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    found = runner.finish("train", folder, 1)

    usual = wholes["train", 1]
    first, last = ((path / "curve.csv").read_text() for path in (usual.folder, folder))
    assert first.splitlines()[1] != last.splitlines()[1]
    assert found["weights/weights.safetensors"] != usual.digests["weights/weights.safetensors"]
    places = [next(path.glob("checkpoints/train-*")).name for path in (usual.folder, folder)]
    assert places[0] != places[1]


def with_table(folder: Path) -> Path:
    """Has the settings of a folder name a table of this device, unlike the package's."""
    ms = {"reference": 2.0, "frames of a clip": 1.0}
    usual: dict[str, Any] = {
        "operation": "weight_gradient",
        "numbers": 9,
        "use": "frames of a clip",
        "ms": ms,
    }
    kinds = itertools.product((1, 3, 5), (1, 3, 5), (1, 2))
    rows = [Choice(kernel=f"t{t}_s{s}", stride=stride, **usual) for t, s, stride in kinds]
    device = here(torch.device("cpu"))
    DeviceTable(device=device, rates=None, kernels=tuple(rows)).save(
        folder / "table.yaml", "a test"
    )
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["device"]["table"] = "table.yaml"
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def test_the_table_of_a_device_is_an_input_of_a_training(wholes, clips, runner, tmp_path):
    """Its kernels give other bits, which a killed run keeps; the made-file names the table."""
    folder = with_table(killing.fresh(clips, tmp_path / "whole"))
    found = runner.finish("train", folder)
    other = with_table(killing.fresh(clips, tmp_path / "killed"))
    assert runner.run("train", other, POINT="half:6") == -9
    assert runner.finish("train", other) == found

    usual, name = wholes["train", 1], "weights/weights.safetensors"
    assert found[name] != usual.digests[name]
    places = [next(path.glob("checkpoints/train-*")).name for path in (usual.folder, folder)]
    assert places[0] != places[1]
    made = [json.loads((path / "made.json").read_text()) for path in (usual.folder, folder)]
    own = in_use(torch.device("cpu")).name
    assert [one["kernels"] for one in made] == [own, f"table.yaml ({here(torch.device('cpu'))})"]


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_killed_at_twenty_points(processes, wholes, clips, runner, tmp_path):
    """Five while a checkpoint is written, five at the end of an epoch, three between epochs."""
    whole = wholes["train", processes]
    for point in points("train", whole.counts, processes):
        killed("train", processes, [point], whole, clips, runner, tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_killed_three_times(processes, wholes, clips, runner, tmp_path):
    """Each kill comes a few steps later."""
    at = ["update:3", "half:2", "score:5"]
    killed("train", processes, at, wholes["train", processes], clips, runner, tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("stage", ["warmup", "search"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_search_killed_at_ten_points(stage, processes, wholes, clips, runner, tmp_path):
    """Compared are weights, momentum, alpha, Adam's moments and the trace of every step."""
    whole = wholes[stage, processes]
    for point in points(stage, whole.counts, processes):
        killed(stage, processes, [point], whole, clips, runner, tmp_path / "run")
