"""The comparison of two runs lists what was changed and the effects, and nothing else."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT, results_folder
from support.compared import COMPARED, change

from autox3d.commands.compare import load
from autox3d.core.errors import Refused
from autox3d.core.schema import parse
from autox3d.core.scores import Score
from autox3d.pipeline.stage_names import stage_names
from autox3d.reporting import differences_page
from autox3d.reporting.differences import (
    Difference,
    PipelineRun,
    code,
    differences,
    networks_in_both,
    standard_error,
    tables,
)
from autox3d.reporting.results import read

BIN = Path(sys.executable).parent
HOSTILE = '<script>alert(1)</script> & "$x^2$'
OWN = {"DVC_NO_ANALYTICS": "1"} | {
    f"GIT_{who}_{what}": "toy@localhost"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


def run(root: Path) -> PipelineRun:
    return PipelineRun(str(root), read(root / "results", parse(root / "params.yaml")), {})


def top1(of: PipelineRun) -> float:
    """The accuracy of the first network."""
    return of.results.tested[0].headline


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    """Whatever there is to compare."""
    results_folder.make(tmp_path)
    assert differences(run(tmp_path), run(tmp_path)) == []
    assert differences_page.text(run(tmp_path), run(tmp_path)).endswith("\n\nNo difference.")


def test_causes_come_before_effects(tmp_path: Path) -> None:
    """With the change, where there are two numbers."""
    results_folder.make(tmp_path)
    before = run(tmp_path)
    change(tmp_path)
    rows = differences(before, run(tmp_path))
    assert rows == [
        Difference("settings", "search.target", 0.012, 0.02),
        Difference("genotype", "groups.1.blocks", 1, 3),
        Difference("s", "lcr.top1", top1(before), 0.5),
    ]
    assert [round(d.change or 0, 3) for d in rows] == [
        0.008,
        2,
        round(0.5 - top1(before), 3),
    ]


def test_a_network_of_one_run_alone_is_told(tmp_path: Path) -> None:
    """All it has stands against nothing."""
    results_folder.make(tmp_path)
    before = run(tmp_path)
    (tmp_path / "results/evaluate/l.json").unlink()
    rows = differences(before, run(tmp_path))
    assert {difference.subject for difference in rows} == {"l"}
    assert all(difference.after is None for difference in rows)


def test_changed_code_and_tables_are_told_from_the_lock(tmp_path: Path) -> None:
    """Rooms and tables by their hashes, of the stages that params.yaml names: DVC keeps the others.

    A table is as the last stage left it that wrote it, also where one that reads it has not run.
    """

    def entry(room: str, table: str, **more: Any) -> dict[str, Any]:
        deps = [{"path": "src/autox3d/vision", "md5": room}]
        return {"deps": [*deps, {"path": "data/clips.parquet", "md5": table}], **more}

    results_folder.make(tmp_path)
    written = [{"path": "data/clips.parquet", "md5": "c" * 32}]
    stages = {"index": {"outs": written}, "search": entry("a" * 32, "b" * 32), "derive": {}}
    stages |= {"train@s": entry("a" * 32, "c" * 32), "train@gone": entry("0" * 32, "0" * 32)}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    everything = load(str(tmp_path)).stages
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    there = load(str(tmp_path)).stages

    assert set(there) == {"index", "search", "derive", "train@s"}
    assert tables(there) == {"data/clips.parquet": "c" * 8}
    assert code(there) == {"src/autox3d/vision": "a" * 8}
    assert code(everything) == {"src/autox3d/vision": f"{'0' * 8} {'a' * 8}"}


MORE = """
  listed: {foreach: [a, 2], do: {cmd: 'echo ${item}'}}
  keyed: {foreach: {x: {of: 1}, y: {of: 2}}, do: {cmd: 'echo ${item.of}'}}
  grid: {matrix: {m: [x, y], n: [1, 2]}, cmd: 'echo ${item.m} ${item.n}'}
"""


@pytest.mark.parametrize("name", ["params", "params/demo_streams", "params/demo_expand"])
def test_the_stages_of_a_params_file_are_those_that_dvc_finds(tmp_path: Path, name: str) -> None:
    """With `foreach`, with `matrix`, with sections that are not there, with stages of one's own."""
    shutil.copy(ROOT / f"{name}.yaml", tmp_path / "params.yaml")
    pipeline = (ROOT / "dvc.yaml").read_text().replace("\nstages:\n", f"\nstages:{MORE}")
    (tmp_path / "dvc.yaml").write_text(pipeline)
    tool(tmp_path, "git", "init", "--quiet")
    tool(tmp_path, str(BIN / "dvc"), "init", "--quiet")
    listed = tool(tmp_path, str(BIN / "dvc"), "stage", "list", "--name-only").split()

    found = list(stage_names(parse(tmp_path / "dvc.yaml"), parse(tmp_path / "params.yaml")))
    assert sorted(found) == sorted(listed)


