"""What the stages log, run as they are: a training has what its test and its timing found."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from support import killing, programs
from support.mlflow_server import until_spool_is_empty

from autox3d.core.scores import Evaluation
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

pytestmark = pytest.mark.slow
CLASSES, REPEATS = 3, 200
STAGES = {
    "train": killing.FLAGS["train"],
    "evaluate": "--weights weights --clips clips.parquet --scores scores.parquet "
    "--metrics metrics.json --confusion confusion.csv",
    "latency": "--weights weights --latency latency.json",
}


@pytest.fixture(scope="module")
def folder(clips: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stages have run, one after the other, and all was sent."""
    folder = killing.lay_out(clips, tmp_path_factory.mktemp("stages") / "work")
    shutil.copy(empty_store, folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["train"]["s"] |= {"epochs": 1, "warmup": 0}
    params["evaluate"] |= {"split": "val", "clips": [10], "batch": 8}
    params["latency"] = {"views": 2, "batch": 2, "repeats": REPEATS, "warmup": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    env = os.environ | killing.ENVIRONMENT | {"AUTOX3D_TRACKING": "on"}
    env.pop("MLFLOW_TRACKING_URI", None)
    for stage, words in STAGES.items():
        command = [sys.executable, "-m", f"autox3d.stages.{stage}", *words.split()]
        done = programs.run("networks", command, folder, env)
        assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        until_spool_is_empty()
    return folder


def store(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs(folder: Path) -> dict[str, Run]:
    """By the name of the stage."""
    found = store(folder).search_runs(["1"])
    assert len(found) == len(STAGES) + 1  # with that of the pass
    return {str(run.info.run_name).partition("@")[0]: run for run in found}


def test_the_training_has_what_its_test_and_its_timing_measured(folder: Path) -> None:
    """The very numbers of their files; and so has its model."""
    tested = Evaluation.read(folder / "metrics.json")
    timed = json.loads((folder / "latency.json").read_text())
    expected = {"latency.seconds": timed["batched"]["median"]}
    expected |= {f"center.{name}": value for name, value in tested.center.metrics.items()}
    expected |= {f"lcr.{name}": value for name, value in tested.headline.metrics.items()}
    (model,) = store(folder).search_logged_models(["1"])

    assert {"lcr.top1", "center.top1"} <= expected.keys()
    assert expected.items() <= runs(folder)["train"].data.metrics.items()
    assert expected.items() <= {one.key: one.value for one in model.metrics or []}.items()


def test_the_training_has_the_network_and_its_cost(folder: Path) -> None:
    """As `autox3d count` gives them."""
    genotype = Genotype.load(folder / "s.yaml")
    expected, clip = cost(genotype, classes=CLASSES), genotype.input
    params = runs(folder)["train"].data.params

    assert params["network"] == genotype.name
    assert float(params["gmacs"]) == expected.gmacs
    assert int(params["parameters"]) == expected.params
    found = [int(params[name]) for name in ("frames", "stride", "crop")]
    assert found == [clip.frames, clip.stride, clip.crop]


def test_a_run_lasts_as_long_as_its_work(folder: Path) -> None:
    """Those of tests and timings once began when all was done, and lasted 2 ms."""
    timed, found = json.loads((folder / "latency.json").read_text()), runs(folder)
    passes = timed["batched"]["low"] * REPEATS / 2  # s, at least: half of them take longer
    began, ended = found["latency"].info.start_time, found["latency"].info.end_time or 0  # ms
    scored = (folder / "scores.parquet").stat().st_mtime

    assert scored - found["evaluate"].info.start_time / 1000 > 0.1  # 8 videos, 40 views of each
    assert (ended - began) / 1000 > passes > 0.05
