"""The stage that wrote a file under results/, so that an error can name the one to run again."""

from __future__ import annotations

import itertools
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
EXPANDED = {"choices": "choose", "selected": "select", "steps": "grow", "targets": "contract"}
ONE_STAGE = ("search", "control", "derive")  # folders that one stage fills
PARTS = "parts"  # the folder with a folder like `results` for each part of a search
OTHERS = {"data": "index", "alpha": "search", "genotype": "derive"}


def stage_of(path: Path) -> str:
    """Example: results/evaluate/s.json -> `evaluate@s`; results/warmup_made.json -> `warmup`."""
    name, folder = path.stem.removesuffix("_made").removesuffix("_confusion"), path.parent.name
    if folder == STUDIES:
        return f"study@{name}"
    if (RESULTS, "expand") in itertools.pairwise(path.parts):
        return _of_expansion(path, name)
    if (RESULTS, PARTS) in itertools.pairwise(path.parts):
        return _of_part(path, name)
    if folder in ONE_STAGE:
        return folder
    if folder == "pages":
        return f"page@{name}"
    if folder in PER_NETWORK or path.parent.parent.name == RESULTS:  # a stage names its folder
        return f"{folder}@{name}"
    return OTHERS.get(name, name)


def _of_expansion(path: Path, name: str) -> str:
    """Example: results/expand/steps/step1/step.json -> `grow@step1`."""
    inner = path.parts[path.parts.index("expand") + 1 : -1]
    kind, of = inner[0] if inner else "", inner[1] if len(inner) > 1 else name
    if kind == "made":
        of, *rest = name.rsplit("_", 2)
        name = "_".join(rest)
    if kind in ("made", "trained"):
        stage = "candidate" if of.startswith("step") else "reduced"
        return f"{stage}@{of}-{name.replace('_', '-')}"
    if kind == "choices" and not of.startswith("step"):
        return f"begin@{of}"
    return f"{EXPANDED[kind]}@{of}" if kind in EXPANDED else "begin"


def _of_part(path: Path, name: str) -> str:
    """Example: results/parts/sparse/search/trace.csv -> `part_search@sparse`."""
    part, *inner = path.parts[path.parts.index(PARTS) + 1 : -1]
    if name == "space":
        return f"part@{part}"
    return f"part_{inner[0] if inner else name}@{part}"


def run_again(path: Path) -> str:
    """How to fix a damaged file, as the last sentence of an error message."""
    return f"Run `{stage_of(path)}` again."
