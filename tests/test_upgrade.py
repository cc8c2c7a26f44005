"""A workspace of commit 486c83c goes on under this version: nothing runs, nothing starts over.

`tests/fixtures/workspace_486c83c/README.md` says what is in it, and how that commit made it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file
from support.toy import BIN, ENVIRONMENT, NOTHING, ROOT

from autox3d.core.errors import Refused
from autox3d.core.names import modern
from autox3d.pipeline.upgrade import upgrade

ARCHIVE = ROOT / "tests/fixtures/workspace_486c83c/workspace.tar.xz"
STAGES = 19
ALONE = ENVIRONMENT | {"AUTOX3D_PROCESSES": "1", "AUTOX3D_WORKERS": "1", "OMP_NUM_THREADS": "1"}
TENSORS = {
    "search": "data/supernet/search.safetensors",
    "train": "data/weights/s/weights.safetensors",
}
TABLE = {"search": "results/search/trace.csv", "train": "results/train/s.csv"}
NEAR = {"rtol": 1e-3, "atol": 1e-5}  # between processors; measured: 2e-6 of the largest value


def typed(folder: Path, *words: str) -> str:
    """What a command says that somebody types there."""
    command = [str(BIN / words[0]), *words[1:]]
    done = subprocess.run(command, cwd=folder, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def upgraded(folder: Path) -> list[str]:
    """The lines of `autox3d upgrade`."""
    with contextlib.chdir(folder):
        return list(upgrade())


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of all data and results."""
    files = [path for top in ("data", "results") for path in (folder / top).rglob("*")]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file() and path.name != ".gitignore"
    }


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace with this version's code in it, as `git merge` leaves it."""
    folder = tmp_path_factory.mktemp("before") / "workspace"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    unused = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src/autox3d", folder / "src/autox3d", ignore=unused)
    for name in ("dvc.yaml", "Snakefile", ".dvcignore", "workflow/profiles/local/config.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    typed(folder, "python", str(ARCHIVE.parent / "fill_cache.py"))
    return folder


@pytest.fixture
def workspace(before: Path, tmp_path: Path) -> Path:
    return shutil.copytree(before, tmp_path / "workspace", symlinks=True)


def edit(path: Path, old: str, new: str) -> None:
    """Replaces the first `old`, in a file of its own: an output is a link to the cache."""
    text = path.read_text()
    assert old in text
    path.unlink()
    path.write_text(text.replace(old, new, 1))


def with_aliases(params: Path) -> None:
    """The same values as users had them: the second network's by a merge key."""
    values = yaml.safe_load(params.read_text())
    text = params.read_text()
    start = text.index("  x3d_s:\n    seed: 1\n    epochs")
    end = text.index("\n\nevaluate:")
    text = text[:start] + "  x3d_s: {<<: *s, dropout: 0.0}  # no dropout" + text[end:]
    params.write_text(text.replace("  s:\n    seed", "  s: &s\n    seed"))
    assert yaml.safe_load(params.read_text()) == values


def test_after_an_upgrade_neither_engine_has_anything_to_do(workspace):
    """Settings lose their aliases and gain the keys that came later; no file of results moves."""
    with_aliases(workspace / "params.yaml")
    old = digests(workspace)
    stale = json.loads(typed(workspace, "dvc", "status", "--json"))
    assert len(stale) == STAGES  # all, by the paths of their code

    said = typed(workspace, "autox3d", "upgrade")

    assert "params.yaml: aliases and merge keys are written out" in said
    assert f"{STAGES} of {STAGES} stages are recorded as done; none was run\n" in said
    assert "# no dropout" in (workspace / "params.yaml").read_text()
    assert "up to date" in typed(workspace, "dvc", "status")
    assert NOTHING in typed(workspace, "snakemake", "--workflow-profile", "workflow/profiles/local")
    assert digests(workspace) == old
    again = typed(workspace, "autox3d", "upgrade")
    assert again == "nothing to do: this folder is of this version already\n"


def test_what_differs_is_left_to_run_and_said_in_a_line_each(workspace):
    """A setting, an input, an output, other code; what is in the cache alone is brought back."""
    edit(workspace / "params.yaml", "beta: 0.2", "beta: 0.3")
    edit(workspace / "architectures/x3d_s.yaml", "name:", "# mine\nname:")
    edit(workspace / "results/latency/s.json", "{", "{ ")
    (workspace / "results/evaluate/s_confusion.csv").unlink()
    (workspace / "data/scores/x3d_s.parquet").unlink()
    other = "0123456789abcdef0123456789abcdef"
    lock = yaml.safe_load((workspace / "dvc.lock").read_text())
    lock["stages"]["subset"]["deps"][1]["md5"] = other  # of src/autox3d/stages/subset.py
    (workspace / "dvc.lock").write_text(yaml.safe_dump(lock))

    *found, last = [line for line in upgraded(workspace) if not line.startswith("params.yaml: ")]

    setting = "params.yaml: search.beta was 0.2, is 0.3"
    assert set(found) == {
        f"search: left to run: {setting}",
        f"control: left to run: {setting}",
        "baseline@x3d_s: left to run: architectures/x3d_s.yaml is not the recorded one",
        "latency@s: left to run: results/latency/s.json is not the recorded one",
        "evaluate@s: left to run: results/evaluate/s_confusion.csv is missing",
        "subset: left to run: other code than that of commit 486c83c made it. "
        "Where that changed no result: dvc commit --force subset",
        f"report: left to run: results/evaluate is not the recorded one; "
        f"results/latency is not the recorded one; {setting}",
    }
    assert last == f"{STAGES - 7} of {STAGES} stages are recorded as done; none was run"
    assert (workspace / "data/scores/x3d_s.parquet").exists()
    left = json.loads(typed(workspace, "dvc", "status", "--json"))
    assert left.keys() == {line.partition(": ")[0] for line in found}


def test_a_lock_of_another_version_is_refused(workspace):
    """Its results may be others; nothing is changed."""
    lock = yaml.safe_load((workspace / "dvc.lock").read_text())
    for entry in lock["stages"].values():
        for file in entry["deps"]:
            file["md5"] = file["md5"][::-1]
    (workspace / "dvc.lock").write_text(yaml.safe_dump(lock))
    old = (workspace / "dvc.lock").read_bytes(), (workspace / "params.yaml").read_bytes()

    with pytest.raises(Refused) as refused:
        upgraded(workspace)

    assert str(refused.value) == (
        "dvc.lock: neither this version nor commit 486c83c wrote it. Bring the workspace to "
        "commit 486c83c first (git checkout, dvc repro)."
    )
    assert old == (
        (workspace / "dvc.lock").read_bytes(),
        (workspace / "params.yaml").read_bytes(),
    )


@pytest.mark.parametrize("run", ["search", "train"])
def test_a_run_that_was_stopped_goes_on_to_the_result_that_it_would_have_had(workspace, run):
    """To the bit where the processor computes as the first one did, and nearly so elsewhere.

    Its folder is found under the fingerprint of before, and its first step is the next one.
    """
    wanted = json.loads((workspace / "expected.json").read_text())[run]
    shutil.copyfile(workspace / wanted["params"], workspace / "params.yaml")
    said = upgraded(workspace)
    assert any(line.startswith(f"{wanted['stage']}: left to run: params.yaml: ") for line in said)

    typed(workspace, "dvc", "repro", "--single-item", wanted["stage"])

    (folder,) = (workspace / "checkpoints").glob(f"{run}-*")
    steps = sorted(int(path.stem[5:]) for path in folder.glob("step-*.ckpt"))
    kept = Path(wanted["checkpoint"]["path"])
    assert folder.name == kept.parent.name
    assert (steps[0], steps[-1]) == (wanted["checkpoint"]["step"], wanted["steps"])
    assert (
        hashlib.sha256((workspace / kept).read_bytes()).hexdigest()
        == (wanted["checkpoint"]["sha256"])
    )
    tensors = load_file(workspace / TENSORS[run])
    assert tensors.keys() == {modern(name) for name in wanted["tensors"]}
    if not same_bits(tensors, wanted["tensors"]):
        for name, values in wanted["values"].items():
            np.testing.assert_allclose(tensors[modern(name)], values, **NEAR, err_msg=name)
        rows = pd.read_csv(workspace / TABLE[run])
        numbers = rows.select_dtypes("number")
        table = pd.DataFrame(wanted["table"])
        assert list(rows.columns) == list(table.columns)
        np.testing.assert_allclose(numbers, table[numbers.columns], **NEAR)
        return
    assert (workspace / TABLE[run]).read_text() == wanted["table_text"]


def same_bits(tensors: dict[str, np.ndarray], wanted: dict[str, Any]) -> bool:
    return all(
        hashlib.sha256(tensors[modern(name)].tobytes()).hexdigest() == about["sha256"]
        for name, about in wanted.items()
    )


def test_weights_and_supernets_of_before_give_the_results_of_before(workspace):
    """The network's scores of every test video, and the network that the search's end means."""
    upgraded(workspace)
    scores = pd.read_parquet(workspace / "data/scores/s.parquet")
    genotype = (workspace / "results/derive/genotype.yaml").read_text()
    assert any(".look." in name for name in load_file(workspace / TENSORS["train"]))

    typed(workspace, "dvc", "repro", "--force", "--single-item", "evaluate@s", "derive")

    again = pd.read_parquet(workspace / "data/scores/s.parquet")
    assert list(again.columns) == list(scores.columns)
    for name in scores.columns:
        if scores[name].dtype == object:
            left, right = np.stack(again[name].to_list()), np.stack(scores[name].to_list())
        else:
            left, right = again[name], scores[name]
        if np.issubdtype(np.asarray(right).dtype, np.floating):
            np.testing.assert_allclose(left, right, **NEAR)
        else:
            assert (left == right).all()
    assert (workspace / "results/derive/genotype.yaml").read_text() == genotype
