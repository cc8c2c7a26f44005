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
SCORES = ("lcr.top1", "center.top1", "lcr.map", "center.map")  # the headline of each task
COSTS = ({"key": "gmacs", "type": "PARAM"}, {"key": "latency.seconds", "type": "METRIC"})
NETWORKS = "params.gmacs != ''"  # the runs of networks


def addresses(client: MlflowClient, experiment: str, port: str) -> tuple[str, str]:
    """The addresses of the table of all runs and of the charts, on this machine."""
    passes = "attributes.run_name LIKE 'pipeline %'"
    parents = [run.info.run_id for run in client.search_runs([experiment], passes, 1, PASSES)]
    score = _score(client, experiment)
    client.set_experiment_tag(experiment, TAG, json.dumps(shared_view(parents, score)))
    page = f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs?{KIND}"
    table = f"{page}&{urlencode({'orderByKey': order(score), 'orderByAsc': 'false'})}"
    return table, f"{page}&compareRunsMode=CHART&viewStateShareKey={NAME}"


def order(score: str) -> str:
    """The column to sort by: by time, MLflow's order, runs are folded into their parents."""
    return f"metrics.`{score}`"


def columns(score: str) -> list[str]:
    """The columns of a table of networks."""
    return ["params.`network`", "params.`gmacs`", order(score), "metrics.`latency.seconds`"]


def _score(client: MlflowClient, experiment: str) -> str:
    """The headline of the network that was tested last; that of three crops before a test."""
    for run in client.search_runs([experiment], NETWORKS):
        if found := next((score for score in SCORES if score in run.data.metrics), None):
            return found
    return SCORES[0]


def shared_view(parents: list[str], score: str) -> dict[str, Any]:
    """What MLflow's front-end keeps of a view: the networks' runs, their columns and charts."""
    section = {"uuid": "cost", "name": "Accuracy over cost", "display": True}
    return {
        "searchFilter": NETWORKS,
        "orderByKey": order(score),
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns(score),
        "runsPinned": [],
        "runsHidden": parents,
        "runsHiddenMode": "CUSTOM",
        "runsVisibilityMap": dict.fromkeys(parents, False),
        "hideEmptyCharts": False,
        "groupBy": None,
        "compareRunSections": [section | {"isReordered": False, "deleted": False}],
        "compareRunCharts": [_scatter(cost, score) for cost in COSTS],
    }


def _scatter(cost: dict[str, str], score: str) -> dict[str, Any]:
    return {
        "uuid": cost["key"],
        "type": "SCATTER",
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        "metricSectionId": "cost",
        "xaxis": cost,
        "yaxis": {"key": score, "type": "METRIC"},
    }
