"""What networks are compared by is on the run that trained them, in whatever order records come."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from support.trained import passed

from autox3d.runtime import tracking
from autox3d.runtime.mirror import Mirror

pytestmark = pytest.mark.slow


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """An empty one, to which nobody sends anything yet."""
    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOX3D_TRACKING", raising=False)
    monkeypatch.setattr(tracking, "_start_sender", lambda mirrored: None)
    monkeypatch.setattr(tracking, "_wait", lambda sender, mirrored: None)
    Path("params.yaml").write_text("train: {}\n")
    return MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")


def send(store: MlflowClient, *journals: Path) -> dict[str, Run]:
    """Sends journals one after the other; the runs of the store by name."""
    for journal in journals:
        Mirror(journal).send(store)
    return {run.info.run_name or "": run for run in store.search_runs(["1"])}


@pytest.mark.parametrize("first", ["training", "test"])
def test_test_metrics_are_on_run_and_model(store: MlflowClient, tmp_path: Path, first: str) -> None:
    """Also when everything is sent twice: one parent, one model, one value."""
    journals = passed(tmp_path)
    runs = send(store, *(journals if first == "training" else journals[::-1]))
    again = send(store, *journals)

    parent = next(run for name, run in runs.items() if name.startswith("pipeline "))
    training, (model,) = runs["train@s"], store.search_logged_models(["1"])
    assert set(again) == set(runs) == {parent.info.run_name, "train@s", "evaluate@s"}
    assert len(store.search_runs(["1"])) == 3
    assert training.data.params == {"lr": "0.1", "gmacs": "0.25", "network": "s"}
    assert training.data.metrics == {"lcr.top1": 0.75}
    assert training.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert runs["evaluate@s"].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.status == again[parent.info.run_name or ""].info.status == "FINISHED"
    assert training.inputs
    assert [one.dataset.digest for one in training.inputs.dataset_inputs] == ["8f3a"]
    assert len(store.get_metric_history(training.info.run_id, "lcr.top1")) == 1
    assert [(m.key, m.value) for m in model.metrics or []] == [("lcr.top1", 0.75)]
    assert model.params == training.data.params
    version = store.get_model_version("autox3d-s", "1")
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
