"""The number of jobs that run at once does not change a byte of the tables and shards."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml
from support import ROOT
from support.toy import Toy

STAGES = ("annotate", "transcode", "index")
MADE = ("data/videos.parquet", "data/lists", "data/shards", "data/index", "data/clips.parquet")

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def workspace(root: Path) -> Toy:
    """A workspace with the real data stages, four shards and a few videos."""
    toy = Toy.new(root)
    (root / "stage.py").unlink()
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    kept = {"stages": {name: pipeline[name] for name in STAGES}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(kept, sort_keys=False))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["annotate"]["demo"] |= {"train": 3, "val": 1, "test": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return toy


def digests(root: Path) -> dict[str, str]:
    """The SHA-256 of every file that the stages made, without DVC's .gitignore files."""
    paths = [path for name in MADE for path in [root / name, *(root / name).glob("*")]]
    files = [path for path in paths if path.is_file() and path.name != ".gitignore"]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.mark.parametrize("jobs", [2, 4])
def test_one_two_and_four_jobs_make_the_same_bytes(tmp_path: Path, alone: Toy, jobs: int) -> None:
    """Snakemake with several jobs at once gives what jobs one after another give."""
    toy = workspace(tmp_path / "toy")
    shutil.copytree(alone.root / "data/raw", toy.root / "data/raw")
    toy.snakemake("--cores", str(jobs))

    made = digests(toy.root)
    assert sum(name.startswith("data/shards/") for name in made) == 4
    assert made == digests(alone.root)
    assert toy.lock() == alone.lock()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The digests with one job at a time."""
    toy = workspace(tmp_path_factory.mktemp("alone") / "toy")
    toy.snakemake("--cores", "1")
    return toy
