"""Several splits are tested side by side, each as if alone, and one crop where one is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from support import ROOT, killing, results_folder

from autox3d.core import schema, settings, tables
from autox3d.core.device_table import Rates
from autox3d.core.errors import Refused
from autox3d.core.records import Summary
from autox3d.core.scores import Evaluation
from autox3d.evaluation.run import logged
from autox3d.evaluation.splits import main_views
from autox3d.planning.plan import Videos, stage_costs
from autox3d.reporting.page import page
from autox3d.reporting.results import read
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet, open_branches

pytestmark = pytest.mark.timeout(600)

TESTS: dict[str, dict[str, Any]] = {
    "both": {"split": "val", "splits": ["test", "val"]},
    "val": {"split": "val"},
    "test": {"split": "test"},
    "one_crop": {"split": "val", "crops": 1},
}
OF_A_SPLIT = ("split", "videos", "labelled", "k_clips", "center", "lcr")


@pytest.fixture(scope="module")
def made(clips: Path, runner: killing.Runner, tmp_path_factory) -> dict[str, Path]:
    """A folder for each of TESTS, where `evaluate` has run: 5 videos of val, 3 of test."""
    top = tmp_path_factory.mktemp("splits")
    for name, tests in TESTS.items():
        folder = killing.lay_out(clips, top / name)
        (folder / "clips.parquet").unlink()
        table = tables.read_table(clips / "clips.parquet")
        table.loc[table.index[-3:], "split"] = "test"
        classes = tables.read_classes(clips / "clips.parquet")
        tables.write_table(table, folder / "clips.parquet", classes)
        torch.manual_seed(1)
        genotype = Genotype.load(folder / "s.yaml")
        net = VideoNet(genotype, 3)
        open_branches(net, 1.0)
        weights.save(folder / "weights", net, genotype, list(classes), {}, {})
        params = yaml.safe_load((folder / "params.yaml").read_text())
        params["evaluate"] |= tests
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        runner.finish("evaluate", folder)
    return {name: top / name for name in TESTS}


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluate.json").read_text())


def same_views(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    columns = ["key", "crops", "place", "side", "label"]
    same = one[columns].reset_index(drop=True).equals(two[columns].reset_index(drop=True))
    return same and np.array_equal(
        np.array(one["scores"].to_list()), np.array(two["scores"].to_list())
    )


def test_each_split_is_tested_as_if_alone(made):
    """The main one has the same record, scores and confusion; the other stands beside it."""
    both, val, test = (record(made[name]) for name in ("both", "val", "test"))
    beside = both.pop("beside")
    scores = {name: tables.read_table(made[name] / "scores.parquet") for name in TESTS}

    assert both == val
    assert (val["videos"], test["videos"]) == (5, 3)
    assert beside == [{key: test[key] for key in OF_A_SPLIT}]
    assert same_views(scores["both"], pd.concat([scores["val"], scores["test"]]))
    confusion = [(made[name] / "confusion.csv").read_bytes() for name in ("both", "val")]
    assert confusion[0] == confusion[1]


def test_a_record_is_read_as_it_was_written(made, tmp_path):
    """With other splits, and without left and right crops."""
    for name in TESTS:
        written = Evaluation.read(made[name] / "evaluate.json")
        written.write(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (
            made[name] / "evaluate.json"
        ).read_bytes(), name
        assert [of.split for of in written.splits] == {"both": ["val", "test"]}.get(
            name, [TESTS[name]["split"]]
        )


def test_one_crop_is_the_centre_row_of_three(made):
    """Nothing else is scored, and the headline, its classes and its cost are the centre's."""
    one, three = record(made["one_crop"]), record(made["val"])
    views = tables.read_table(made["one_crop"] / "scores.parquet")
    whole = tables.read_table(made["val"] / "scores.parquet")

    assert same_views(views, whole[whole["crops"] == "center"])
    assert one["lcr"] is None
    assert one["center"] == three["center"]
    assert one["k_clips"] == [row for row in three["k_clips"] if row["crops"] == "center"]
    assert three["lcr"]["views"] == 3 * one["center"]["views"]
    of_most = views[views["place"].isin(["0", "1/2", "1"])].groupby("key")
    best = of_most["scores"].apply(lambda some: np.mean(np.array(some.to_list()), 0).argmax())
    right = best == of_most["label"].first()
    assert one["center"]["top1"] == right.mean()
    labels = of_most["label"].first()
    for number, row in enumerate(one["per_class"]):
        mine = right[labels == number]
        assert row["top1"] == (mine.mean() if len(mine) else None), row


def test_the_summary_follows_the_crops(made):
    """The five numbers are of the test with the most views."""
    timed = _latency(made["val"])
    for name, crops in (("val", "lcr"), ("one_crop", "center")):
        tested = Evaluation.read(made[name] / "evaluate.json")
        found = Summary.of(tested, timed)
        written = record(made[name])
        assert (tested.crops, found.value) == (crops, written[crops]["top1"])
        assert found.gmacs == written[f"gmacs_{crops}"]


def _latency(folder: Path) -> Any:
    from autox3d.core.records import Latency

    results_folder.make(folder / "invented")
    return Latency.read(folder / "invented/results/latency/s.json")


