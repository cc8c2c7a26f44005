"""`make ui` prints addresses that open the table of runs and the charts of accuracy over cost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient
from support import ROOT
from support.mlflow_server import free_port

from autox3d.runtime.tracking import KEY, SPOOL, Record
from autox3d.runtime.view import COSTS, PASSES, SCORES, TAG, addresses, columns
from autox3d.vision.tasks import task as tasks

pytestmark = pytest.mark.slow
PASS = {"key": "0f" * 16, "name": "pipeline 0123456, abcdef"}
NETWORKS = {"s": (0.75, 2.9), "m": (0.81, 4.7)}  # lcr.top1 and G multiply-adds


class Ui(NamedTuple):
    """`make ui` while it runs."""

    port: int
    table: str
    charts: str

    def ask(self, path: str, **body: Any) -> Any:
        """MLflow's REST interface."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/2.0/mlflow/{path}",
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)


def journal(folder: Path, name: str, *records: Record, **params: str) -> None:
    """Of a run that has ended and was not sent."""
    header = {"key": name, "name": name, "experiment": "autox3d", "pass": PASS, "params": params}
    lines = [header | {"tags": {KEY: name}}, *records, {"end": "FINISHED"}]
    text = "".join(json.dumps(line | {"time": 1000}) + "\n" for line in lines)
    (folder / f"{name}-1.jsonl").write_text(text)


