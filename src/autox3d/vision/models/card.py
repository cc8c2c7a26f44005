"""The card of a trained network: its input, classes and accuracy, and how it was made.

The card is Markdown with YAML front matter; `model.json` has the same content for programs. What
training writes is the same on every machine. A completed card (`autox3d pack`, `push`) has the
front matter that Hugging Face reads: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from autox3d.core import decided
from autox3d.core.scores import CLASSIFY, Crops, Evaluation
from autox3d.core.search_records import Derived
from autox3d.vision.tasks import task as tasks
from autox3d.vision.tasks.task import Task

LICENCE = "apache-2.0"  # of weights trained by this project, the same as of its code
FOREIGN = "other"  # of imported weights: their authors' terms apply
RUNNING = {  # metrics of training: the prefix of their names, and what they were measured on
    "train": "training clips of the last epoch",
    "val": "validation videos, one centre clip each",
}
HUB = {"top1": "accuracy"}  # names of metrics on Hugging Face, where they differ
TAGS = ("video-classification", "autox3d", "x3d", "neural-architecture-search")
TESTS: dict[Crops, str] = {"center": "centre crops", "lcr": "left, centre and right crops"}


def text(model: Mapping[str, Any], completed: bool = False) -> str:
    """The text of a network's README.md from `model`, the content of its model.json."""
    front: dict[str, Any] = {
        "license": model["licence"],
        "library_name": "autox3d",
        "pipeline_tag": "video-classification",
    }
    front |= _for_hub(model) if completed else {}
    front |= {
        "input": {k: v for k, v in model["input"].items() if k != "normalisation"},
        "normalisation": model["input"]["normalisation"],
        "classes": model["classes"],
    }
    front |= {} if completed else {"metrics": model["metrics"]}
    front |= {"how": model["how"]}
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)
    task = tasks.named(model.get("task", CLASSIFY))
    parts = [_opening(model), _input(model["input"]), _accuracy(model["metrics"], task)]
    parts += [_search(model.get("search", {})), _making(model["how"]), _classes(model["classes"])]
    return f"---\n{head}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _for_hub(model: Mapping[str, Any]) -> dict[str, Any]:
    """Tags, data set, metrics and their values, where Hugging Face looks for them."""
    found: dict[str, Any] = {"tags": list(TAGS)}
    data = model.get("dataset", "")
    if data:
        found["datasets"] = [data]
    test = model["metrics"].get("test")
    if not test:
        return found
    shown = tasks.named(model.get("task", CLASSIFY)).shown
    values = [
        {
            "type": HUB.get(metric.name, metric.name),
            "value": test[crops][metric.name],
            "name": f"{metric.label}, {test[crops]['views']} views ({called})",
        }
        for crops, called in TESTS.items()
        for metric in shown
        if crops in test and test[crops][metric.name] is not None
    ]
    on = {"name": data or "videos of its own", "type": data or "own", "split": test["split"]}
    result = {"task": {"type": TAGS[0]}, "dataset": on, "metrics": values}
    found["metrics"] = list(dict.fromkeys(value["type"] for value in values))
    found["model-index"] = [{"name": model["name"], "results": [result]}]
    return found


def tested(result: Evaluation) -> dict[str, Any]:
    """The test metrics for a model card, from the record of stage `evaluate`."""
    names = [metric.name for metric in tasks.named(result.task).shown]
    test: dict[str, Any] = {"split": result.split, "videos": result.videos}
    for crops in TESTS:
        if (score := result.score(crops)) is None:
            continue
        test[crops] = {"views": score.views, **{name: score.metrics[name] for name in names}}
    return {"test": test}


def searched(result: Derived) -> dict[str, Any]:
    """What decided the network's choices for a model card, from the record of stage `derive`."""
    rows = decided.open_decisions(result.found.choices)
    choices = [
        {"group": row.group, "column": row.column, "taken": row.taken, "by": row.by, "t": row.t}
        for row in rows
    ]
    line = decided.line(result)
    return {"search": {"line": line, "threshold": result.threshold, "choices": choices}}


