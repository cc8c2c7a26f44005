"""Trained networks in MLflow: a model that can be served, and its test metrics.

A network is tested by other stages than the one that trained it, and records may arrive in any
order. So a run that trained and a run that tested are found by the fingerprint of the weights, and
whichever arrives last copies the metrics.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric, Run, RunTag
from mlflow.exceptions import MlflowException

from autox3d.runtime import tracking
from autox3d.runtime.tracking import Record

NEWEST = "newest"  # the alias of the version that was trained last; MLflow reserves "latest"
MADE = "made"  # a model's and a version's tag: when, in ms
LONGEST = 5000  # characters of a description


def register(client: MlflowClient, run_id: str, folder: Path, record: Record) -> None:
    """Makes the folder a model of the run and a version of a registered model.

    The alias marks the version that was trained last.
    """
    name, made = record["name"], str(record["time"])
    model = _model(client, run_id, folder, record)
    if fingerprint := record.get("fingerprint"):
        client.log_batch(run_id, tags=[RunTag(tracking.MADE, fingerprint)])
    with unless_there():
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    if not any(v.run_id == run_id and v.tags.get(MADE) == made for v in versions):
        new = client.create_model_version(
            name,
            f"models:/{model.model_id}",
            run_id,
            {MADE: made},
            description=_card(folder),
            model_id=model.model_id,
        )
        versions += [new]
    last = max(versions, key=lambda version: int(version.tags.get(MADE, "0")))
    client.set_registered_model_alias(name, NEWEST, last.version)


def join(client: MlflowClient, experiment: str, fingerprint: str) -> None:
    """Copies the metrics of all tests of these weights to the runs that trained them."""
    if not fingerprint:
        return
    asked = f"tags.`{tracking.MADE}` = '{fingerprint}'"
    for trained in client.search_runs([experiment], asked):
        run_id = trained.info.run_id
        there = {model.model_id: model for model in _models(client, experiment, run_id)}
        models = [key for key, one in there.items() if one.tags.get(tracking.MADE) == fingerprint]
        for test in client.search_runs([experiment], f"tags.{tracking.USES} = '{fingerprint}'"):
            for metric in _last(client, test):
                _copy(client, run_id, metric, [key for key in models if _lacks(there[key], metric)])


def _copy(client: MlflowClient, run_id: str, metric: Metric, models: list[str]) -> None:
    """Logs the metric to the run, and to models that do not have it."""
    at = (metric.key, metric.value, metric.timestamp, metric.step)
    copies = [Metric(*at, model_id=model, run_id=run_id) for model in models]
    client.log_batch(run_id, metrics=copies or [Metric(*at)])


def _last(client: MlflowClient, run: Run) -> list[Metric]:
    return [client.get_metric_history(run.info.run_id, key)[-1] for key in run.data.metrics]


def _lacks(model: LoggedModel, metric: Metric) -> bool:
    there = {(m.key, m.step, m.timestamp, m.value) for m in model.metrics or []}
    return (metric.key, metric.step, metric.timestamp, metric.value) not in there


def _models(client: MlflowClient, experiment: str, run_id: str) -> list[LoggedModel]:
    found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    return [client.get_logged_model(model.model_id) for model in found]


def _model(client: MlflowClient, run_id: str, folder: Path, record: Record) -> LoggedModel:
    """The run's model of this record, complete."""
    run, made = client.get_run(run_id), str(record["time"])
    experiment = run.info.experiment_id
    found = [m for m in _models(client, experiment, run_id) if m.tags.get(MADE) == made]
    if not found:
        tags = {MADE: made, "mlflow.note.content": _card(folder)}
        tags |= {tracking.MADE: record.get("fingerprint", "")}
        name = re.sub(r"[^\w-]", "_", record["name"])
        known = {"source_run_id": run_id, "tags": tags, "params": run.data.params}
        found = [client.create_logged_model(experiment, name, **known)]
    model = found[0]
    if model.status != "READY":  # new, or an earlier attempt was cut off
        from autox3d.runtime.served_model import pack  # imports pandas, which other runs need not

        with tempfile.TemporaryDirectory() as scratch:
            pack(folder, Path(scratch, "model"))
            client.log_model_artifacts(model.model_id, str(Path(scratch, "model")))
        model = client.finalize_logged_model(model.model_id, "READY")
    outputs = run.outputs.model_outputs if run.outputs else []
    if not any(one.model_id == model.model_id for one in outputs):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    return model


def _card(folder: Path) -> str:
    """The model card without its front matter."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip()[:LONGEST]


@contextmanager
def unless_there() -> Iterator[None]:
    """Ignores that another job has just created the same thing."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
