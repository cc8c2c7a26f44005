"""results/expand/ as the stages leave it: real steps of X2D, with answers that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from autox3d.core import schema
from autox3d.core.records import Provenance
from autox3d.core.values import NO_EXPANSION, Axis, Expand
from autox3d.sizing import steps
from autox3d.sizing.choice import CandidateRecord, StepChoice, Trained
from autox3d.sizing.expansion import priced
from autox3d.sizing.steps import ExpansionStep
from autox3d.vision.arch.genotype import Genotype
from support import ARCHITECTURES

CLASSES, VIDEOS = 8, 96
BASE = Genotype.load(ARCHITECTURES / "x2d.yaml")
PRICE = priced("gmacs", CLASSES)
MADE = Provenance(commit="c", device="d", processes=2, hours=0.25, torch="2", python="3")
ASKED = NO_EXPANSION | {
    "base": {"x2d": {"of": "architectures/x2d.yaml", "stride": 16}},
    "path": {"step1": {"after": "x2d"}, "step2": {"after": "step1"}},
    "axes": ["fast", "temporal", "depth", "bottleneck"],
    "seeds": [1, 2],
    "candidate": "s",
    "targets": {"small": 0.06, "large": 0.081},
    "contract": ["last", "spatial", "bottleneck"],  # of which spatial is the base's already
}
SHARES = {  # of right answers, by step and axis; others guess
    "step1": {"fast": 0.2, "bottleneck": 0.6},
    "step2": {"depth": 0.82, "fast": 0.8},
    "small": {"last": 0.7, "bottleneck": 0.6},
}


def make(root: Path, asked: dict[str, Any] = ASKED) -> Path:
    """Adds the section `expand` to params.yaml and fills results/expand; returns that folder."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump(params | {"expand": asked}, sort_keys=False))
    expand = schema.check(asked, Expand, root / "params.yaml", "expand")
    folder = root / "results/expand"
    (folder / "made").mkdir(parents=True)
    choices = [steps.begin(BASE, "x2d", 16, "gmacs", PRICE, CLASSES)]
    choices[0].write(folder / "choices/x2d.json")
    for name in expand.path:
        step, networks = steps.grow(BASE, choices[-1], name, expand, PRICE, CLASSES)
        steps.write(folder / "steps" / name, step, networks)
        chosen = _chosen(folder, step, choices[-1].gaps, expand, list(expand.axes))
        choices.append(chosen)
        chosen.write(folder / f"choices/{name}.json")
    for name in expand.targets:
        step, networks = steps.contract(BASE, choices, name, expand, PRICE, CLASSES)
        steps.write(folder / "targets" / name, step, networks)
        chosen = _chosen(folder, step, (), expand, list(expand.contract))
        chosen.write(folder / f"selected/{name}.json")
    return folder


def _chosen(
    folder: Path, step: ExpansionStep, gaps: tuple[float, ...], asked: Expand, axes: list[str]
) -> StepChoice:
    """The choice of a step whose candidates all have been trained, and their records."""
    records = {axis: [_record(step, axis, seed) for seed in asked.seeds] for axis in axes}
    for axis, runs in records.items():
        for seed, record in zip(asked.seeds, runs, strict=True):
            record.write(folder / f"trained/{step.step}/{axis}_{seed}.json")
            MADE.write(folder / f"made/{step.step}_{axis}_{seed}.json")
    return steps.choose(step, gaps, records)


def _record(step: ExpansionStep, axis: Axis | str, seed: int) -> CandidateRecord:
    why = step.absent.get(axis, "alone" if len(step.candidates) == 1 else "")
    if why:
        return CandidateRecord(trained=None, why=why)
    share = SHARES.get(step.step, {}).get(axis, 1 / CLASSES)
    random = np.random.default_rng([seed, *f"{step.step}{axis}".encode()])
    hits = tuple(bool(hit) for hit in random.random(VIDEOS) < share)
    value = sum(hits) / VIDEOS
    trained = Trained(seed=seed, metric="top1", value=value, training=value + 0.05, hits=hits)
    return CandidateRecord(trained=trained, why="")


def content(path: Path) -> dict[str, Any]:
    """A JSON file of the folder."""
    return json.loads(path.read_text())
