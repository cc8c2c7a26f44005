"""The pages of MLflow that show networks side by side: a table, and accuracy over cost.

MLflow 3.17 keeps a shared view as a tag of the experiment, and opens it by an address. The format
is its front-end's own, so the view is written anew each time that its address is asked for.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from mlflow import MlflowClient

NAME = "accuracy_over_cost"
TAG = f"mlflow.sharedViewState.{NAME}"
PASSES = 20  # the newest are hidden in it: a tag may have 5000 characters
KIND = "workflowType=machine_learning"  # else the page of generative AI is opened
ORDER = "metrics.`lcr.top1`"  # by time, which is MLflow's order, runs are folded into their parents
COSTS = ({"key": "gmacs", "type": "PARAM"}, {"key": "latency.seconds", "type": "METRIC"})
COLUMNS = ("params.`network`", "params.`gmacs`", ORDER, "metrics.`latency.seconds`")


def addresses(client: MlflowClient, experiment: str, port: str) -> tuple[str, str]:
    """The addresses of the table of all runs and of the charts, on this machine."""
    passes = "attributes.run_name LIKE 'pipeline %'"
    parents = [run.info.run_id for run in client.search_runs([experiment], passes, 1, PASSES)]
    client.set_experiment_tag(experiment, TAG, json.dumps(shared_view(parents)))
    page = f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs?{KIND}"
    table = f"{page}&{urlencode({'orderByKey': ORDER, 'orderByAsc': 'false'})}"
    return table, f"{page}&compareRunsMode=CHART&viewStateShareKey={NAME}"


def shared_view(parents: list[str]) -> dict[str, Any]:
    """What MLflow's front-end keeps of a view: the networks' runs, their columns and charts."""
    section = {"uuid": "cost", "name": "Accuracy over cost", "display": True}
    return {
        "searchFilter": "params.gmacs != ''",
        "orderByKey": ORDER,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(COLUMNS),
        "runsPinned": [],
        "runsHidden": parents,
        "runsHiddenMode": "CUSTOM",
        "runsVisibilityMap": dict.fromkeys(parents, False),
        "hideEmptyCharts": False,
        "groupBy": None,
        "compareRunSections": [section | {"isReordered": False, "deleted": False}],
        "compareRunCharts": [_scatter(cost) for cost in COSTS],
    }


def _scatter(cost: dict[str, str]) -> dict[str, Any]:
    return {
        "uuid": cost["key"],
        "type": "SCATTER",
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        "metricSectionId": "cost",
        "xaxis": cost,
        "yaxis": {"key": "lcr.top1", "type": "METRIC"},
    }
