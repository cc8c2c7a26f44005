"""Stages of the pipeline under other settings, each run in a folder of its own.

The studies of the search are made of these: a warm-up that several searches begin from, searches,
trainings. What a folder has already is not made again, so that a study which was stopped goes on
when its command is given once more.
"""

from __future__ import annotations

import argparse
import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.core.tables import read_classes
from autox3d.runtime.checkpoint import fingerprint
from autox3d.search.prior import Prior
from autox3d.search.space import Space
from autox3d.stages.derive import load_prior
from autox3d.vision.arch.genotype import Genotype

Settings = dict[str, Any]  # params.yaml
Files = dict[str, str | Path]  # by flag: a path is read, a name is written in the trial's folder
READS = {  # sections of the settings that a stage's result follows from
    "warmup": ("supernet", "warmup", "search"),
    "search": ("supernet", "warmup", "search"),
    "control": ("supernet", "warmup", "search", "control"),
    "train": ("train",),
}


class Lab:
    """A finished workspace (`make demo`, or a larger one) whose clips the trials use."""

    def __init__(self, workspace: Path, out: Path, overrides: list[str]) -> None:
        """`overrides`: such as `search.epochs=10`, of the workspace's params.yaml."""
        self.workspace, self.out = workspace.resolve(), out.resolve()
        path = self.workspace / "params.yaml"
        settings.load(path)  # a mistake there is told before any work
        self.settings: Settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.made_by = copy.deepcopy(self.settings)  # what the workspace holds
        for override in overrides:
            name, _, value = override.partition("=")
            *tables, key = name.split(".")
            table = self.settings
            for step in tables:
                table = table.get(step, {})
            if key not in table:
                raise Refused(f"--set {override}: {path} has no '{name}'. Mend the name.")
            table[key] = yaml.safe_load(value)

    def space(self, settings: Settings) -> Space:
        """That the settings name."""
        return Space.load(self.workspace / settings["supernet"]["space"])

    def classes(self) -> int:
        """Of the search's clips."""
        return len(read_classes(self.workspace / "data/subset.parquet"))

    def changed(self, **sections: Settings) -> Settings:
        """The settings, save these keys."""
        settings = copy.deepcopy(self.settings)
        for name, keys in sections.items():
            settings[name] |= keys
        return settings

    def warm_up(self, name: str, settings: Settings) -> Path:
        """The supernet's weights that searches begin from; the workspace's own where they serve."""
        own = self.workspace / "data/supernet/warmup.safetensors"
        if own.exists() and _follows_from(settings) == _follows_from(self.made_by):
            return own
        folder = self.out / name
        files: Files = {"weights": "warmup.safetensors", "curve": "warmup.csv"}
        self._run("warmup", folder, settings, files)
        return folder / "warmup.safetensors"

    def search(self, name: str, settings: Settings, init: Path) -> Path:
        """The folder of a search: trace.csv, alpha.json, search.safetensors."""
        files: Files = {"init": init, "weights": "search.safetensors", "alpha": "alpha.json"}
        files |= {"steps": "steps.parquet", "trace": "trace.csv"}
        self._run("search", self.out / name, settings, files)
        return self.out / name

    def control(self, name: str, settings: Settings, init: Path) -> Path:
        """The same of a null control: trace.csv, alpha.json."""
        files: Files = {"init": init, "alpha": "alpha.json", "trace": "trace.csv"}
        self._run("control", self.out / name, settings, files)
        return self.out / name

    def train(self, genotype: Genotype, settings: Settings, section: str) -> float:
        """Top-1 on the validation videos after training from scratch, as `train.<section>` says."""
        name, folder = genotype.name, self.out / genotype.name
        settings = settings | {"train": {name: settings["train"][section]}}
        files: Files = {"weights": "weights", "curve": "train.csv"}
        files["clips"] = self.workspace / "data/clips.parquet"
        self._run("train", folder, settings, files, genotype)
        return float(pd.read_csv(folder / "train.csv")["val_top1"].iloc[-1])

    def _run(
        self,
        stage: str,
        folder: Path,
        settings: Settings,
        files: Files,
        genotype: Genotype | None = None,
    ) -> None:
        """One stage's program in the folder, unless it has been there with all that it reads.

        Args:
            genotype: what is trained
        """
        if stage != "train":
            files["clips"] = self.workspace / "data/subset.parquet"
            files["space"] = self.workspace / settings["supernet"]["space"]
        used: Settings = {section: settings[section] for section in READS[stage]}
        used["inputs"] = _digests(files, genotype)
        record, made = folder / f"{stage}.settings", folder / f"{stage}_made.json"
        if record.exists() and yaml.safe_load(record.read_text(encoding="utf-8")) != used:
            raise Refused(
                f"{folder}: made with other settings or inputs. Delete it, or give another --out."
            )
        if made.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        if genotype:
            files["genotype"] = f"{genotype.name}.yaml"
            genotype.save(folder / f"{genotype.name}.yaml")
        record.write_text(yaml.safe_dump(used), encoding="utf-8")
        files["made"] = made.name
        flags = [word for name, path in files.items() for word in (f"--{name}", str(path))]
        place = {"AUTOX3D_SHARDS": str(self.workspace / "data/shards"), "AUTOX3D_TRACKING": "off"}
        command = [sys.executable, "-m", "autox3d.runtime.launch", stage, *flags]
        done = subprocess.run(command, cwd=folder, env=place | os.environ, check=False)
        if done.returncode:
            raise Refused(f"{folder}: {stage} ended with status {done.returncode}, as told above.")


def _digests(files: Files, genotype: Genotype | None) -> dict[str, str]:
    """Of the content of all that is read."""
    read: dict[str, Any] = {name: path for name, path in files.items() if isinstance(path, Path)}
    if genotype:
        read["genotype"] = genotype
    return {name: fingerprint(content=content) for name, content in read.items()}


def _follows_from(settings: Settings) -> list[Any]:
    """What a warm-up's weights are a result of."""
    return [settings["supernet"], settings["warmup"], settings["search"]["epochs"]]


def found(folder: Path, space: Space) -> Prior:
    """Where a search left alpha."""
    return load_prior(folder / "alpha.json", space)


def trace(folder: Path) -> pd.DataFrame:
    """A row an epoch."""
    return pd.read_csv(folder / "trace.csv")


def parser(doc: str | None, out: str) -> argparse.ArgumentParser:
    """With the flags that all studies have."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--workspace", type=Path, default=Path(), help="where `make demo` ran; here, by default"
    )
    made.add_argument("--out", type=Path, default=Path(out), help=f"{out} by default")
    made.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="search.epochs=10"
    )
    return made
