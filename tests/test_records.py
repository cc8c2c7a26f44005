"""Files between stages are typed: read and written again, each has the same bytes."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from support import results_folder

from autox3d.core import curves, records, search_records
from autox3d.core.curves import Curve
from autox3d.core.errors import Refused
from autox3d.core.origin import stage_of

ROOT = Path(__file__).parents[1]
KINDS: dict[str, Any] = {
    "data.json": records.Account,
    "derive/derive.json": search_records.Derived,
    "*/alpha.json": search_records.Alpha,
    "evaluate/*.json": records.Evaluation,
    "latency/*.json": records.Latency,
    "explain/*.json": records.Explanation,
    "warmup_made.json": search_records.WarmupMade,
    "*/*_made.json": records.Provenance,
}


def committed(tmp_path: Path) -> list[Path]:
    """The demo's JSON and CSV results as git has them."""
    tree = ["git", "-C", str(ROOT), "ls-tree", "-r", "--name-only", "HEAD", "results"]
    names = subprocess.run(tree, capture_output=True, text=True, check=True).stdout.split()
    paths = []
    for name in names:
        if name.endswith((".json", ".csv")):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            blob = ["git", "-C", str(ROOT), "show", f"HEAD:{name}"]
            path.write_bytes(subprocess.run(blob, capture_output=True, check=True).stdout)
            paths.append(path)
    return paths


def written_again(path: Path, results: Path, target: Path) -> None:
    """Reads a file of `results` as the record that it is, and writes it to `target`."""
    name = path.relative_to(results)
    if path.stem.endswith("_confusion"):
        curves.write_confusion(curves.read_confusion(path), target)
    elif path.suffix == ".csv":
        Curve.read(path, ("epoch",)).write(target)
    elif path.parent.name == "summary":  # never read: it follows from two other records
        tested, latency = (results / folder / path.name for folder in ("evaluate", "latency"))
        of = records.Evaluation.read(tested), records.Latency.read(latency)
        records.Summary.of(*of).write(target)
    else:
        (kind,) = (kind for pattern, kind in KINDS.items() if name in matching(results, pattern))
        kind.read(path).write(target)


def matching(results: Path, pattern: str) -> set[Path]:
    return {path.relative_to(results) for path in results.glob(pattern)}