def test_heat_maps_are_of_the_main_split(made):
    """Its views alone are taken from the file; one of other videos is refused."""
    folder = made["both"]
    tests = settings.load(folder / "params.yaml").evaluate
    table = folder / "clips.parquet"
    clips = Clips.load(table, split="val", shards=folder / "data/shards")
    found = main_views(folder / "scores.parquet", table, clips, tests)

    assert same_views(found, tables.read_table(made["val"] / "scores.parquet"))
    missing = made["val"] / "scores.parquet"
    with pytest.raises(Refused) as refused:
        main_views(missing, table, clips, tests)
    assert str(refused.value) == f"{missing}: has other videos than {table}. Run `evaluate` again."


def test_mlflow_gets_every_split_and_every_number_of_clips(made):
    """At step 0 the largest number of clips; the curve by steps, a step for each number."""
    found = logged(Evaluation.read(made["both"] / "evaluate.json"))
    written = record(made["both"])
    rows = {(row["crops"], row["clips"]): row for row in written["beside"][0]["k_clips"]}

    assert list(found) == [0, 1, 3]
    assert found[0]["lcr.top1"] == written["lcr"]["top1"]
    assert found[0]["test.lcr.mean"] == written["beside"][0]["lcr"]["mean"]
    for (crops, clips), row in rows.items():
        assert found[clips][f"test.clips.{crops}.top1"] == row["top1"]
    alone = logged(Evaluation.read(made["one_crop"] / "evaluate.json"))
    assert {name.partition(".")[0] for name in alone[0]} == {"center"}
    assert all(name.startswith("clips.center.") for name in alone[3])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"splits": ["test"]}, "'splits': split val is the main result, and not among them. "
         "Add it."),
        ({"splits": ["val", "test", "test"]}, "'splits': test is there twice. Delete one."),
        ({"splits": ["val", "tset"]}, "'splits', row 2 must be one of 'train', 'val' or 'test', "
         "not 'tset'."),
        ({"crops": 2}, "'crops' must be one of 1 or 3, not 2."),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(change, line):
    """In one line that names the key."""
    given = yaml.safe_load((ROOT / "params.yaml").read_text())["evaluate"] | {"split": "val"}
    with pytest.raises(Refused) as refused:
        schema.check(given | change, settings.Evaluate, Path("params.yaml"))
    assert str(refused.value) == f"params.yaml: {line}"


def test_a_plan_counts_every_split_and_every_crop():
    """Validation and test cost their videos; one crop costs the centre's share."""
    params = yaml.safe_load((ROOT / "params/x3d_kinetics400.yaml").read_text())
    videos = Videos(240_000, 20_000, 40_000, 400, 10)
    rates = Rates(
        device="d",
        measured="m",
        train=1.0,
        forward=1.0,
        transcode=1.0,
        clips=1.0,
        megabytes=1.0,
        cores=2,
        disk=1e9,
    )

    def forward(**change: object) -> float:
        given = params | {"evaluate": params["evaluate"] | change}
        checked = schema.check(given, settings.Params, Path("params.yaml"))
        stages = stage_costs(checked, videos, rates)
        return next(one.forward for one in stages if one.stage == "evaluate@x3d_s")

    assert forward(splits=["val", "test"]) == pytest.approx(3 * forward())
    assert 0 < forward(crops=1) < forward() / 4


def test_the_report_has_splits_side_by_side(tmp_path, monkeypatch):
    """A row for each network, split and rule of crops, with the mean; curves of each split."""
    results_folder.make(tmp_path)
    path = tmp_path / "results/evaluate/s.json"
    content = json.loads(path.read_text())
    other = {key: content[key] for key in OF_A_SPLIT} | {"split": "val", "labelled": 77}
    other["lcr"] = {"views": 30, "top1": 0.812, "top5": 0.934, "mean": 0.873}
    monkeypatch.chdir(tmp_path)
    alone = page(read(Path("results"), schema.parse(Path("params.yaml"))))
    path.write_text(json.dumps(content | {"beside": [other]}))
    found = page(read(Path("results"), schema.parse(Path("params.yaml"))))

    assert "Split by split" not in alone
    assert "mean of top-1 and top-5" not in alone
    table = found[found.index("<h3>Split by split</h3>") :]
    row = table[table.index(">val<") :].partition("</tr>")[0]
    cells = [cell.partition("<")[0] for cell in row.split(">") if cell.partition("<")[0].strip()]
    assert cells == ["val", "77", "30", "81.2", "93.4", "87.3"]
    for split in ("test", "val"):
        for what in ("centre crop", "three crops"):
            assert f"<h3>More clips, {what}, split {split}</h3>" in found


def test_the_report_of_one_crop_speaks_of_one(tmp_path, monkeypatch):
    """The lead, the axis and the table are of the centre crop; no row is there twice."""
    results_folder.make(tmp_path)
    for path in (tmp_path / "results/evaluate").glob("*.json"):
        content = json.loads(path.read_text())
        rows = [row for row in content["k_clips"] if row["crops"] == "center"]
        path.write_text(json.dumps(content | {"lcr": None, "k_clips": rows}))
    monkeypatch.chdir(tmp_path)
    found = page(read(Path("results"), schema.parse(Path("params.yaml"))))

    assert "10 views each (10 clips by the rule &#39;ends&#39;, the centre crop each)" in found
    assert "G multiply-adds a view (centre crop)" in found
    table = found[found.index("<h3>Results</h3>") :].partition("</table>")[0]
    assert table.count("<tr>") == 1 + len(results_folder.NETWORKS)
    assert "three crops" not in found
