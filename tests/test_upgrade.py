"""A workspace of commit 486c83c goes on under this version: only the search is to be run anew.

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
import torch
import yaml
from dvc.repo import Repo
from safetensors.numpy import load_file
from support import ROOT, programs
from support.toy import BIN, ENVIRONMENT

from autox3d.core import names
from autox3d.core.errors import Refused
from autox3d.pipeline.upgrade import upgrade

pytestmark = pytest.mark.slow

FILTERED: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from 3.11.4 on
ARCHIVE = ROOT / "tests/fixtures/workspace_486c83c/workspace.tar.xz"
NEW = ("dvc.yaml", "Snakefile", ".dvcignore", "workflow/Snakefile", "workflow/rules/stages.smk",
       "workflow/profiles/local/config.yaml",
       "results/studies/.gitignore", "results/expand/.gitignore", "results/parts/.gitignore",
       "params/untimed")  # fmt: skip
STAGES = 19
ANEW = {"search", "control", "derive"}
LISTED = {"index"}  # has a new output, a list; its other outputs are the same
SUMMED = {"summary@s", "summary@x3d_s"}  # new stages, of milliseconds
ALONE = ENVIRONMENT | {"AUTOX3D_PROCESSES": "1", "AUTOX3D_WORKERS": "1", "OMP_NUM_THREADS": "1"}
TENSORS = {
    "search": "data/supernet/search.safetensors",
    "train": "data/weights/s/weights.safetensors",
}
TABLE = {"search": "results/search/trace.csv", "train": "results/train/s.csv"}


def typed(folder: Path, *words: str) -> str:
    """The output of a command that is typed there."""
    command = [str(BIN / words[0]), *words[1:]]
    if words[0] == "python":
        done = subprocess.run(command, cwd=folder, env=ALONE, capture_output=True, text=True)
    else:
        done = programs.run("engines", command, folder, ALONE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def upgraded(folder: Path) -> list[str]:
    """The lines of `autox3d upgrade`."""
    with contextlib.chdir(folder):
        return list(upgrade())


def stale(folder: Path) -> set[str]:
    """The stages that `dvc status` names."""
    with contextlib.chdir(folder):
        return set(Repo().status())


def close(left: Any, right: Any) -> None:
    """Whether values differ as little as between processors (2e-6 of the largest was measured)."""
    np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of all data and results."""
    files = [path for top in ("data", "results") for path in (folder / top).rglob("*")]
    return {
        str(path.relative_to(folder)): digest(path.read_bytes())
        for path in files
        if path.is_file() and path.name != ".gitignore"
    }


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace with this version's code in it, as `git merge` leaves it."""
    folder = tmp_path_factory.mktemp("before") / "workspace"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, **FILTERED)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    typed(folder, "python", str(ARCHIVE.parent / "fill_cache.py"))
    unused = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src/autox3d", folder / "src/autox3d", ignore=unused)
    for name in NEW:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
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


def test_after_an_upgrade_only_the_search_is_to_be_run(workspace):
    """Settings lose their aliases and gain the keys that came later; no file of results moves.

    The earlier search can be kept, too: then only the network is derived again.
    """
    with_aliases(workspace / "params.yaml")
    old = digests(workspace)

    output = typed(workspace, "autox3d", "upgrade")

    assert "params.yaml: aliases and merge keys are written out" in output
    assert f"{STAGES - 4} of {STAGES} stages are recorded as done; none was run\n" in output
    for stage in ANEW:
        assert f"{stage}: left to run: this version computes it otherwise (CHANGELOG.md)" in output
    assert "params.yaml: train.x3d_s.drop_connect is new" in output
    assert "# no dropout" in (workspace / "params.yaml").read_text()
    assert stale(workspace) == ANEW | LISTED | SUMMED
    assert digests(workspace) == old
    typed(workspace, "dvc", "repro", "index")
    assert stale(workspace) == ANEW | SUMMED
    listed = digests(workspace)
    assert listed.pop("data/unused.csv")
    assert listed == old
    edit(workspace / "params.yaml", "max_lost: 0.2", "max_lost: 0.3")
    everything = {"report"}  # depends on all settings
    assert stale(workspace) == ANEW | LISTED | SUMMED | everything
    edit(workspace / "params.yaml", "max_lost: 0.3", "max_lost: 0.2")
    typed(workspace, "dvc", "commit", "--force", "search", "control")
    assert stale(workspace) == {"derive"} | SUMMED
    typed(workspace, "dvc", "repro", "derive")
    kept = digests(workspace).items() - old.items()
    assert {name for name, _ in kept} == {"results/derive/derive.json", "data/unused.csv"}
    derived = json.loads((workspace / "results/derive/derive.json").read_text())
    assert not any("by" in choice for choice in derived["found"]["choices"])  # nobody counted
    assert upgraded(workspace) == []


SEARCHED = {"warmup", "search", "control", "derive"}
TRAINED, TESTED, TIMED = ({f"{stage}@{net}" for net in ("s", "x3d_s")} for stage in
                          ("train", "evaluate", "latency"))  # fmt: skip
ENCODED = {"transcode@0", "transcode@1"}
FIXES = {
    "training/loop.py": TRAINED,
    "search/loop.py": SEARCHED | {"report"},
    "reporting/page.py": {"report"},
    "evaluation/run.py": TESTED | {"explain@s"},
    "vision/clips/loader.py": SEARCHED | TRAINED | TESTED | TIMED | {"explain@s", "report"},
    "vision/clips/format/mp4.py": ENCODED
    | SEARCHED | TRAINED | TESTED | TIMED | {"explain@s", "report"},
    "ingest/encode.py": ENCODED,
    "datasets/subset.py": {"annotate", "index", "subset"},
    "runtime/checkpoint.py": set(),
    "stages/train.py": set(),
}  # fmt: skip