@pytest.fixture(scope="module")
def ui(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """In a clone where two networks were trained while no store could be reached."""
    folder, port = tmp_path_factory.mktemp("clone"), free_port()
    shutil.copy(empty_store, folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / SPOOL).mkdir()
    for network, (top1, gmacs) in NETWORKS.items():
        metrics = {"step": 0, "metrics": {"lcr.top1": top1, "latency.seconds": gmacs / 10}}
        journal(folder / SPOOL, f"train@{network}", metrics, network=network, gmacs=str(gmacs))
    journal(folder / SPOOL, "search", lr="0.1")
    words = ["make", "-f", ROOT / "Makefile", "-o", ".venv/.ready", "ui", f"PORT={port}"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    with (folder / "said").open("wb") as said:
        make = subprocess.Popen(
            words,
            cwd=folder,
            env=env | {"PYTHONPATH": f"{ROOT / 'src'}"},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        text = (folder / "said").read_text()
        addresses = re.findall(r"(?m)^(?:runs|accuracy over cost): (http://\S+)$", text)
        assert len(addresses) == 2, text
        yield Ui(port, *addresses)
    finally:
        os.killpg(make.pid, signal.SIGKILL)
        make.wait(30)


def shared(ui: Ui, address: str) -> tuple[str, Any]:
    """The experiment and the view that an address asks for, as MLflow's page fetches them."""
    found = re.search(r"experiments/(\d+)/.*ShareKey=(\w+)", address)
    assert found
    experiment, name = found.groups()
    tags = ui.ask(f"experiments/get?experiment_id={experiment}")["experiment"]["tags"]
    (view,) = (tag["value"] for tag in tags if tag["key"] == f"mlflow.sharedViewState.{name}")
    return experiment, json.loads(view)


def test_the_addresses_have_the_port_and_the_table_of_trainings(ui: Ui) -> None:
    """Not the page of generative AI, which MLflow opens by itself."""
    place = rf"http://127\.0\.0\.1:{ui.port}/#/experiments/\d+/runs\?workflowType=machine_learning"
    assert re.match(rf"{place}&orderByKey=", ui.table)
    assert re.fullmatch(rf"{place}&compareRunsMode=CHART&viewStateShareKey=\w+", ui.charts)
    with urllib.request.urlopen(ui.table, timeout=20) as page:
        assert b"MLflow" in page.read()


def test_the_table_has_every_run_in_an_order_that_unfolds_the_passes(ui: Ui) -> None:
    """The networks first, the most accurate at the top."""
    asked = parse_qs(urlsplit(urlsplit(ui.table).fragment).query)
    order = f"{asked['orderByKey'][0]} {'ASC' if asked['orderByAsc'] == ['true'] else 'DESC'}"
    found = ui.ask("runs/search", experiment_ids=["1"], order_by=[order])["runs"]
    names = [run["info"]["run_name"] for run in found]

    assert names[:2] == ["train@m", "train@s"]
    assert set(names[2:]) == {"search", PASS["name"]}


def test_the_view_has_the_trained_networks_best_first(ui: Ui) -> None:
    """By its own filter and order, as the server understands them: no search, no pass."""
    experiment, view = shared(ui, ui.charts)
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    asked = {"filter": view["searchFilter"], "order_by": [order]}
    found = ui.ask("runs/search", experiment_ids=[experiment], **asked)["runs"]
    everything = ui.ask("runs/search", experiment_ids=[experiment])["runs"]

    assert [run["info"]["run_name"] for run in found] == ["train@m", "train@s"]
    (whole,) = (run for run in everything if run["info"]["run_name"] == PASS["name"])
    assert len(everything) == 4
    assert view["runsHidden"] == [whole["info"]["run_id"]]


def test_every_axis_and_column_is_logged(ui: Ui) -> None:
    """Under the very names that a training has."""
    experiment, view = shared(ui, ui.charts)
    (run, _) = ui.ask("runs/search", experiment_ids=[experiment], filter=view["searchFilter"])[
        "runs"
    ]
    there = {
        f"{kind}.`{one['key']}`" for kind in ("params", "metrics") for one in run["data"][kind]
    }

    assert set(columns("lcr.top1")) == set(view["selectedColumns"]) <= there
    assert [chart["xaxis"] for chart in view["compareRunCharts"]] == list(COSTS)
    for chart in view["compareRunCharts"]:
        for axis in (chart["xaxis"], chart["yaxis"]):
            assert f"{axis['type'].lower()}s.`{axis['key']}`" in there


def test_every_task_has_its_headline_in_the_view(empty_store: Path, tmp_path: Path) -> None:
    """That of the network tested last, by three crops or one; before a test there is one, too."""
    headlines = [tasks.named(name).headline.name for name in sorted(tasks.names())]
    assert set(SCORES) == {f"{crops}.{name}" for name in headlines for crops in ("lcr", "center")}
    shutil.copy(empty_store, tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("autox3d")
    assert "lcr.top1" in addresses(client, experiment, "5000")[0]
    for number, score in enumerate(SCORES, 1):
        run = client.create_run(experiment, number).info.run_id
        client.log_param(run, "gmacs", "2.9")
        client.log_metric(run, f"{score.partition('.')[0]}.loss", 1.0)
        client.log_metric(run, score, 0.5)
        client.create_run(experiment, 100 + number)  # of another stage
        assert f"%60{score}%60" in addresses(client, experiment, "5000")[0]
        view = json.loads(client.get_experiment(experiment).tags[TAG])
        assert {chart["yaxis"]["key"] for chart in view["compareRunCharts"]} == {score}


def test_many_passes_fit_into_the_view(empty_store: Path, tmp_path: Path) -> None:
    """MLflow refuses a tag of more than 5000 characters; the newest passes are in."""
    shutil.copy(empty_store, tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("autox3d")
    for number in range(PASSES + 4):
        client.create_run(experiment, number, run_name=f"pipeline {number}")
    last = client.create_run(experiment, PASSES + 4, run_name="pipeline last")
    addresses(client, experiment, "5000")
    tags = client.get_experiment(experiment).tags
    (view,) = (json.loads(value) for key, value in tags.items() if "sharedViewState" in key)

    assert len(view["runsHidden"]) == PASSES
    assert last.info.run_id in view["runsHidden"]


@pytest.mark.system
@pytest.mark.parametrize("page", ["table", "charts"])
def test_the_page_shows_them(ui: Ui, page: str) -> None:
    """As Chromium draws it."""
    with tempfile.TemporaryDirectory() as scratch:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={scratch}"]
        flags += ["--virtual-time-budget=60000", "--window-size=1280,900", "--dump-dom"]
        command = ["chromium", *flags, getattr(ui, page)]
        seen = subprocess.run(command, capture_output=True, text=True, timeout=200).stdout
    words = {
        "table": ["search", "train@s", PASS["name"]],
        "charts": ["Accuracy over cost", "gmacs"],
    }

    assert "Welcome to MLflow" not in seen
    assert [word for word in words[page] if word not in seen] == []