def test_committed_results_keep_their_bytes(tmp_path: Path) -> None:
    """Every JSON and CSV file of the demo, read and written."""
    paths = committed(tmp_path)
    assert len(paths) > 20
    for path in paths:
        written_again(path, tmp_path / "results", tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == path.read_bytes(), path


def test_no_key_is_lost(tmp_path: Path) -> None:
    """Of all kinds of JSON files, those that DVC keeps out of git, too."""
    results_folder.make(tmp_path)
    results = tmp_path / "results"
    for pattern in KINDS:
        paths = list(results.glob(pattern))
        assert paths, pattern
        for path in paths:
            written_again(path, results, tmp_path / "again")
            assert json.loads((tmp_path / "again").read_text()) == json.loads(path.read_text())


def test_another_task_names_itself_and_its_metrics(tmp_path: Path) -> None:
    """The file of a classifier names no task; any other metric stands where top-1 does."""
    results_folder.make(tmp_path)
    path = tmp_path / "results/evaluate/s.json"
    content = json.loads(path.read_text().replace('"top1"', '"map"'))
    content["task"] = "multilabel"
    path.write_text(json.dumps(content))
    record = records.Evaluation.read(path)

    assert (record.task, record.class_metric) == ("multilabel", "map")
    assert next(iter(record.headline.metrics)) == "map"
    record.write(tmp_path / "again")
    assert json.loads((tmp_path / "again").read_text()) == content


@pytest.mark.parametrize(
    ("name", "change", "line"),
    [
        ("evaluate/s.json", {"lcr": None}, "missing 'lcr'. Run `evaluate@s` again."),
        ("evaluate/s.json", {"vidoes": 1}, "unknown 'vidoes'. Did you mean 'videos'? "
         "Run `evaluate@s` again."),
        ("latency/s.json", {"views": "30"}, "'views' must be int, not '30'. "
         "Run `latency@s` again."),
        ("latency/s.json", {"commit": None}, "missing 'commit'. Run `latency@s` again."),
        ("train/s_made.json", {"hours": None}, "missing 'hours'. Run `train@s` again."),
        ("warmup_made.json", {"device": 1}, "'made.device' must be text, not 1. "
         "Run `warmup` again."),
        ("data.json", {"usable": None}, "missing 'usable'. Run `index` again."),
        ("data.json", {"by_class": ["a"]}, "a row is not a JSON object. Run `index` again."),
        ("control/alpha.json", {"choices": 1}, "'choices' must be a list, not 1. "
         "Run `control` again."),
        ("derive/derive.json", {"found": None}, "missing 'found'. Run `derive` again."),
        ("explain/s.json", {"right": None}, "missing 'right'. Run `explain@s` again."),
    ],
)  # fmt: skip
def test_a_damaged_record_is_one_line(
    tmp_path: Path, name: str, change: dict[str, Any], line: str
) -> None:
    """File, field and the stage to run again."""
    results_folder.make(tmp_path)
    path = tmp_path / "results" / name
    content = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(Refused) as refused:
        written_again(path, tmp_path / "results", tmp_path / "again")

    assert str(refused.value) == f"{path}: {line}"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "there is no such file. Run `search` again."),
        ("{", "not JSON (Expecting property name enclosed in double quotes: "
         "line 1 column 2 (char 1)). Run `search` again."),
        ("[]", "not a JSON object. Run `search` again."),
    ],
)  # fmt: skip
def test_a_file_that_is_no_record_is_one_line(
    tmp_path: Path, content: str | None, line: str
) -> None:
    """Missing, cut off, or of another form."""
    path = tmp_path / "alpha.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Refused) as refused:
        search_records.Alpha.read(path)

    assert str(refused.value) == f"{path}: {line}"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "is empty."),
        ("epoch,lr\n1,0.1\n", "missing column 'loss'."),
        ("epoch,loss\n1,0.1\n2\n", "line 3 has 1 cells, the head has 2."),
        ("epoch,loss\n1,high\n", "line 2: 'loss' must be a number, not 'high'."),
    ],
)
def test_a_damaged_curve_is_one_line(tmp_path: Path, content: str, line: str) -> None:
    """File, place and the stage to run again."""
    path = tmp_path / "train/s.csv"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(Refused) as refused:
        Curve.read(path, ("epoch", "loss"))

    assert str(refused.value) == f"{path}: {line} Run `train@s` again."


def test_curves_have_the_bytes_that_pandas_writes(tmp_path: Path) -> None:
    """Numbers of every size, not-a-number, and words with commas and quotes."""
    random = np.random.default_rng(1)
    values = (random.random(200) * 10.0 ** random.integers(-30, 30, 200)).tolist()
    columns = {
        "epoch": list(range(200)),
        "phase": ['a, "b"', "ü"] * 100,
        "loss": values,
        "lr": [math.nan, 1.0, 1e16, 1e-5] * 50,
    }
    Curve(columns).write(tmp_path / "ours.csv")
    pd.DataFrame(columns).to_csv(tmp_path / "pandas.csv", index=False, lineterminator="\n")

    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()
    again = Curve.read(tmp_path / "ours.csv", ())
    assert again["loss"] == values
    assert again.columns["phase"] == columns["phase"]


def outputs() -> dict[str, str]:
    """Each file under results/ that dvc.yaml knows, and its stage, for a network `s` and a step."""
    item = {"network": "s", "step": "step1", "target": "s", "axis": "depth", "seed": "1"}
    found = {}
    for name, entry in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        key = "step1" if entry.get("foreach") == "${expand.path}" else "s"
        key = "-".join(item[of] for of in entry["matrix"]) if "matrix" in entry else key
        several = "foreach" in entry or "matrix" in entry
        do = entry.get("do", entry)
        for out in [*do.get("outs", []), *do.get("metrics", []), *do.get("plots", [])]:
            path = next(iter(out)) if isinstance(out, dict) else out
            path = path.replace("${key}", key).replace("${item}", key)
            for of, value in item.items():
                path = path.replace(f"${{item.{of}}}", value)
            found[path] = f"{name}@{key}" if several else name
    return found


def test_the_stage_to_run_again_is_the_one_that_writes_the_file() -> None:
    """As dvc.yaml has it, for every JSON and CSV file under results/."""
    files = {p: s for p, s in outputs().items() if p.startswith("results/")}
    kept = {p: s for p, s in files.items() if p.endswith((".json", ".csv"))}
    assert len(kept) > 10
    assert {path: stage_of(Path(path)) for path in kept} == kept