def test_a_dvc_file_without_stages_has_none():
    """Nor has a path through a plain value anything."""
    assert list(stage_names({}, {})) == list(stage_names({"stages": ["a"]}, {})) == []
    assert list(stage_names({"stages": {"a": {"foreach": "${seed.x}"}}}, {"seed": 1})) == []


def test_the_standard_error_is_that_of_two_shares(tmp_path: Path) -> None:
    """sqrt(p (1 - p) / n + q (1 - q) / n), over 128 videos."""
    results_folder.make(tmp_path)
    tested = run(tmp_path).results.tested[0]
    scores = [Score(views=30, metrics={"top1": share}) for share in (0.5, 0.25)]
    half, quarter = (
        tested._replace(evaluation=replace(tested.evaluation, lcr=score)) for score in scores
    )
    assert standard_error(half, quarter) == pytest.approx((0.25 / 128 + 0.1875 / 128) ** 0.5)


def test_videos_without_labels_are_not_compared(tmp_path: Path) -> None:
    """There is no accuracy then, hence no change and no error of it."""
    results_folder.make(tmp_path)
    before = run(tmp_path)
    path = tmp_path / "results/evaluate/s.json"
    path.write_text(path.read_text().replace('"labelled": 128', '"labelled": 0'))
    names = set(networks_in_both(before, run(tmp_path)))

    assert names == set(results_folder.NETWORKS) - {"s"}


def test_many_changed_classes_are_a_line(tmp_path: Path) -> None:
    """The text names the ones that differ most, the page draws them."""
    classes = [f"class {i:03d}" for i in range(80)]
    results_folder.make(tmp_path, classes=classes)
    before = run(tmp_path)
    path = tmp_path / "results/evaluate/s_t1.json"
    tested = json.loads(path.read_text())
    for number, row in enumerate(tested["per_class"]):
        row["top1"] = 1.0 if number < 70 else 0.0
    path.write_text(json.dumps(tested))
    said = differences_page.text(before, run(tmp_path))
    (gain,) = (line for line in said.splitlines() if "Classes that gain most" in line)
    assert len(gain.split(", ")) == differences_page.CLASSES
    page = differences_page.page(before, run(tmp_path))
    assert "Of 80 classes, the 30 that gain most and the 30 that lose most." in page


def test_the_page_escapes_and_loads_nothing(tmp_path: Path) -> None:
    """As the report does: a class called like a script is text."""
    results_folder.make(tmp_path, classes=(HOSTILE, *results_folder.CLASSES[1:]))
    before = run(tmp_path)
    change(tmp_path)
    path = tmp_path / "results/data.json"
    path.write_text(path.read_text().replace('"usable": 91', '"usable": 90'))
    after = run(tmp_path)
    page = differences_page.page(before, after)
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["What was changed", "What it did"]
    assert "<script" not in page
    assert f"by_class.{html.escape(HOSTILE)}" in page.replace("&#34;", "&quot;")
    loads = re.findall(r'\b(?:src|href|xlink:href)="([^"]*)"', page)
    assert all(address.startswith(("#", "data:")) for address in loads)
    error = standard_error(before.results.tested[0], after.results.tested[0])
    assert error
    assert re.findall(r"<dt>(s)</dt><dd>(.*?)</dd><dd class=\"below\">(.*?)</dd>", page) == [
        ("s", f"{100 * (0.5 - top1(before)):+.1f} ± {100 * error:.1f}", "top-1, B less A")
    ]
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawn) == COMPARED
    for svg in drawn:
        ET.fromstring(svg)


# ---- revisions


