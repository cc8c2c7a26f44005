"""The papers' tables are complete, and agree with each other where they print the same."""

from __future__ import annotations

import html
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure
from support import ARCHITECTURES, results_folder

from autox3d import cli
from autox3d.core.errors import Refused
from autox3d.reporting import published as module
from autox3d.reporting.page import page, page_of, page_of_papers
from autox3d.reporting.published import KINETICS400, of_study, published, rivals
from autox3d.reporting.results import Results, read, settings_of
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

ROWS = {  # of each table, counted in the papers
    "Auto-X3D, Table 3": 6,
    "Auto-X3D, Table 4": 2,
    "Auto-X3D, Table 5": 23,
    "Auto-X3D, Table 6": 14,
    "Auto-X3D supplement, Table 1": 9,
    "X3D, Table 2": 6,
    "X3D, Table 4": 20,
    "X3D, Table 5": 6,
    "X3D, Table 6": 8,
    "X3D, Table 7": 12,
    "X3D, Table 8": 7,
    "X3D supplement, Table A.1": 10,
    "Auto-TSNet supplement, Table 1": 4,
    "Auto-TSNet supplement, Table 4": 9,
}
GAINS = [  # that the texts print: Auto-X3D, 5.3.1; X3D, Tables 7, A.1 and 4.2
    ("Auto-X3D, Table 5", "val", "AutoX3D-S", "X3D-S", 1.4),
    ("Auto-X3D, Table 5", "val", "AutoX3D-S", "TSM Mb-V2", 5.2),
    ("Auto-X3D, Table 5", "val", "AutoX3D-S", "VoV3D-M", 0.8),
    ("Auto-X3D, Table 5", "val", "AutoX3D-M", "MobileNetV2-3D", 5.5),
    ("Auto-X3D, Table 5", "val", "AutoX3D-M", "SlowFast 4x16, R50", 1.1),
    ("Auto-X3D, Table 5", "val", "AutoX3D-L", "X3D-L", 1.3),
    ("X3D, Table 4", "val", "X3D-XL", "SlowFast 16x8, R101+NL", -0.7),
    ("X3D, Table 7", "val", "X3D-XS", "EfficientNet3D-B0", 1.9),
    ("X3D, Table 7", "val", "X3D-M", "EfficientNet3D-B3", 2.2),
    ("X3D, Table 7", "val", "X3D-L", "EfficientNet3D-B4", 2.3),
    ("X3D, Table 7", "test", "X3D-XS", "EfficientNet3D-B0", 1.8),
    ("X3D, Table 7", "test", "X3D-L", "EfficientNet3D-B4", 2.8),
    ("X3D supplement, Table A.1", "val", "X3D-S without swish", "X3D-S", -0.9),
    ("X3D supplement, Table A.1", "val", "X3D-XL without squeeze-excite", "X3D-XL", -1.3),
]


def test_every_row_is_there():
    """All rows of fourteen tables, 136 in all; each says where it is from, and on which data."""
    assert Counter(row.source for row in published()) == ROWS
    assert sum(ROWS.values()) == 136
    assert all(row.dataset and row.network for row in published())


@pytest.mark.parametrize(("source", "split", "better", "worse", "gain"), GAINS)
def test_rows_differ_as_the_text_says(source, split, better, worse, gain):
    """The papers print these differences beside their tables."""
    top1 = {
        row.network: row.top1 or 0.0
        for row in published()
        if (row.source, row.split) == (source, split)
    }
    assert top1[better] - top1[worse] == pytest.approx(gain)


def test_tables_of_one_protocol_agree():
    """A network tested on one split with one number of views has one top-1, whoever prints it."""
    found: dict[tuple, set[float]] = {}
    for row in published():
        if row.top1 is not None and row.views is not None:
            name = row.network.replace("2-Stream", "Two-Stream")
            key = (row.dataset, row.split, name, row.views, row.pretrain)
            found.setdefault(key, set()).add(row.top1)

    assert {key: values for key, values in found.items() if len(values) > 1} == {}
    assert len(found) < len(published()) - 20  # many are printed more than once


def test_totals_are_thirty_views():
    """Auto-TSNet prints the multiply-adds of all views, X3D and Auto-X3D of one."""
    one = {row.network: row.gmacs for row in published() if row.source == "Auto-X3D, Table 5"}
    totals = {row.network: row for row in published() if row.total_gmacs is not None}

    for name in ("X3D-S", "X3D-M", "X3D-L"):
        assert totals[name].total_gmacs == pytest.approx(30 * (one[name] or 0))
        assert totals[name].seconds is not None


@pytest.mark.parametrize(
    ("network", "name"),
    [("X3D-XS", "x3d_xs"), ("X3D-S", "x3d_s"), ("X3D-M", "x3d_m"), ("X3D-XL", "x3d_xl")],
)
def test_costs_are_those_of_our_files(network, name):
    """X3D, Table 2, to its last digit."""
    (row,) = (r for r in published() if (r.source, r.network) == ("X3D, Table 2", network))
    counted = cost(Genotype.load(ARCHITECTURES / f"{name}.yaml"), 400)

    assert row.gmacs == pytest.approx(counted.gmacs, abs=0.0055)
    assert row.params_m == pytest.approx(counted.params_without_bn / 1e6, abs=0.005)