def test_a_fix_makes_stale_what_its_room_says(workspace):
    """By `dvc status`: the training loop searches nothing again, the loader decodes nothing."""
    upgraded(workspace)
    for name, wanted in FIXES.items():
        path = workspace / "src/autox3d" / name
        text = path.read_text()
        path.write_text(f"{text}\n# A fix.\n")
        assert stale(workspace) == wanted | ANEW | LISTED | SUMMED, name
        path.write_text(text)


def test_what_differs_is_left_to_run_with_a_line_each(workspace):
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
    anew = "this version computes it otherwise (CHANGELOG.md)"
    assert {line for line in found if not line.startswith("derive: ")} == {
        f"search: left to run: {anew}; {setting}",
        f"control: left to run: {anew}; {setting}",
        "index: left to run: its command was 'exec python -m autox3d.stages.index --videos "
        "data/videos.parquet --index data/index --clips data/clips.parquet --report "
        "results/data.json'; params.yaml: transcode.max_lost was not there, is 0.2; "
        "data/unused.csv is a new output",
        "baseline@x3d_s: left to run: architectures/x3d_s.yaml is not the recorded one",
        "latency@s: left to run: results/latency/s.json is not the recorded one",
        "evaluate@s: left to run: results/evaluate/s_confusion.csv is missing",
        "subset: left to run: its code was not that of commit 486c83c. "
        "If the difference changed no result: dvc commit --force subset",
        f"report: left to run: {setting}; results/evaluate is not the recorded one; "
        "results/latency is not the recorded one",
    }
    assert last == f"{STAGES - 9} of {STAGES} stages are recorded as done; none was run"
    assert (workspace / "data/scores/x3d_s.parquet").exists()
    assert stale(workspace) == {line.partition(": ")[0] for line in found} | SUMMED


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


def resumed(workspace: Path, run: str) -> dict[str, Any]:
    """Runs the stage of a stopped run again: its folder is found, its first step is the next one.

    Returns:
        what the earlier version would have made of it
    """
    wanted = json.loads((workspace / "expected.json").read_text())[run]
    shutil.copyfile(workspace / wanted["params"], workspace / "params.yaml")
    output = upgraded(workspace)
    assert any(line.startswith(f"{wanted['stage']}: left to run: ") for line in output)

    typed(workspace, "dvc", "repro", "--single-item", wanted["stage"])

    kept = workspace / wanted["checkpoint"]["path"]
    (folder,) = (workspace / "checkpoints").glob(f"{run}-*")
    steps = sorted(int(path.stem[5:]) for path in folder.glob("step-*.ckpt"))
    assert folder == kept.parent
    assert (steps[0], steps[-1]) == (wanted["checkpoint"]["step"], wanted["steps"])
    assert digest(kept.read_bytes()) == wanted["checkpoint"]["sha256"]
    return wanted


def test_a_search_that_was_stopped_goes_on_as_this_version_searches(workspace):
    """The rows of its finished steps are kept; what was not recorded then is empty in them."""
    wanted = resumed(workspace, "search")
    table, old = pd.read_csv(workspace / TABLE["search"]), pd.DataFrame(wanted["table"])
    before = wanted["checkpoint"]["step"] * len(table) // wanted["steps"]

    assert list(table["epoch"]) == list(old["epoch"])
    assert before > 0
    close(table[old.columns[old.columns.isin(table.columns)]].select_dtypes("number")[:before],
          old.select_dtypes("number")[:before])  # fmt: skip
    assert table["noise"][:before].isna().all()
    assert table["noise"].iloc[-1] > 0


def test_a_training_that_was_stopped_goes_on_to_the_result_that_it_would_have_had(workspace):
    """To the bit on a processor like that of the old code, and nearly so on others."""
    run, wanted = "train", resumed(workspace, "train")
    expected = json.loads((workspace / "expected.json").read_text())
    tensors = load_file(workspace / TENSORS[run])
    bits, values = names.modern(wanted["tensors"]), names.modern(wanted["values"])
    assert tensors.keys() == bits.keys()
    table = pd.read_csv(workspace / TABLE[run]).select_dtypes("number")
    if alike(expected["made_by"]):
        assert (workspace / TABLE[run]).read_text() == wanted["table_text"]
        for name, about in bits.items():
            assert digest(tensors[name].tobytes()) == about["sha256"], name
    for name, value in values.items():
        close(tensors[name], value)
    close(table, pd.DataFrame(wanted["table"])[table.columns])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def alike(made_by: dict[str, Any]) -> bool:
    """Whether the processor and torch here are those that made the expected results."""
    cpu = f"model name\t: {made_by['cpu']}\n" in Path("/proc/cpuinfo").read_text()
    return cpu and made_by["torch"] == torch.__version__


def test_weights_of_before_give_the_scores_of_before(workspace):
    """Those of every test video, though their files call a layer by its old name."""
    upgraded(workspace)
    scores = pd.read_parquet(workspace / "data/scores/s.parquet")
    assert any(".look." in name for name in load_file(workspace / TENSORS["train"]))

    typed(workspace, "dvc", "repro", "--force", "--single-item", "evaluate@s")

    again = pd.read_parquet(workspace / "data/scores/s.parquet")
    pd.testing.assert_frame_equal(again.drop(columns="scores"), scores.drop(columns="scores"))
    close(np.stack(again["scores"].to_list()), np.stack(scores["scores"].to_list()))
