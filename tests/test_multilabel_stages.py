"""The stages on videos of several labels: killed and resumed, by one process and by three."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from support import killing
from support.killing import Runner

from autox3d.core import settings, tables
from autox3d.core.scores import Evaluation
from autox3d.core.settings import Train
from autox3d.runtime.session import session
from autox3d.training.run import Training, TrainingClips, started
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.models import weights
from autox3d.vision.models.network import create

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def several(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real clips, each with none to three labels, some of them for a time."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "shards").symlink_to(clips / "shards")
    rows = tables.read_table(clips / "clips.parquet")
    rng = np.random.default_rng(1)
    own = [np.sort(rng.permutation(3)[: rng.integers(0, 4)]) for _ in range(len(rows))]
    starts = [rng.choice([0.0, 0.4], len(one)) for one in own]
    ends = [
        rng.choice([0.3, math.inf], len(one)) + start
        for one, start in zip(own, starts, strict=True)
    ]
    lists = {"labels": own, "starts": starts, "ends": ends}
    rows = rows.drop(columns="label").assign(
        **{name: pd.Series(values, rows.index) for name, values in lists.items()}
    )
    classes = tables.read_classes(clips / "clips.parquet")
    tables.write_table(rows, folder / "clips.parquet", classes, "multilabel")
    return folder


def laid_out(several: Path, folder: Path) -> Path:
    """With the rate by steps, and views merged by their maximum."""
    folder = killing.fresh(several, folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["train"]["s"] |= {"schedule": "steps", "drops": [0.4, 0.8], "warmup": 0}
    params["evaluate"] |= {"pool": "max"}
    params["control"] |= {"epochs": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


@pytest.fixture(scope="module")
def whole(several: Path, runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed training."""
    folder = laid_out(several, tmp_path_factory.mktemp("whole") / "run")
    runner.finish("train", folder)
    return folder


def shares_by_frame(folder: Path) -> np.ndarray:
    """For each class, the mean over the training videos of the share of frames that have it."""
    rows = tables.read_table(folder / "clips.parquet")
    shares = []
    for row in rows[rows["split"] == "train"].to_dict("records"):
        held = np.zeros((row["frames"], 3))
        for frame in range(row["frames"]):
            for label, start, end in zip(row["labels"], row["starts"], row["ends"], strict=True):
                if start - 1e-9 <= frame / row["rate"] <= end + 1e-9:
                    held[frame, label] = 1
        shares.append(held.mean(0))
    return np.mean(shares, 0)


def test_a_training_starts_from_the_shares_of_its_labels(several, whole, tmp_path, monkeypatch):
    """By the bias of the last layer alone; given weights keep theirs."""
    monkeypatch.chdir(tmp_path)
    clips = Clips.load(several / "clips.parquet", split="train", shards=several / "shards")
    genotype, recipe = (
        Genotype.load(whole / "s.yaml"),
        settings.load(whole / "params.yaml").train["s"],
    )
    given = weights.load(whole / "weights").net.head.classify.bias

    def bias(recipe: Train) -> torch.Tensor:
        about = {"params": {}, "data": several / "clips.parquet", "tracked": False}
        with session("train", "s", parts={"init": recipe.init}, **about) as work:
            net = Training(genotype, TrainingClips(clips, None), recipe, work).net
        plain = started(genotype, 3, recipe, verbose=False).state_dict()
        same = {
            name: bool((plain[name] == value).all()) for name, value in net.state_dict().items()
        }
        assert {name for name, equal in same.items() if not equal} <= {"head.classify.bias"}
        return net.state_dict()["head.classify.bias"]

    shares = shares_by_frame(several)
    assert 0.05 < shares.min() < shares.max() < 0.95
    np.testing.assert_allclose(bias(recipe).sigmoid(), shares, rtol=1e-6)
    assert torch.equal(bias(replace(recipe, init=str(whole / "weights"))), given)


def test_a_class_that_no_video_has_starts_half_a_video_from_it():
    """Its log-odds would not be finite; neither would those of one that each has all along."""
    head = create("x3d_xs", classes=3).head
    head.expect(torch.tensor([0.0, 0.5, 1.0]), 100)

    assert head.classify.bias.tolist() == pytest.approx([-math.log(199), 0.0, math.log(199)])


