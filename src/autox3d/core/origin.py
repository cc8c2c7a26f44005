"""The stage that wrote a file under results/, so that an error can name the one to run again."""

from __future__ import annotations

from pathlib import Path

RESULTS = "results"
PER_NETWORK = (
    "train",
    "evaluate",
    "latency",
    "summary",
    "explain",
)  # folders with one file per network
STUDIES = "studies"  # the folder with two files per study
ONE_STAGE = ("search", "control", "derive")  # folders that one stage fills
OTHERS = {"data": "index", "alpha": "search", "genotype": "derive"}


def stage_of(path: Path) -> str:
    """Example: results/evaluate/s.json -> `evaluate@s`; results/warmup_made.json -> `warmup`."""
    name, folder = path.stem.removesuffix("_made").removesuffix("_confusion"), path.parent.name
    if folder == STUDIES:
        return f"study@{name}"
    if folder in ONE_STAGE:
        return folder
    if folder == "pages":
        return f"page@{name}"
    if folder in PER_NETWORK or path.parent.parent.name == RESULTS:  # a stage names its folder
        return f"{folder}@{name}"
    return OTHERS.get(name, name)


def run_again(path: Path) -> str:
    """How to fix a damaged file, as the last sentence of an error message."""
    return f"Run `{stage_of(path)}` again."
