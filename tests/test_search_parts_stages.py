"""A search in parts through both engines, and a part that is killed."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from support import ROOT, killing, programs
from support.killing import Runner
from support.search_parts import PARTS, WHOLE
from support.studies import BIN

from autox3d.core import settings
from autox3d.core.search_records import Alpha
from autox3d.search.parts import opened, save
from autox3d.search.space import Space
from autox3d.vision.arch.genotype import Genotype

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TWO = {  # the first two parts: attention is one more of the same
    "space": "whole.yaml",
    "open": {name: PARTS["open"][name] for name in ("sparse", "dense")},
    "before": {
        "sparse": {
            "warmup": {"epochs": 1},
            "search": {"epochs": 2, "target": 0.004},
            "control": {"epochs": 1},
        }
    },
}
STAGES = (
    *("part", "part_warmup", "part_search", "part_control", "part_derive"),
    *("warmup", "search", "control", "derive", "report"),
)
READ = {  # by the report; the other results are not made here
    *("params.yaml", "results/warmup.csv", "results/warmup_made.json"),
    *("results/search", "results/control", "results/derive", "results/parts"),
}
ENVIRONMENT = (
    os.environ
    | killing.ENVIRONMENT
    | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "DVC_NO_ANALYTICS": "1",
    }
)
COMMANDS = {
    "dvc": (BIN / "dvc", "repro"),
    "snakemake": (
        *(BIN / "snakemake", "--workflow-profile", "workflow/profiles/local"),
        *("--cores", "2", "--quiet", "rules"),
    ),
}


def run(folder: Path, *command: Path | str) -> str:
    """A command in a folder, as a user types it; what it printed."""
    done = programs.run("engines", command, folder, ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def ready(clips: Path, folder: Path) -> Path:
    """A repository with the stages of a search as committed, in which the clips are there."""
    killing.lay_out(clips, folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    run(folder, BIN / "dvc", "init", "-q")
    (folder / "data/subset.parquet").symlink_to(clips / "clips.parquet")
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {name: pipeline[name] for name in STAGES}
    for entry in stages.values():
        entry.get("do", entry).pop("meta")  # so that two jobs fit on two cores
    deps = stages["report"]["deps"]
    stages["report"]["deps"] = [one for one in deps if one in READ or one.startswith("src/")]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("src", "params", "workflow"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "whole.yaml").write_text(WHOLE)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["parts"] = TWO
    params["supernet"]["space"] = "results/parts/dense/space.yaml"
    params["warmup"] |= {"epochs": 2}
    params["search"] |= {"epochs": 1, "target": 0.005}
    params["control"] |= {"epochs": 1}
    params["derive"] |= {"window": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of what a search in parts leaves, but for how long it took."""
    files = [*folder.glob("data/**/*.safetensors"), *folder.glob("data/**/steps.parquet")]
    files += [path for path in folder.glob("results/**/*.*") if path.suffix in (".json", ".yaml")]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if not path.stem.endswith("_made")
    }


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory) -> Path:
    """A search in two parts, by one `dvc repro`."""
    folder = ready(clips, tmp_path_factory.mktemp("parts") / "whole")
    run(folder, *COMMANDS["dvc"])
    return folder


def test_the_pipeline_carries_what_was_found_from_part_to_part(whole):
    """Nobody writes a row: the second part's sparse stream is the one that the first derived."""
    parts = whole / "results/parts"
    first = Genotype.load(parts / "sparse/derive/genotype.yaml")
    found = Genotype.load(whole / "results/derive/genotype.yaml")

    assert first.dense is None
    assert found.dense
    assert found.groups == first.groups
    assert first.name == "whole_sparse"
    assert Space.load(parts / "dense/space.yaml").draw(found)
    lengths = [len(Alpha.read(path / "search/alpha.json").choices[0].probabilities)
               for path in (parts / "sparse", whole / "results")]  # fmt: skip
    assert lengths == [2, 1]


def test_each_part_is_reported(whole):
    """Its network, its search beside its own control, and the stages that made them."""
    page = (whole / "results/report.html").read_text()
    assert "Part sparse of the search" in page
    assert "dvc repro part_search@sparse" in page
    assert "dvc repro search<" in page
    assert "sparse: warm-up" in page
    assert "sparse: null control" in page
    assert page.count("Entropy beside the null control") == 2


def test_a_change_of_a_later_part_leaves_the_earlier_alone(whole, tmp_path):
    """What the last part opens is no input of the first, whose results stay up to date."""
    folder = tmp_path / "changed"
    shutil.copytree(whole, folder, symlinks=True)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["parts"]["open"]["dense"]["dense"] = ["channels", "fuse"]
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    stale = run(folder, BIN / "dvc", "status")

    assert "part@dense:" in stale
    assert "@sparse" not in stale


@pytest.mark.long
def test_snakemake_makes_the_same(clips, whole, tmp_path):
    """To the bit, with two jobs at once; DVC then has nothing to do."""
    folder = ready(clips, tmp_path / "other")
    run(folder, *COMMANDS["snakemake"])

    assert digests(folder) == digests(whole)
    assert "up to date" in run(folder, BIN / "dvc", "repro")


@pytest.mark.long
@pytest.mark.parametrize(
    ("engine", "stage"), [("dvc", "part_search"), ("snakemake", "part_warmup")]
)
def test_an_engine_killed_in_a_part_goes_on_to_the_same_bits(clips, whole, tmp_path, engine, stage):
    """kill -9 of the engine and of the stage; then the same command again."""
    killed = ready(clips, tmp_path / "killed")
    process = subprocess.Popen(
        COMMANDS[engine], cwd=killed, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(killed.glob(f"checkpoints/{stage}-*/step-*.ckpt")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(killed.glob(f"data/parts/sparse/{stage.removeprefix('part_')}.safetensors"))
    run(killed, *COMMANDS[engine])

    assert digests(killed) == digests(whole)
    assert "up to date" in run(killed, BIN / "dvc", "repro")


@pytest.mark.parametrize(
    ("stage", "point"), [("part_warmup", "half:3"), ("part_search", "alpha:3")]
)
def test_a_part_that_is_killed_ends_with_the_same_bits(
    clips, runner: Runner, tmp_path, stage, point
):
    """kill -9 within a checkpoint of its warm-up, and at alpha's step of its search."""
    whole = laid_out(clips, tmp_path / "whole")
    if stage == "part_search":
        runner.finish("part_warmup", whole)
    wanted = runner.finish(stage, whole)
    other = laid_out(clips, tmp_path / "killed", whole if stage == "part_search" else None)
    assert runner.run(stage, other, POINT=point) == -9

    assert runner.finish(stage, other) == wanted


def laid_out(clips: Path, folder: Path, like: Path | None = None) -> Path:
    """The space of the first part, and settings in which it has its own schedule."""
    killing.fresh(clips, folder, like)
    (folder / "whole.yaml").write_text(WHOLE)
    space = Space.load(folder / "whole.yaml")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    before = TWO["before"]["sparse"] | {"warmup": {"epochs": 2}}
    params["parts"] = TWO | {"before": {"sparse": before}}
    params["supernet"]["space"] = "results/parts/dense/space.yaml"
    params["derive"] |= {"window": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    part = settings.load(folder / "params.yaml").parts.open["sparse"]
    save(opened(space, "sparse", part, None), folder / "space.yaml", "Part sparse of whole.yaml.")
    return folder