def test_a_killed_training_ends_with_the_same_bits(several, runner, whole, tmp_path):
    """It dies while it writes a checkpoint, and again in its validation."""
    folder = laid_out(several, tmp_path / "run")
    for point in ("half:6", "score:11"):
        assert runner.run("train", folder, POINT=point) == -9

    assert runner.finish("train", folder) == killing.digests(whole, "train")
    trained = weights.load(whole / "weights")
    assert trained.task.name == "multilabel"
    assert "Says which of 3 classes occur in a video" in (whole / "weights/README.md").read_text()
    rates = [row.split(",")[1] for row in (whole / "curve.csv").read_text().splitlines()]
    assert rates[0] == "lr"
    assert [float(rate) / float(rates[1]) for rate in rates[1:]] == pytest.approx([1, 0.1, 0.01])


def test_one_and_three_processes_evaluate_alike(runner, whole):
    """To the bit; the record has mAP, that of every class, and the curves of the worst."""
    alone = runner.finish("evaluate", whole)
    assert runner.finish("evaluate", whole, 3) == alone

    record = Evaluation.read(whole / "evaluate.json")
    assert (record.task, record.class_metric) == ("multilabel", "map")
    assert list(record.headline.metrics) == ["map", "weighted_map", "chance", "left_out"]
    known = [value for value in record.per_class.values() if value is not None]
    assert record.headline.metrics["map"] == pytest.approx(sum(known) / len(known))
    worst = record.curves[0]
    assert sum(worst.precision) / len(worst.precision) == pytest.approx(min(known), abs=1e-6)
    assert json.loads((whole / "evaluate.json").read_text())["curves"][0]["name"] == worst.name


def test_scores_that_rank_nothing_are_refused(several, runner, whole, tmp_path):
    """A network whose last layer is zero says one half of every video: no mAP of 0 or by chance."""
    folder = laid_out(several, tmp_path / "run")
    trained = weights.load(whole / "weights")
    with torch.no_grad():
        for parameter in trained.net.get_submodule(weights.CLASSIFIER.rstrip(".")).parameters():
            parameter.zero_()
    how = trained.how
    weights.save(
        folder / "weights", trained.net, trained.genotype, trained.classes, how, task=trained.task
    )

    assert runner.run("evaluate", folder) == 1
    assert (folder / "log").read_text().splitlines()[-1] == (
        "weights: all 8 videos have the score 0.5 in class 'left' and 2 more, and their precision "
        "would be that of their order. Train longer, or at a lower rate."
    )


@pytest.mark.slow
def test_the_search_takes_several_labels(several, runner, tmp_path):
    """Warm-up, search and the null control; killed at alpha's step it ends with the same bits."""
    folder = laid_out(several, tmp_path / "whole")
    runner.finish("warmup", folder)
    whole = runner.finish("search", folder)
    runner.finish("control", folder)
    other = killing.fresh(several, tmp_path / "killed", folder)
    (other / "params.yaml").write_text((folder / "params.yaml").read_text())

    assert runner.run("search", other, POINT="alpha:5") == -9
    assert runner.finish("search", other) == whole


def test_predict_prints_all_classes_over_a_threshold(several, whole, tmp_path):
    """Of the video and, over time, of each clip; none is left out that has the score."""
    video = next((several / "shards").resolve().parent.glob("raw/*.mp4"))
    command = [sys.executable, "-c", "from autox3d.cli import main; main()", "predict", str(video)]
    command += ["--weights", str(whole / "weights"), "--json", "--over-time", "--clips", "2"]

    def answer(*more: str) -> dict[str, Any]:
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    everything = answer("--scores", "all")
    scores = sorted(one["score"] for one in everything["top"])
    limit = scores[1] - 1e-6  # printed scores are rounded
    found = answer("--threshold", str(limit))
    assert [one["score"] for one in found["top"]] == scores[:0:-1]
    for clip, of_all in zip(found["over_time"], everything["over_time"], strict=True):
        assert clip["top"] == [one for one in of_all["top"] if one["score"] >= limit]
    best = {one["class"]: one["score"] for one in everything["top"]}
    for name, score in best.items():  # of a video: the maximum over its clips
        in_clips = [
            one["score"]
            for c in everything["over_time"]
            for one in c["top"]
            if one["class"] == name
        ]
        assert score == max(in_clips)
    refused = subprocess.run([*command[:-4], "--threshold", "0", "--csv"], capture_output=True)
    assert refused.returncode == 1
    assert refused.stderr.decode() == (
        "--threshold: does not go with --csv. Leave one of them out.\n"
    )
