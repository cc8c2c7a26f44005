"""The card of a trained network: what it takes, tells and is worth, and how it was made.

Markdown whose front matter programs read; `model.json` says the same to programs without YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

LICENCE = "apache-2.0"  # of weights that this project trained, as its own code
FOREIGN = "other"  # of imported ones: what their makers say holds
MADE = ("commit", "device", "processes", "hours", "torch", "python", "seed")
METRICS = {  # of model.json, and what they are called
    "train_top1": "training clips of the last epoch",
    "val_top1": "validation videos, one centre clip each",
}
TESTS = {"center": "centre crops", "lcr": "left, centre and right crops"}


def text(model: Mapping[str, Any]) -> str:
    """README.md of the network that `model`, the content of model.json, describes."""
    front = {
        "license": model["licence"],
        "library_name": "autox3d",
        "pipeline_tag": "video-classification",
        "input": {k: v for k, v in model["input"].items() if k != "normalisation"},
        "normalisation": model["input"]["normalisation"],
        "classes": model["classes"],
        "metrics": model["metrics"],
        "how": model["how"],
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)
    parts = [_opening(model), _input(model["input"]), _accuracy(model["metrics"])]
    parts += [_making(model["how"]), _classes(model["classes"])]
    return f"---\n{head}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def tested(result: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a card from what stage `evaluate` wrote."""
    found = {
        crops: {key: result[crops][key] for key in ("views", "top1", "top5")} for crops in TESTS
    }
    return {"test": {"split": result["split"], "videos": result["videos"], **found}}


def _opening(model: Mapping[str, Any]) -> str:
    return f"""# {model["name"]}

Tells {len(model["classes"])} classes of video apart; made with autox3d. Licence: \
{model["licence"]}; the data it was trained on may set terms of its own.

```python
import autox3d

network = autox3d.load("{model["name"]}")  # this folder
network.predict("video.mp4").top(5)
```

Files: `weights.safetensors`, `genotype.yaml` (the architecture), `model.json` (this card for \
programs)."""


def _input(takes: Mapping[str, Any]) -> str:
    scale = takes["normalisation"]
    return f"""## Input

{takes["frames"]} RGB frames, every {takes["stride"]}th of 30 a second, as {takes["layout"]}; \
shorter side {takes["short"]} px, trained on crops of {takes["crop"]} px; \
(x / 255 - {scale["mean"]}) / {scale["std"]}."""


def _accuracy(metrics: Mapping[str, Any]) -> str:
    known = [key for key in METRICS if metrics.get(key) is not None]
    rows = [f"| {METRICS[key]} | {_percent(metrics[key])} | |" for key in known]
    if test := metrics.get("test"):
        for crops, called in TESTS.items():
            of = test[crops]
            on = f"{test['videos']} videos of `{test['split']}`, {of['views']} views ({called})"
            rows.append(f"| {on} | {_percent(of['top1'])} | {_percent(of['top5'])} |")
    head = "## Accuracy\n\n| on | top-1, % | top-5, % |\n|---|---:|---:|\n"
    return head + "\n".join(rows) if rows else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _making(how: Mapping[str, Any]) -> str:
    rows = [f"- {key}: {how[key]}" for key in how if key not in ("params", "made")]
    rows += [f"- {key}: {how['made'][key]}" for key in MADE if key in how.get("made", {})]
    rows += [f"- {key}: {value}" for key, value in how.get("params", {}).items()]
    return "## How it was made\n\n" + "\n".join(rows) if rows else ""


def _classes(names: list[str]) -> str:
    return "## Classes\n\n" + "\n".join(f"{n}. {name}" for n, name in enumerate(names))
