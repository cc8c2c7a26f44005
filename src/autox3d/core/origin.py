"""Which stage wrote a file under results/, so that an error can say what to run again."""

from __future__ import annotations

from pathlib import Path

RESULTS = "results"
PER_NETWORK = ("train", "evaluate", "latency", "explain")  # folders with one file a network
STUDIES = "studies"  # the folder with two files a study
ONE_STAGE = ("search", "control", "derive")  # folders that one stage fills
OTHERS = {"data": "index", "alpha": "search", "genotype": "derive"}


def stage_of(path: Path) -> str:
    """results/evaluate/s.json -> `evaluate@s`; results/warmup_made.json -> `warmup`."""
    name, folder = path.stem.removesuffix("_made").removesuffix("_confusion"), path.parent.name
    if folder == STUDIES:
        return f"study@{name}"
    if folder in ONE_STAGE:
        return folder
    if (
        folder in PER_NETWORK or path.parent.parent.name == RESULTS
    ):  # a folder is named by its stage
        return f"{folder}@{name}"
    return OTHERS.get(name, name)


def run_again(path: Path) -> str:
    """The way out of a damaged file."""
    return f"Run `{stage_of(path)}` again."