def _opening(model: Mapping[str, Any]) -> str:
    count, name = len(model["classes"]), model["name"]
    does = f"Tells {count} classes of video apart"
    use = f"""```python
import autox3d

network = autox3d.load("{name}")  # this folder
network.predict("video.mp4").top(5)
```"""
    task = tasks.named(model.get("task", CLASSIFY))
    if task.several:
        does = f"Says which of {count} classes occur in a video, each with a score of its own"
    if task.boxed:
        does = f"Says what somebody in a box of a video does, of {count} classes"
        use = f"```sh\nautox3d predict video.mp4 --weights {name} --boxes boxes.csv\n```"
    return f"""# {model["name"]}

{does}; made with autox3d. Licence: \
{model["licence"]}; the data it was trained on may set terms of its own.

{use}

Files: `weights.safetensors`, `genotype.yaml` (the architecture), `model.json` (this card for \
programs)."""


def _input(takes: Mapping[str, Any]) -> str:
    scale = takes["normalisation"]
    return f"""## Input

{takes["frames"]} RGB frames, every {takes["stride"]}th of 30 a second, as {takes["layout"]}; \
shorter side {takes["short"]} px, trained on crops of {takes["crop"]} px; \
(x / 255 - {scale["mean"]}) / {scale["std"]}."""


def _accuracy(metrics: Mapping[str, Any], task: Task) -> str:
    """A table with a column for each metric that the task shows.

    The rows from training have only the headline metric.
    """
    empty = " |" * (len(task.shown) - 1)
    rows = []
    for prefix, measured_on in RUNNING.items():
        value = metrics.get(f"{prefix}_{task.headline.name}")
        if value is not None:
            rows.append(f"| {measured_on} | {task.headline.cell(value)} |{empty}")
    if test := metrics.get("test"):
        for crops, called in TESTS.items():
            score = test[crops]
            on = f"{test['videos']} videos of `{test['split']}`, {score['views']} views ({called})"
            values = [score[metric.name] for metric in task.shown]
            cells = [
                "" if x is None else m.cell(x) for m, x in zip(task.shown, values, strict=True)
            ]
            rows.append(f"| {on} | {' | '.join(cells)} |")
    heads = " | ".join(metric.head for metric in task.shown)
    head = f"## Accuracy\n\n| on | {heads} |\n|---|{'---:|' * len(task.shown)}\n"
    return head + "\n".join(rows) if rows else ""


def _search(search: Mapping[str, Any]) -> str:
    """How sure the search was of each choice; nothing for a network that was not searched."""
    if not search:
        return ""
    least = search["threshold"]
    known = "" if least is None else f" Clips decide from t {least:.2f} on."
    rows = [
        f"| {row['group']} | {row['column']} | {row['taken']} | {row['by'] or '-'} | "
        f"{'-' if row['t'] is None else format(row['t'], '.1f')} |"
        for row in search["choices"]
    ]
    head = "| group | choice | taken | decided by | t |\n|---|---|---|---|---:|\n"
    table = "\n\n" + head + "\n".join(rows) if rows else ""
    line = f"{search['line'][:1].upper()}{search['line'][1:]}."
    return f"## How it was found\n\n{line} {decided.NOT_A_CONFIDENCE}{known}{table}"


def _making(how: Mapping[str, Any]) -> str:
    facts = {key: value for key, value in how.items() if key not in ("params", "made")}
    facts |= how.get("made", {}) | how.get("params", {})  # the seed is in both
    rows = [f"- {key}: {value}" for key, value in facts.items()]
    return "## How it was made\n\n" + "\n".join(rows) if rows else ""


def _classes(names: list[str]) -> str:
    return "## Classes\n\n" + "\n".join(f"{n}. {name}" for n, name in enumerate(names))
