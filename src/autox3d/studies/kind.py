"""The kinds of studies: one file each beside this one, with a function and its settings.

    record = kind_of(params, "beta").run(lab, params.studies["beta"])

A new kind is one new file that defines a `KIND`. `autox3d.reporting.studies` shows its numbers as a
table; a figure can be added there.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.core.scores import Metrics
from autox3d.core.search_records import StudyRecord, StudyRow
from autox3d.core.settings import PARAMS, Params, Study
from autox3d.search.space import Draw
from autox3d.studies.lab import Lab, Searched
from autox3d.training.run import SCRATCH

NONE: Mapping[str, float | None] = MappingProxyType({})
SHARED = {"__init__", "kind", "lab"}  # files of this folder that do not define a kind


class Kind(NamedTuple):
    """One kind of study: its function, and the settings of `Study` that it uses."""

    run: Callable[[Lab, Study], StudyRecord]
    values: str = "empty"  # description of the setting `values`, for messages
    counts: Container[int] = (0,)  # allowed numbers of values
    draws: bool = False  # whether it samples `networks` random networks
    trains: Literal["never", "if asked", "always"] = "never"  # whether it trains networks
    genotypes: bool = False  # whether it trains given genotypes

    def check(self, params: Params, name: str, path: Path = PARAMS) -> None:
        """Checks the settings of the study `name` before any work.

        Raises:
            Refused: a setting that this kind needs is missing, or one that it ignores is given.
        """
        study = params.studies[name]
        values, networks, train = list(study.values), study.networks, study.train
        fault = None
        if len(values) not in self.counts:
            fault = f"values' must be {self.values}, not {values}"
        elif len(set(values)) < len(values):
            fault = f"values' has a number twice: {values}"
        elif self.draws and networks < 2:
            fault = f"networks' must be 2 or more, not {networks}"
        elif not self.draws and networks:
            fault = f"networks' must be 0, not {networks}: this kind samples none"
        elif not self.genotypes and study.genotypes != SCRATCH:
            fault = f"genotypes' must be {SCRATCH}, not {study.genotypes}: this kind reads none"
        elif self.genotypes and study.genotypes == SCRATCH:
            fault = f"genotypes' must be a folder of genotypes, not {SCRATCH}"
        elif self.trains == "never" and train is not None:
            fault = f"train' must be null, not '{train}': this kind trains no network alone"
        elif self.trains == "always" and train is None:
            fault = "train' must name an entry of 'train', not null"
        if fault:
            raise Refused(f"{path}: 'studies.{name}.{fault} (kind '{study.kind}').")
        recipe = settings.named(params.train, "train", train, path) if train else None
        if recipe and recipe.init != SCRATCH:
            raise Refused(
                f"{path}: 'train.{train}.init' is {recipe.init}, but a study trains from scratch. "
                f"Set it to {SCRATCH} in 'studies.{name}.overrides'."
            )


def kind_of(params: Params, study: str, path: Path = PARAMS) -> Kind:
    """Imports the kind of a study, and checks the study's settings.

    Raises:
        Refused: the kind is unknown, or does not fit the settings.
    """
    name, known = params.studies[study].kind, sorted(names())
    if name not in known:
        raise Refused(f"{path}: 'studies.{study}.kind' is '{name}'. Known: {', '.join(known)}.")
    kind: Kind = importlib.import_module(f"autox3d.studies.{name}").KIND
    kind.check(params, study, path)
    return kind


def names() -> set[str]:
    """The names of all kinds: the files of this folder that define one."""
    return {path.stem for path in Path(__file__).parent.glob("*.py")} - SHARED


def ended(name: str, result: Searched, numbers: Metrics) -> StudyRow:
    """Makes the row of a search: the given numbers, and its final cost, probability and loss."""
    last, prior = result.epochs[-1], result.prior
    final: Metrics = {
        "gmacs": last["mode_gmacs"],
        "probability": math.exp(prior.log_prob([prior.mode()]).item()),
        "expected_gmacs": last["expected_gmacs"],
        "loss": last["loss"],
    }
    return StudyRow(name=name, numbers=numbers | final, series={"gmacs by epoch": result.costs})


def alone(lab: Lab, study: Study, name: str, draw: Draw) -> StudyRow:
    """Makes the row of a network: its cost, and its headline if the study trains networks."""
    genotype = lab.space.genotype(draw, name.replace(", ", "_").replace(" ", "_"))
    numbers: Metrics = {"gmacs": lab.costs.of(draw)}
    if study.train is not None:
        numbers |= lab.train(genotype, study.train)
    return StudyRow(name=name, numbers=numbers, series={})


def record(
    lab: Lab, study: Study, rows: Sequence[StudyRow], numbers: Mapping[str, float | None] = NONE
) -> StudyRecord:
    """Makes the record of a study from its rows and the numbers of the study as a whole."""
    return StudyRecord(
        study=lab.study,
        kind=study.kind,
        space=lab.space.name,
        task=lab.task,
        asked=asdict(study) | {"values": list(study.values)},
        numbers=dict(numbers),
        rows=tuple(rows),
    )
