"""DVC and Snakemake run the same pipeline, and agree on what is done and what is stale."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support import ROOT
from support.toy import ALL, NOTHING, SNAKEMAKE, Toy, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A workspace where DVC has run all stages, with its state committed."""
    toy = Toy.new(tmp_path_factory.mktemp("done") / "toy")
    toy.dvc("repro")
    assert toy.ran() == ALL
    toy.commit()
    return toy


@pytest.fixture
def toy(done: Toy, tmp_path: Path) -> Iterator[Toy]:
    with done.copied(tmp_path / "toy") as toy:
        yield toy


def test_snakemake_runs_all_from_scratch_shards_at_once_and_dvc_takes_it_as_done(
    tmp_path: Path, done: Toy
) -> None:
    """Afterwards both engines report within a minute that there is nothing to do."""
    toy = Toy.new(tmp_path / "toy")
    first, second = toy.hold("shard@0"), toy.hold("shard@1")
    work = toy.start(*SNAKEMAKE, "--cores", "2")
    assert toy.pid("shard@0") != toy.pid("shard@1")  # both wait here, so both run
    second.unlink()
    wait_for((toy.root / ".pipeline/shard@1.done").exists)
    first.unlink()  # in which order they end changes nothing
    output, _ = work.communicate(timeout=120)

    assert work.returncode == 0, output
    assert sorted(toy.ran()) == sorted(ALL)
    assert toy.lock() == done.lock()
    start = time.monotonic()
    assert "up to date" in toy.dvc("repro")
    between = time.monotonic()
    assert NOTHING in toy.snakemake()
    assert max(between - start, time.monotonic() - between) < 60  # on a machine with other work
    assert toy.ran() == []


def test_a_changed_parameter_reruns_the_same_stages_in_both_engines(
    toy: Toy, tmp_path: Path
) -> None:
    """Both engines leave the same dvc.lock."""
    other = toy.copy(tmp_path / "other")
    for one in (toy, other):
        one.set({"shard": {"pixels": 2}})
    toy.snakemake()
    other.dvc("repro")

    assert sorted(toy.ran()) == sorted(other.ran()) == ["shard@0", "shard@1", "test", "train"]
    assert toy.lock() == other.lock()
    assert toy.up_to_date()


def test_the_engines_take_turns_and_an_older_state_comes_back_without_work(toy: Toy) -> None:
    """DVC, Snakemake and DVC run with three settings; git and Snakemake restore the first."""
    toy.set({"test": {"views": 2}})
    toy.snakemake()
    assert toy.ran() == ["test"]
    toy.set({"test": {"views": 2}, "train": {"epochs": 2}})
    toy.dvc("repro")
    assert toy.ran() == ["train", "test"]
    assert NOTHING in toy.snakemake()

    toy.type("git", "checkout", "--force", "--quiet", "HEAD")
    toy.snakemake()

    assert toy.ran() == []
    assert toy.up_to_date()
    assert '{"views": 1' in toy.read("test.json")
    assert '{"epochs": 1}' in toy.read("data/model.json")


def test_a_deleted_output_comes_back_from_the_cache(toy: Toy) -> None:
    """Only its stage is checked, and nothing runs."""
    before = toy.read("data/model.json")
    (toy.root / "data/model.json").unlink()
    output = toy.snakemake()

    assert "train: restored from the cache" in output
    assert toy.read("data/model.json") == before
    assert toy.ran() == []
    assert toy.up_to_date()


def test_a_dry_run_shows_what_would_run_and_changes_nothing(toy: Toy) -> None:
    """Stages that depend on a changed one are listed, too."""
    toy.set({"train": {"epochs": 3}})
    output = toy.snakemake("--dry-run")

    assert set(re.findall(r"^(\w+) +\d+$", output, re.MULTILINE)) == {
        "train",
        "test",
        "all",
        "total",
    }
    assert toy.ran() == []


def test_frozen_stages_stay_as_they_are(toy: Toy) -> None:
    """Both engines respect `dvc freeze`: dependent stages use the outputs that exist."""
    toy.dvc("freeze", "train")
    toy.set({"shard": {"pixels": 3}, "test": {"views": 3}})
    toy.snakemake()

    assert sorted(toy.ran()) == ["shard@0", "shard@1", "test"]
    (toy.root / "data/model.json").unlink()
    assert toy.job("train", status=1) == (
        "train: frozen, but changed since dvc.lock was written. Run: dvc unfreeze train\n"
    )


def test_a_mistake_in_dvc_yaml_is_one_line(toy: Toy) -> None:
    """It is DVC's own message, without a traceback."""
    (toy.root / "dvc.yaml").write_text("stages:\n  list: {cmd: x, dep: [stage.py]}\n")

    output = toy.snakemake(status=1)

    assert (
        "\ndvc.yaml: './dvc.yaml' validation failed: "
        "extra keys not allowed @ data['stages']['list']['dep']\n"
    ) in output
    assert "Traceback" not in output


def test_snakemake_outside_of_the_folder_is_one_line(toy: Toy) -> None:
    """From a folder below it would plan stages of other names, and leave stamps there."""
    (toy.root / "docs").mkdir()
    script = "cd docs && exec snakemake --snakefile ../Snakefile --dry-run --cores 1"
    output = toy.type("sh", "-c", script, status=1)

    assert (
        "\ndvc.yaml: not in this folder. Run snakemake in the folder that has it, or with "
        "--directory FOLDER.\n"
    ) in output
    assert not (toy.root / "docs/.pipeline").exists()


@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))], ids=lambda p: p.name
)
def test_no_setting_has_a_name_that_the_run_cache_overlooks(path: Path) -> None:
    """DVC 3 leaves keys called size and nfiles out of its hash, wherever they stand.

    It would take the result for `size: 1` as that for `size: 2`.
    """
    found = [yaml.safe_load(path.read_text())]
    names: set[str] = set()
    while found:
        content = found.pop()
        if isinstance(content, dict):
            names |= set(content)
            found += content.values()

    assert len(names) > 10
    assert not names & {"size", "nfiles"}
