"""Studies at the size of a test, and the workspaces that they run in."""

from __future__ import annotations

import copy
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from autox3d.core import overrides, settings
from autox3d.core.search_records import StudyRecord
from autox3d.search.space import Space
from autox3d.studies.kind import kind_of
from autox3d.studies.lab import Lab
from support import killing

BIN = Path(sys.executable).parent


def entry(of: str, **more: Any) -> dict[str, Any]:
    """A study as params.yaml has it, of the kind `of`."""
    study = {"kind": of, "space": "space.yaml", "values": [], "networks": 0, "train": None}
    return study | {"genotypes": "params/scratch", "overrides": {}} | more


SMALL = {  # one of each kind, at the size of a test
    "beta": entry("beta", values=[0.0, 0.5]),
    "targets": entry("targets", values=[0.5]),
    "budgets": entry("budgets", values=[1], overrides={"derive": {"window": [0.3, 1.0]}}),
    "channels": entry("channels", train="s"),
    "attention": entry("attention", train="s"),
    "seeds": entry("seeds", values=[1, 2]),
    "trainings": entry("trainings", values=[1, 2], genotypes="genotypes"),
    "random_networks": entry(
        "random_networks",
        values=[0.0001, 1],
        networks=3,
        train="s",
        overrides={"search": {"target": 0.00128, "floor": None}, "derive": {"window": [0.9, 1.0]}},
    ),
    "ranking": entry(
        "ranking",
        values=[1, 2],
        networks=3,
        train="s",
        overrides={"search": {"target": 0.00128, "floor": None}},
    ),
}


def lay_out(clips: Path, folder: Path, studies: dict[str, Any]) -> Path:
    """Clips, space and settings where the pipeline leaves them; an epoch or two of everything."""
    killing.lay_out(clips, folder)
    for table in ("subset", "clips"):
        (folder / f"data/{table}.parquet").symlink_to(clips / "clips.parquet")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["supernet"]["space"] = "space.yaml"
    params["warmup"]["epochs"] = params["train"]["s"]["epochs"] = 1
    params["train"]["s"] |= {"warmup": 0}
    params["search"]["epochs"], params["control"]["epochs"] = 1, 1
    params["derive"]["calibration"] = 4
    params["train"] = {name: copy.deepcopy(params["train"]["s"]) for name in ("s", "m")}
    params["train"]["m"] |= {"lr": 0.1}
    params["evaluate"] |= {"split": "val", "clips": [1]}
    (folder / "genotypes").mkdir()
    for name in params["train"]:
        shutil.copy(folder / "s.yaml", folder / f"genotypes/{name}.yaml")
    (folder / "params.yaml").write_text(yaml.safe_dump(params | {"studies": studies}))
    return folder


def open_lab(name: str) -> Lab:
    """As the stage does it, in the working directory."""
    params = overrides.for_study(settings.load(), name)
    space, clips = Space.load(Path("space.yaml")), Path("clips.parquet")
    return Lab(name, params, space, clips, clips, Path("out") / name)


def study(name: str) -> tuple[Lab, StudyRecord]:
    """The study of that name, from a notebook's point of view."""
    found = open_lab(name)
    return found, kind_of(found.params, name).run(found, found.params.studies[name])


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
