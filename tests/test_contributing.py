"""The recipes of CONTRIBUTING.md work as they are written, and touch as few files as they say."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT, killing, programs, recipes

from autox3d.core.origin import run_again

pytestmark = pytest.mark.slow

MOST = {  # files that a recipe may touch, its tests among them
    "block type": 3,
    "attention unit": 3,
    "data set": 1,
    "task": 2,
    "search strategy": 2,
    "study": 1,
    "stage": 4,
    "command": 2,
}
RECIPES = recipes.read()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch copy of the repository in which all recipes have been carried out."""
    folder = recipes.scratch(tmp_path_factory.mktemp("copy"))
    for recipe in RECIPES.values():
        for change in recipe.changes:
            recipes.apply(change, folder)
    recipes.tidy(folder, "format", ".")
    finished = run("networks", folder, folder, "autox3d.pipeline.deps")
    assert finished.returncode == 0, finished.stderr
    return folder


def run(libraries: str, copy: Path, cwd: Path, *words: str | Path):
    """`python -m` in a fork, with the copy's `autox3d`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | killing.ENVIRONMENT | {"PATH": path, "DVC_NO_ANALYTICS": "1"}
    env["PYTHONPATH"] = str(copy / "src")
    return programs.run(libraries, [sys.executable, "-m", *words], cwd, env)


def prove(copy: Path, name: str, folder: Path, *more: str | Path) -> str:
    """Runs a proof of support.recipe_proofs; what it printed."""
    words = ("support.recipe_proofs", name, folder, *more)
    finished = run("networks", copy, copy / "src", *words)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_a_recipe_touches_few_files():
    """Its tests counted; params.yaml, where a user then asks for the thing, is not."""
    assert RECIPES.keys() == MOST.keys()
    for name, recipe in RECIPES.items():
        assert 1 <= len(recipe.files) <= MOST[name], f"{name}: {recipe.files}"


def test_no_recipe_edits_an_architecture_or_a_params_file():
    """A new column or section leaves all files as they are that do not use it."""
    edited = {c.path for r in RECIPES.values() for c in r.changes if c.where is not None}

    assert {path for path in edited if path.endswith(".yaml")} == {"dvc.yaml"}


def test_the_code_of_the_page_is_formatted_and_lints(copy):
    """New files stand on the page as `make format` leaves them."""
    for recipe in RECIPES.values():
        for change in recipe.changes:
            if change.where is None:
                assert (copy / change.path).read_text() == change.text, change.path
    recipes.tidy(copy, "check", ".")


def test_the_tests_of_the_recipes_pass(copy):
    """Those that they add, and those of rows and rooms that must hold for whatever is added."""
    added = [path for recipe in RECIPES.values() for path in recipe.files if "tests/" in path]
    files = [f"../{path}" for path in sorted(added)]
    assert len(files) == 2
    files += ["../tests/test_rows.py", "../tests/test_architecture.py"]
    words = ("pytest", "--rootdir", copy, "-c", copy / "pyproject.toml", "-p", "no:cacheprovider")
    finished = run("networks", copy, copy / "src", *words, *files)

    assert finished.returncode == 0, finished.stdout[-3000:]


def test_a_block_type_is_counted_built_trained_searched_and_folded(copy, tmp_path):
    """By rows and classes alone."""
    prove(copy, "block_type", tmp_path)


def test_an_attention_unit_is_counted_built_trained_searched_and_folded(copy, tmp_path):
    """By rows and classes alone."""
    prove(copy, "attention_unit", tmp_path)


def test_a_data_set_is_listed_from_real_files(copy, tmp_path):
    """By the stage `annotate`."""
    assert "4 videos of 2 classes, 3 of them on disk" in prove(copy, "data_set", tmp_path)


def test_a_task_is_trained_evaluated_and_reported(copy, clips, tmp_path):
    """Under its own names, through stages that know none of them."""
    prove(copy, "task", tmp_path / "work", clips)


def test_a_search_strategy_searches(copy, clips, tmp_path):
    """Named in params.yaml, and by nothing else."""
    prove(copy, "search_strategy", tmp_path / "work", clips)


def test_a_study_is_listed_and_runs(copy, clips, tmp_path):
    """With the entry of params.yaml that the recipe shows, at the size of a test."""
    prove(copy, "study", tmp_path / "work", clips, RECIPES["study"].settings)


def test_a_stage_is_listed_and_run_by_dvc(copy):
    """`make deps` names its code; without its section there is no such stage."""
    (copy / ".dvc").mkdir()
    (copy / ".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    entry = yaml.safe_load((copy / "dvc.yaml").read_text())["stages"]["account"]["do"]
    assert entry["deps"] == ["${item.of}", "src/autox3d/vision/arch"]

    def listed() -> list[str]:
        found = run("engines", copy, copy, "dvc", "stage", "list", "--name-only")
        assert found.returncode == 0, found.stderr
        return found.stdout.split()

    before = listed()
    with (copy / "params.yaml").open("a") as file:
        file.write(RECIPES["stage"].settings)
    assert sorted(listed()) == sorted([*before, "account@x3d_m"])
    done = run("engines", copy, copy, "dvc", "repro", "--single-item", "account@x3d_m")

    assert done.returncode == 0, done.stderr
    made = copy / "results/account/x3d_m.json"
    assert run_again(made) == "Run `account@x3d_m` again."  # said of a damaged one
    record = yaml.safe_load(made.read_text())
    assert record["net"] == "x3d_m"
    assert record["params"] == pytest.approx(3.76e6, rel=0.02)  # X3D, Table 4: 3.76 M


def test_a_command_answers(copy, clips, tmp_path):
    """To --help, and to a table of clips."""
    assert "Print how many clips each class" in prove(copy, "helps", tmp_path)
    shown = prove(copy, "command", tmp_path, clips)

    assert shown.splitlines()[0] == "task: classify"
    assert sum(map(int, re.findall(r"(\d+) (?:train|val)", shown))) == 24


def test_a_change_that_fits_nowhere_is_an_error(tmp_path):
    """The control: the test would notice if the page and the code grew apart."""
    (tmp_path / "a.py").write_text("one = 1\ntwo = 2\n")
    recipes.apply(recipes.Change("a.py", "in place of", "two", "two = 3\n"), tmp_path)
    assert (tmp_path / "a.py").read_text() == "one = 1\ntwo = 3\n"
    for change in (
        recipes.Change("a.py", "after", "three", "four = 4\n"),
        recipes.Change("a.py", None, None, "new\n"),
    ):
        with pytest.raises(AssertionError):
            recipes.apply(change, tmp_path)


def test_the_page_names_commands_that_there_are():
    """Each `make ...` is a target; the hooks of pre-commit are the lines of `make check`."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([\w-]+):", makefile))
    named = set(re.findall(r"\bmake ([a-z-]+)", recipes.PAGE.read_text()))
    assert {"setup", "test", "check", "deps", "format"} <= named <= targets

    (checks,) = re.findall(r"(?m)^check: .*\n((?:\t.*\n)+)", makefile)
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    tools = {" ".join(line.split()[:2]) for line in checks.splitlines()}
    entries = {" ".join(h["entry"].removeprefix(".venv/bin/").split()[:2]) for h in hooks}
    assert entries == tools
    assert all(h["language"] == "system" for h in hooks)


def test_the_working_tree_is_left_alone(copy):
    """All is done in the copy."""
    new = [c.path for r in RECIPES.values() for c in r.changes if c.where is None]

    assert not [path for path in new if (ROOT / path).exists()]
    assert all((copy / path).exists() for path in new)
