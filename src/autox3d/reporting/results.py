"""What the stages left under results/, read as it is: a missing file is None, a wrong one refused.

Accuracies are shares in [0, 1]; costs are G multiply-adds of one view.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from autox3d.core import schema
from autox3d.core.errors import Refused
from autox3d.core.schema import table as checked
from autox3d.vision.arch.genotype import Genotype

EVALUATION = ("net", "split", "rule", "videos", "params", "gmacs_center", "gmacs_lcr")
EVALUATION += ("center", "lcr", "k_clips", "per_class")
PUBLISHED = Path(__file__).with_name("published.yaml")


@checked
class Published:
    """One network as a paper prints it, Kinetics-400."""

    network: str
    views: int
    top1: float  # percent
    gmacs: float  # a view
    params_m: float  # millions
    source: str


@checked
class PublishedTable:
    """The file of them."""

    networks: tuple[Published, ...]


class Network(NamedTuple):
    """One network and what is known of it."""

    name: str  # of its files
    found: bool  # by the search; else a baseline
    genotype: Genotype | None
    curve: pd.DataFrame | None  # epoch, lr, loss, top1, perhaps val_top1
    made: dict[str, Any] | None  # commit, device, hours of its training
    evaluation: dict[str, Any] | None
    confusion: pd.DataFrame | None  # actual, predicted: a row a video
    latency: dict[str, Any] | None = None  # seconds of a video's views: batched, one_by_one
    explained: dict[str, Any] | None = None  # clips, lit where it looked


class Results(NamedTuple):
    """Everything that the report can show."""

    folder: Path
    settings: Mapping[str, Any]  # params.yaml
    data: dict[str, Any] | None
    warmup: pd.DataFrame | None
    trace: pd.DataFrame | None
    alpha: dict[str, Any] | None
    found: Genotype | None
    derived: dict[str, Any] | None
    control: pd.DataFrame | None  # the trace of a search on shuffled labels
    control_alpha: dict[str, Any] | None
    searched: dict[str, dict[str, Any]]  # commit, device, hours of warm-up and search
    networks: list[Network]


def settings_of(path: Path) -> Mapping[str, Any]:
    """params.yaml as it is, of whatever time.

    Raises:
        Refused: no such file, no YAML, or no sections.
    """
    found = schema.parse(path)
    if not isinstance(found, Mapping):
        raise Refused(f"{path}: no sections in it. Bring back the committed one.")
    return found


def read(folder: Path, settings: Mapping[str, Any]) -> Results:
    """Reads what is there.

    Raises:
        Refused: a file is garbled or lacks a column; one line names it.
    """
    made = ("commit", "device", "hours")
    searched = {
        "warm-up": record(folder / "warmup_made.json", made),
        "search": record(folder / "search/search_made.json", made),
        "null control": record(folder / "control/control_made.json", made),
    }
    return Results(
        folder=folder,
        settings=settings,
        data=record(
            folder / "data.json", ("listed", "usable", "by_split", "by_class", "refused_by_reason")
        ),
        warmup=table(folder / "warmup.csv", ("epoch", "loss")),
        trace=table(folder / "search/trace.csv", ("epoch", "entropy", "mode_gmacs")),
        alpha=record(folder / "search/alpha.json", ("choices",)),
        found=genotype(folder / "derive/genotype.yaml"),
        derived=record(folder / "derive/derive.json", ("found", "runners_up")),
        control=table(folder / "control/trace.csv", ("epoch", "entropy")),
        control_alpha=record(folder / "control/alpha.json", ("choices",)),
        searched={name: of for name, of in searched.items() if of},
        networks=[_network(folder, name, settings) for name in _names(folder, settings)],
    )


def published() -> list[Published]:
    """The papers' figures."""
    return list(schema.load(PUBLISHED, PublishedTable).networks)


def table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame | None:
    """A CSV file that has at least these columns."""
    if not path.exists():
        return None
    try:
        found = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: no CSV table ({error}). {_again(path)}") from error
    _check(path, set(found.columns), columns, "column")
    return found


def record(path: Path, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """A JSON object that has at least these keys."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: no JSON ({error}). {_again(path)}") from error
    if not isinstance(found, dict):
        raise Refused(f"{path}: no JSON object. {_again(path)}")
    _check(path, set(found), keys, "key")
    return found


def genotype(path: Path) -> Genotype | None:
    return Genotype.load(path) if path.exists() else None


def _check(path: Path, found: set[str], wanted: tuple[str, ...], what: str) -> None:
    for name in wanted:
        if name not in found:
            raise Refused(f"{path}: missing {what} '{name}'. {_again(path)}")


def _again(path: Path) -> str:
    return f"Delete {path.name} and run `dvc repro`."


def _names(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Found networks first, in the order of params.yaml; then the rest that has results."""
    there = {path.stem for path in folder.glob("genotypes/*.yaml")}
    there |= {path.stem for path in folder.glob("evaluate/*.json")}
    there |= {path.stem for path in folder.glob("train/*.csv")}
    listed = [*(settings.get("scale") or {}), *(settings.get("baseline") or {})]
    return [name for name in listed if name in there] + sorted(there - set(listed))


def _network(folder: Path, name: str, settings: Mapping[str, Any]) -> Network:
    return Network(
        name=name,
        found=name in (settings.get("scale") or {}),
        genotype=genotype(folder / f"genotypes/{name}.yaml"),
        curve=table(folder / f"train/{name}.csv", ("epoch", "loss", "top1")),
        made=record(folder / f"train/{name}_made.json", ("commit", "device", "hours")),
        evaluation=record(folder / f"evaluate/{name}.json", EVALUATION),
        confusion=table(folder / f"evaluate/{name}_confusion.csv", ("actual", "predicted")),
        latency=record(folder / f"latency/{name}.json", ("device", "dtype", "views", "batched")),
        explained=record(folder / f"explain/{name}.json", ("right", "confused")),
    )