def tool(root: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=root, env=os.environ | OWN, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits: results in git, the genotype and a folder of them in DVC; then `change`."""
    root = tmp_path_factory.mktemp("project")
    tool(root, "git", "init", "--quiet", "--initial-branch", "main")
    tool(root, "git", "commit", "--quiet", "--allow-empty", "--message", "nothing yet")
    tool(root, str(BIN / "dvc"), "init", "--quiet")
    results_folder.make(root)
    for step in (None, change):
        if step:
            step(root)
        (root / "results/derive/front").mkdir(exist_ok=True)
        shutil.copy(root / "results/derive/genotype.yaml", root / "results/derive/front/0.01.yaml")
        there = ("results/derive/genotype.yaml", "results/derive/front")
        tool(root, str(BIN / "dvc"), "add", "--quiet", *there)
        tool(root, "git", "add", "--all")
        tool(root, "git", "commit", "--quiet", "--message", "a run")
    return root


def test_two_revisions_are_compared(project: Path) -> None:
    """By their names, from git and from DVC's cache; the page is written, too."""
    command = [str(BIN / "autox3d"), "compare", "HEAD~1", "main", "--html", "compared.html"]
    said = tool(project, *command)
    first, second = (
        tool(project, "git", "rev-parse", "--short", n).strip() for n in ("main~1", "main")
    )
    old = json.loads(tool(project, "git", "show", "main~1:results/evaluate/s.json"))
    was, did = old["lcr"]["top1"], 0.25 - old["per_class"][1]["top1"]
    lines = [line.split() for line in said.splitlines()]
    assert lines[:2] == [
        ["A", "revision", "HEAD~1", f"({first})"],
        ["B", "revision", "main", f"({second})"],
    ]
    assert lines[3:8] == [
        ["settings"],
        ["search.target", "0.012", "0.02", "+0.008"],
        [],
        ["genotype"],
        ["groups.1.blocks", "1", "3", "+2"],
    ]
    assert lines[9:11] == [["s"], ["lcr.top1", f"{was:.4g}", "0.5", f"{0.5 - was:+.4g}"]]
    assert f"Classes that lose most: pan_right {did:+.3f}." in said
    assert "groups.1.blocks" in (project / "compared.html").read_text()


def test_a_folder_and_a_revision_are_compared(project: Path) -> None:
    """What lies here is what was committed last."""
    with contextlib.chdir(project):
        assert differences(load("."), load("main")) == []
        assert not load("main").lost


def test_what_the_cache_has_lost_is_named(project: Path, tmp_path: Path) -> None:
    """And is not taken for a change; the rest is compared."""
    tool(tmp_path, "git", "clone", "--quiet", str(project), "clone")
    with contextlib.chdir(tmp_path / "clone"):
        before, after = load("main~1"), load("main")
    assert sorted(before.lost) == ["results/derive/front", "results/derive/genotype.yaml"]
    assert [d.subject for d in differences(before, after)] == ["settings", "s"]
    assert "genotype.yaml not in DVC's cache. `dvc fetch` may bring" in differences_page.text(
        before, after
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nowhere", "nowhere: neither a folder nor a git revision here. Look at `git log`."),
        ("results", "results: no params.yaml in it. Name a folder in which `dvc repro` has run."),
        ("main~2", "main~2 ({0}): has no params.yaml, so no run. Name a later revision."),
    ],
)
def test_what_is_no_run_is_refused(project: Path, name: str, line: str) -> None:
    """In one line, with the way out."""
    first = tool(project, "git", "rev-parse", "--short", "main~2").strip()
    with contextlib.chdir(project), pytest.raises(Refused) as refused:
        load(name)
    assert str(refused.value) == line.format(first)


def test_what_git_refuses_is_told_as_git_tells_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone of another user, with the way out; and a folder without a repository."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with contextlib.chdir(project), pytest.raises(Refused) as refused:
        load("main~1")
    assert str(refused.value) == (
        f"main~1: detected dubious ownership in repository at '{project}'. If you trust it: "
        f"git config --global --add safe.directory {project}"
    )
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with contextlib.chdir(tmp_path), pytest.raises(Refused) as refused:
        load("main~1")
    assert str(refused.value) == (
        "main~1: not a git repository (or any of the parent directories): .git. Name a folder, or "
        "work in a clone."
    )


def test_a_damaged_file_is_named_as_its_revision_has_it(project: Path, tmp_path: Path) -> None:
    """Not by the scratch folder that it was written to."""
    clone = tmp_path / "clone"
    tool(tmp_path, "git", "clone", "--quiet", str(project), "clone")
    (clone / "results/data.json").write_text("[]")
    tool(clone, "git", "commit", "--quiet", "--all", "--message", "damaged")
    commit = tool(clone, "git", "rev-parse", "--short", "HEAD").strip()
    with contextlib.chdir(clone), pytest.raises(Refused) as refused:
        load("HEAD")
    assert str(refused.value).startswith(f"HEAD ({commit})/results/data.json: not a JSON object.")
