"""DVC reads what the stages write: `dvc metrics` and `dvc plots` on the project's own dvc.yaml."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, programs, results_folder
from support.studies import BIN

from autox3d.core.records import Latency, Summary
from autox3d.core.scores import Evaluation


def run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dvc(root: Path, *command: str) -> Any:
    return json.loads(run(root, sys.executable, "-m", "dvc", *command, "--json"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the project's stages and invented results, committed."""
    root = tmp_path_factory.mktemp("project")
    results_folder.make(root)
    for name in results_folder.NETWORKS:
        tested = Evaluation.read(root / f"results/evaluate/{name}.json")
        latency = Latency.read(root / f"results/latency/{name}.json")
        Summary.of(tested, latency).write(root / f"results/summary/{name}.json")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, root / name)
    run(root, "git", "init", "-q")
    run(root, sys.executable, "-m", "dvc", "init", "-q")
    run(root, "git", "add", ".")
    who = ("-c", "user.name=lab", "-c", "user.email=lab@localhost")
    run(root, "git", *who, "commit", "-qm", "results")
    return root


def test_metrics_show_and_diff(project: Path) -> None:
    """Five numbers a network and nothing else; a changed one is the only difference."""
    folder = project / "results/summary"
    shown = dvc(project, "metrics", "show")[""]["data"]
    assert set(shown) == {f"results/summary/{name}.json" for name in results_folder.NETWORKS}
    for name, found in shown.items():
        written = json.loads((project / name).read_text())
        assert found["data"] == written
        assert list(written) == ["top1", "low", "gmacs", "params_m", "ms"]
        tested = json.loads((project / f"results/evaluate/{Path(name).name}").read_text())
        assert written["top1"] == tested["lcr"]["top1"]
        assert written["gmacs"] == tested["gmacs_lcr"]
        assert 0 < written["low"] < written["top1"]

    path = folder / "s.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"ms": 7.0}))
    changed = dvc(project, "metrics", "diff")
    path.write_text(text)
    ((name, values),) = changed["diff"].items() if "diff" in changed else changed.items()
    assert name == "results/summary/s.json"
    assert values["ms"]["diff"] == pytest.approx(7 - json.loads(text)["ms"])


def test_plots_show(project: Path) -> None:
    """The search's curves, each network's training curve and confusion."""
    shown = dvc(project, "plots", "show", "--split")["data"]
    titles = {"Cost of the search", "Loss of the search", "Entropy of the search"}
    assert titles <= {name.removeprefix("dvc.yaml::") for name in shown}
    for name in results_folder.NETWORKS:
        assert shown[f"results/train/{name}.csv"]
        assert shown[f"results/evaluate/{name}_confusion.csv"]


def test_the_report_follows_another_params_file(project: Path, tmp_path: Path) -> None:
    """`dvc repro` after `cp params/... params.yaml`: rows of the networks that it trains alone.

    DVC leaves the files of the others where they are, and so do we.
    """
    root = tmp_path / "clone"
    shutil.copytree(project, root)
    shutil.copytree(ROOT / "architectures", root / "architectures")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("studies", "expand", "parts"):
        (root / "results" / name).mkdir()
    shutil.copy(ROOT / "params/demo_streams.yaml", root / "params.yaml")
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(root / "src")}
    command = [BIN / "dvc", "repro", "--single-item", "report"]
    done = programs.run("engines", command, root, os.environ | path, together=True)

    assert done.returncode == 0, done.stdout
    table = (root / "results/table.md").read_text().splitlines()
    assert [line.split()[1] for line in table[2:] if line.startswith("|")] == ["s", "x3d_s"]
    assert (root / "results/evaluate/m.json").is_file()


@pytest.mark.parametrize(
    ("section", "stage"),
    [("  shards: [0, 1, 2, 3]", "transcode"), ("  networks: [s, x3d_s]", "explain")],
)
def test_a_number_for_a_list_is_one_line(project: Path, section: str, stage: str) -> None:
    """DVC's `matrix` would fail as an unexpected error, without a name."""
    path = project / "params.yaml"
    text = path.read_text()
    assert section in text
    path.write_text(text.replace(section, section.partition(":")[0] + ": 4"))
    command = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    path.write_text(text)

    place = f"'stages.{stage}.foreach' in 'dvc.yaml'"
    why = f"failed to resolve {place}: expected list/dictionary, got int"
    assert why in done.stderr
    assert "unexpected" not in done.stderr
