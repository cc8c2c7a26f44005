"""The report names what is missing, refuses what is damaged, leaves out what nobody asked for."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest
from support import results_folder
from support.reports import TITLES, report, shown

from autox3d.core.errors import Refused
from autox3d.core.schema import dump, parse
from autox3d.reporting.results import read
from autox3d.reporting.results_table import markdown


def test_a_control_that_was_left_out_leaves_no_figure(tmp_path: Path) -> None:
    """Nor do missing latencies and clips; an empty trace is what a control of 0 epochs writes."""
    results_folder.make(tmp_path)
    trace = tmp_path / "results/control/trace.csv"
    trace.write_text(trace.read_text().split("\n")[0] + "\n")
    (tmp_path / "results/control/alpha.json").write_text('{"space": "demo", "choices": []}')
    made = tmp_path / "results/control/control_made.json"
    made.write_text(json.dumps(json.loads(made.read_text()) | {"hours": 0.0}))
    for folder in ("latency", "explain"):
        shutil.rmtree(tmp_path / "results" / folder)
    page = shown(tmp_path, drawn=False)
    assert "null control" not in re.sub("<[^>]*>", "", page.split('id="origins"')[0])
    assert "by the clock" not in page
    assert "<img" not in page
    assert "Not there yet: <code>results/explain/*.json</code>" in page


def test_a_warm_up_of_no_epochs_leaves_no_figure(tmp_path: Path) -> None:
    """Its curve is a head without rows."""
    results_folder.make(tmp_path)
    assert "Warm-up of the supernet" in shown(tmp_path, drawn=False)
    (tmp_path / "results/warmup.csv").write_text("epoch,phase,lr,loss\n")
    page = shown(tmp_path, drawn=False)

    assert "Warm-up of the supernet" not in page
    assert 'id="training"' in page


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """An empty results folder gives a page too, which says what to run."""
    (tmp_path / "results").mkdir()
    (tmp_path / "params.yaml").write_text(results_folder.SETTINGS)
    done = report(tmp_path)

    assert done.returncode == 0, done.stderr
    page = (tmp_path / "results/report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == [t for t in TITLES if t != "What it gets wrong"]
    named = re.findall(r"<code>(results/[^<]*)</code>", page)
    for path in ("derive/genotype.yaml", "search/trace.csv", "search/alpha.json", "data.json"):
        assert f"results/{path}" in named
    for name in results_folder.NETWORKS:  # each, also where nothing of it is there
        assert {f"results/evaluate/{name}.json", f"results/train/{name}.csv"} <= set(named)
    table = (tmp_path / "results/table.md").read_text()
    assert table == "No network has been evaluated yet.\n"


def test_a_network_without_its_evaluation_is_named(tmp_path: Path) -> None:
    """Half of the results: the others are shown."""
    results_folder.make(tmp_path)
    (tmp_path / "results/evaluate/m.json").unlink()
    assert "Not there yet: <code>results/evaluate/m.json</code>. Run" in shown(
        tmp_path, drawn=False
    )
    results = read(tmp_path / "results", parse(tmp_path / "params.yaml"))
    assert "| m " not in markdown(results)


def test_a_test_without_labels_has_no_accuracy(tmp_path: Path) -> None:
    """Accuracies that are null: a dash in the table, no figure, no error."""
    results_folder.make(tmp_path)
    for path in (tmp_path / "results/evaluate").glob("*.json"):
        found = json.loads(path.read_text())
        top = {"top1": None, "top5": None, "mean": None}
        found |= {"labelled": 0, "center": {"views": 10} | top, "lcr": {"views": 30} | top}
        found["per_class"] = [{**row, "top1": None} for row in found["per_class"]]
        path.write_text(json.dumps(found))
    assert "This project" not in shown(tmp_path, drawn=False)
    results = read(tmp_path / "results", parse(tmp_path / "params.yaml"))
    assert "| s       | 30    | -        | -    |                | -        |" in markdown(results)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (
            "search/trace.csv",
            "epoch,loss,entropy\n1,2.0,1.0\n",
            "results/search/trace.csv: missing column 'mode_gmacs'. Run `search` again.",
        ),
        (
            "train/s.csv",
            "",
            "results/train/s.csv: is empty. Run `train@s` again.",
        ),
        (
            "evaluate/s.json",
            '{"net": "s"}',
            "results/evaluate/s.json: missing 'per_class'. Run `evaluate@s` again.",
        ),
        (
            "data.json",
            "[]",
            "results/data.json: not a JSON object. Run `index` again.",
        ),
        (
            "search/alpha.json",
            '{"space": "demo", "choices":'
            ' [{"group": 1, "column": "kernel", "candidates": [], "logits": []}]}',
            "results/search/alpha.json: missing 'choices', row 1, 'probabilities'."
            " Run `search` again.",
        ),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, content: str, line: str) -> None:
    """File, place and way out."""
    results_folder.make(tmp_path)
    (tmp_path / "results" / name).write_text(content)
    with pytest.raises(Refused) as refused:
        shown(tmp_path, drawn=False)
    assert str(refused.value) == line


def test_a_metric_that_its_task_has_is_not_left_out(tmp_path: Path) -> None:
    """A misspelt metric is a metric of no task: the one that is missing is named."""
    results_folder.make(tmp_path)
    path = tmp_path / "results/evaluate/s.json"
    path.write_text(path.read_text().replace('"top5"', '"top_5"'))
    with pytest.raises(Refused) as refused:
        shown(tmp_path)

    line = "results/evaluate/s.json: missing metric 'top5'. Run `evaluate@s` again."
    assert str(refused.value) == line


def test_sections_of_what_nobody_asked_for_are_left_out(tmp_path: Path) -> None:
    """No heat maps where the settings name no network for them; no studies without results."""
    results_folder.make(tmp_path)
    asked = parse(tmp_path / "params.yaml") | {"explain": {"networks": []}}
    (tmp_path / "params.yaml").write_text(dump(asked))
    page = shown(tmp_path)

    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        title for title in TITLES if title not in ("What it gets wrong", "Where it looked")
    ]


def test_a_refusal_leaves_no_page(tmp_path: Path) -> None:
    """The program says its line and ends with 1."""
    results_folder.make(tmp_path)
    (tmp_path / "results/explain/s.json").write_text("{}")
    done = report(tmp_path)
    line = "results/explain/s.json: missing 'net'. Run `explain@s` again.\n"
    assert (done.returncode, done.stderr) == (1, line)
    assert not (tmp_path / "results/report.html").exists()


def test_what_earlier_settings_left_is_not_shown(tmp_path: Path) -> None:
    """DVC deletes no output of an entry that is gone; the report has what params.yaml names.

    The page and the table are, byte for byte, those of a folder that never had the others.
    """
    kept, never = tmp_path / "kept", tmp_path / "never"
    for root in (kept, never):
        results_folder.make(root)
        results_folder.random_networks(root, (0.5, 0.6), 0.007)
        assert "study@random_networks" in shown(root, drawn=False)
        settings = parse(root / "params.yaml")
        changed = {
            "studies": {},
            "scale": {"s": settings["scale"]["s"]},
            "train": {name: settings["train"][name] for name in ("s", "x3d_s")},
            "explain": {"networks": ["x3d_s"]},
        }
        (root / "params.yaml").write_text(dump(settings | changed))
    gone = ("m", "l", "s_t1")
    for path in sorted((never / "results").rglob("*")):
        if path.stem.removesuffix("_made").removesuffix("_confusion") in (*gone, "random_networks"):
            path.unlink()
    (never / "results/explain/s.json").unlink()

    assert [one.name for one in read(kept / "results", parse(kept / "params.yaml")).networks] == [
        "s",
        "x3d_s",
    ]
    assert shown(kept) == shown(never)
    with contextlib.chdir(kept):
        there = markdown(read(Path("results"), parse(Path("params.yaml"))))
    with contextlib.chdir(never):
        assert there == markdown(read(Path("results"), parse(Path("params.yaml"))))
    for name in gone:
        assert f"| {name} " not in there