def test_the_figure_has_every_rival_once():
    """Auto-X3D's Table 5 whole, and its own networks without attention."""
    names = [(row.network, row.pretrain) for row in rivals()]

    assert len(names) == len(set(names)) == ROWS["Auto-X3D, Table 5"] + 3
    assert {row.dataset for row in rivals()} == {KINETICS400}


def test_studies_are_compared_with_their_own_rows():
    """By the names of our rows, on the data set that the rows are printed of."""
    assert list(of_study("channels", KINETICS400)) == ["naive", "fair"]
    attention = of_study("attention", KINETICS400)
    assert [row.top1 for row in attention.values()] == [72.9, 72.6, 73, 72.8, 73, 73.3]
    betas = of_study("beta", "Kinetics-100")
    assert [row.gmacs for row in betas.values()] == [2.76, 1.93, 1.56, 1.39]
    assert of_study("beta", KINETICS400) == of_study("seeds", KINETICS400) == {}
    assert of_study("channels", None) == {}


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ("[network, top2]", "A, Table 1: unknown column 'top2'. Fix it."),
        ("[network]", "A, Table 1, row 1: 2 values for 1 columns. Fix the row."),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, monkeypatch, columns, line):
    """Which table, which row, which column."""
    path = tmp_path / "published.yaml"
    path.write_text(
        f"tables: [{{source: 'A, Table 1', dataset: B, split: null, study: null,"
        f" columns: {columns}, rows: [[C, 70.0]]}}]"
    )
    monkeypatch.setattr(module, "PUBLISHED", path)
    with pytest.raises(Refused) as refused:
        published()
    assert str(refused.value) == f"{path}: {line}"


def results_on(root: Path, dataset: str, classes: int) -> Results:
    """Invented results under `root`, as if of this data set, perhaps by its version; validation."""
    form, _, version = dataset.partition(" ")
    annotate = {"dataset": form, "files": {"train": f"{form}_train_v{version}.csv"}}
    params = yaml.safe_load((root / "params.yaml").read_text()) | {"annotate": annotate}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    path = root / "results/data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": classes}))
    for path in (root / "results/evaluate").glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"split": "val"}))
    return read(root / "results", settings_of(root / "params.yaml"))


def titles(text: str) -> list[str]:
    """The tables of the papers in a page."""
    shown = map(html.unescape, re.findall(r"<summary>(.*?)</summary>", text))
    return [title for title in shown if ", Table" in title]


@pytest.mark.parametrize(
    ("dataset", "classes", "name"),
    [
        ("kinetics", 400, "Kinetics-400"),
        ("kinetics", 600, "Kinetics-600"),
        ("somethingv2", 174, "Something-Something-V2"),
        ("charades", 157, "Charades"),
        ("ava 2.1", 60, "AVA 2.1"),
        ("ava 2.2", 60, "AVA 2.2"),
        ("kinetics", 200, None),
        ("ava 2.2", 80, None),
        ("demo", 8, None),
    ],
)
def test_results_stand_beside_those_on_the_same_data_set_alone(
    tmp_path, monkeypatch, dataset, classes, name
):
    """Every table of it, in the report and in a page of one network; nothing of other data."""
    monkeypatch.setattr(Figure, "savefig", lambda _, target, **__: target.write("<svg></svg>"))
    results_folder.make(tmp_path)
    results = results_on(tmp_path, dataset, classes)
    expected = dict.fromkeys(
        f"{row.source}: {row.dataset}{f' {row.split}' if row.split else ''}"
        for row in published()
        if row.dataset == name
    )

    for text in (page(results), page_of(results, "s", "S")):
        assert titles(text) == list(expected)
        assert ("Accuracy over cost in print" in text) == (name == KINETICS400)
        assert bool(expected) == ('id="papers"' in text)


def test_our_networks_are_in_the_figure_with_all_rivals(tmp_path):
    """In percent as printed, at the cost of their view; other splits than validation are not."""
    results_folder.make(tmp_path)
    results = results_on(tmp_path, "kinetics", 400)
    text = page(results)
    (figure,) = re.findall(r'aria-label="(Published top-1 accuracy[^"]*)"', text)
    one = next(network for network in results.tested if network.name == "s")

    for row in rivals():
        star = "*" * (row.pretrain is not None)
        assert f"{html.escape(row.network)}{star} {row.top1:g} at " in figure
    assert f"s {100 * one.headline:.4g} at {one.evaluation.gmacs_lcr:.4g}" in figure
    path = tmp_path / "results/evaluate/s.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split": "test"}))
    again = page(read(tmp_path / "results", results.settings))
    assert f"s {100 * one.headline:.4g} at" not in again


def test_the_page_of_the_papers_has_every_row(tmp_path, monkeypatch, capsys):
    """136 of them, in the tables that they are from; the command writes it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["autox3d", "papers"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"The page: {tmp_path}/papers.html\n"
    text = (tmp_path / "papers.html").read_text()

    assert text == page_of_papers()
    bodies = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert sum(body.count("<tr>") for body in bodies) == len(published()) == 136
    assert {title.partition(":")[0] for title in titles(text)} == set(ROWS)
