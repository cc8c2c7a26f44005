"""What networks are compared by is on the run that trained them, in whatever order records come."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from support.mlflow_server import replay
from support.trained import trained

from autox3d.runtime import tracking
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.tracking import SPOOL
from autox3d.vision.models import weights

pytestmark = pytest.mark.slow


def passed(folder: Path) -> tuple[Path, Path]:
    """A training and its test, neither of which was sent; their journals."""
    net, genotype, classes = trained()
    weights.save(folder / "weights/s", net, genotype, classes, {})
    key = fingerprint(w=folder / "weights/s")
    with tracking.run("train", "s", {"lr": 0.1}, {"data": "8f3a"}) as training:
        training.params({"gmacs": 0.25, "network": "s"})
        training.model(folder / "weights/s", key)
    with tracking.run("evaluate", "s", {"clips": 10}, {"data": "8f3a", "weights": key}) as test:
        test.log(0, {"lcr.top1": 0.75})
    assert training.journal
    assert test.journal
    return training.journal, test.journal


def send(away: Path, *journals: Path) -> dict[str, Run]:
    """Sends journals one after the other; the runs of the store by name."""
    for journal in journals:
        shutil.copytree(away / journal.stem, SPOOL / journal.stem, dirs_exist_ok=True)
        shutil.copy(away / journal.name, SPOOL)
        assert replay() == 0
    return {run.info.run_name or "": run for run in store().search_runs(["1"])}


def store() -> MlflowClient:
    return MlflowClient("sqlite:///mlflow.db")


@pytest.mark.parametrize("first", ["training", "test"])
def test_test_metrics_are_on_run_and_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Also when everything is sent twice: one parent, one model, one value."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "PATIENCE", 60.0)
    monkeypatch.delenv("AUTOX3D_TRACKING", raising=False)
    Path("params.yaml").write_text("train: {}\n")
    journals = passed(tmp_path)
    away = SPOOL.rename("away")
    for journal in journals:
        (away / journal.stem).mkdir(exist_ok=True)
    SPOOL.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")

    runs = send(away, *(journals if first == "training" else journals[::-1]))
    again = send(away, *journals)

    parent = next(run for name, run in runs.items() if name.startswith("pipeline "))
    training, (model,) = runs["train@s"], store().search_logged_models(["1"])
    assert set(again) == set(runs) == {parent.info.run_name, "train@s", "evaluate@s"}
    assert len(store().search_runs(["1"])) == 3
    assert training.data.params == {"lr": "0.1", "gmacs": "0.25", "network": "s"}
    assert training.data.metrics == {"lcr.top1": 0.75}
    assert training.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert runs["evaluate@s"].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.status == again[parent.info.run_name or ""].info.status == "FINISHED"
    assert training.inputs
    assert training.inputs
    assert [one.dataset.digest for one in training.inputs.dataset_inputs] == ["8f3a"]
    assert len(store().get_metric_history(training.info.run_id, "lcr.top1")) == 1
    assert [(m.key, m.value) for m in model.metrics or []] == [("lcr.top1", 0.75)]
    assert model.params == training.data.params
    version = store().get_model_version("autox3d-s", "1")
    assert model.model_id in str(version.source)
    assert version.description
    assert version.description.startswith("# ")


def test_a_pass_is_a_commit_and_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same key in every job; another one after a changed setting or in an experiment."""
    monkeypatch.chdir(tmp_path)
    assert tracking._pass() is None
    Path("params.yaml").write_text("seed: 1\n")
    first, second = tracking._pass(), tracking._pass()
    assert first == second
    monkeypatch.setenv("DVC_EXP_NAME", "wild-fig")
    named = tracking._pass()
    assert named
    assert named["name"] == "pipeline wild-fig"
    Path("params.yaml").write_text("seed: 2\n")
    assert first
    assert len({first["key"], named["key"], (tracking._pass() or {})["key"]}) == 3
