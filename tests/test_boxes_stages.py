"""The stages on clips with boxes: killed and resumed, by one process and by three; `predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from support import killing
from support.killing import Runner

from autox3d import cli
from autox3d.core import tables
from autox3d.core.errors import Refused
from autox3d.core.scores import Evaluation
from autox3d.core.settings import Subset
from autox3d.datasets import subset
from autox3d.inference.boxes import Asked, predict
from autox3d.inference.network import Network
from autox3d.vision.models import weights

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def boxed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real clips, each with one to three annotated boxes at 0.2 s, and proposals near them."""
    folder = tmp_path_factory.mktemp("boxed")
    (folder / "shards").symlink_to(clips / "shards")
    rows = tables.read_table(clips / "clips.parquet").drop(columns="label")
    rng, found = np.random.default_rng(1), []
    for _ in range(len(rows)):
        count = int(rng.integers(1, 4))
        low = rng.uniform(0, 0.5, (count, 2))
        truth = np.concatenate([low, low + rng.uniform(0.2, 0.5, (count, 2))], 1)
        near = truth + rng.uniform(-0.01, 0.01, truth.shape)
        found.append(
            {
                "at": 0.2,
                "boxes": np.concatenate([truth, near]).ravel(),
                "truth": np.arange(2 * count) < count,
                "asked": np.arange(2 * count) >= count,
                "labels": [
                    *(rng.permutation(3)[: rng.integers(1, 3)] for _ in range(count)),
                    *([] for _ in range(count)),
                ],
            }
        )
    rows = pd.concat([rows, pd.DataFrame(found, rows.index)], axis=1)
    classes = tables.read_classes(clips / "clips.parquet")
    tables.write_table(rows, folder / "clips.parquet", classes, "detect")
    return folder


def laid_out(boxed: Path, folder: Path, **tests: object) -> Path:
    folder = killing.fresh(boxed, folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["evaluate"] |= {"clips": [1], "crops": 1, **tests}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


@pytest.fixture(scope="module")
def whole(boxed: Path, runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed training."""
    folder = laid_out(boxed, tmp_path_factory.mktemp("whole") / "run")
    runner.finish("train", folder)
    return folder


def test_a_killed_training_ends_with_the_same_bits(boxed, runner, whole, tmp_path):
    """It dies while it writes a checkpoint, and again in its validation."""
    folder = laid_out(boxed, tmp_path / "run")
    for point in ("half:6", "score:11"):
        assert runner.run("train", folder, POINT=point) == -9

    assert runner.finish("train", folder) == killing.digests(whole, "train")
    assert weights.load(whole / "weights").task.name == "detect"
    assert "what somebody in a box" in (whole / "weights/README.md").read_text()


def test_two_processes_train_the_same_network(boxed, runner, whole, tmp_path):
    """Each has its chunks of a step; the sums may differ in their last bits."""
    folder = laid_out(boxed, tmp_path / "run")
    runner.finish("train", folder, 2)
    one, other = (weights.load(at / "weights").net.state_dict() for at in (whole, folder))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=1e-4, rtol=1e-3)


def test_one_to_three_processes_evaluate_alike(runner, whole):
    """To the bit; one view of a clip, in the square of the shorter side, at its cost."""
    alone = runner.finish("evaluate", whole)
    for processes in (2, 3):
        assert runner.finish("evaluate", whole, processes) == alone

    record = Evaluation.read(whole / "evaluate.json")
    assert (record.task, record.class_metric) == ("detect", "map")
    assert record.lcr is None
    assert record.center.views == 1
    metrics = record.center.metrics
    assert list(metrics) == ["map", "reach", "chance", "left_out", "truth", "proposals"]
    known = [value for value in record.per_class.values() if value is not None]
    assert metrics["map"] == pytest.approx(sum(known) / len(known))
    assert metrics["reach"] == 1


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (
            {"clips": [1, 3]},
            "params.yaml: 'evaluate.clips' must be [1] where boxes are asked about: a moment has "
            "one clip. Not [1, 3].",
        ),
        (
            {"crops": 3},
            "params.yaml: 'evaluate.crops' must be 1 where boxes are asked about: they are scored "
            "in the centre square. Not 3.",
        ),
    ],
)
def test_more_than_one_view_of_a_moment_is_refused(boxed, runner, whole, tmp_path, asked, line):
    folder = laid_out(boxed, tmp_path / "run", **asked)
    (folder / "weights").symlink_to(whole / "weights")
    assert runner.run("evaluate", folder) == 1
    assert (folder / "log").read_text().splitlines()[-1] == line


def test_equal_scores_of_all_boxes_are_refused(boxed, runner, whole, tmp_path):
    """A network whose last layer is zero says one half of every box: no mAP of 0 or by chance."""
    folder = laid_out(boxed, tmp_path / "run")
    trained = weights.load(whole / "weights")
    with torch.no_grad():
        for parameter in trained.net.get_submodule(weights.CLASSIFIER.rstrip(".")).parameters():
            parameter.zero_()
    known = (trained.net, trained.genotype, trained.classes, trained.how)
    weights.save(folder / "weights", *known, task=trained.task)
    assert runner.run("evaluate", folder) == 1
    line = (folder / "log").read_text().splitlines()[-1]
    assert line.startswith("weights: all ")
    assert line.endswith(
        " boxes have the score 0.5 in class 'left' and 2 more, and their precision would be that "
        "of their order. Train longer, or at a lower rate."
    )


def test_training_begins_from_weights_of_whole_clips(clips, boxed, runner, tmp_path):
    """The head is the same; with as many classes even its last layer is taken over."""
    first = killing.fresh(clips, tmp_path / "first")
    runner.finish("train", first)
    folder = laid_out(boxed, tmp_path / "run")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["train"]["s"] |= {"init": str(first / "weights"), "lr": 1e-12, "bn_steps": 0}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    runner.finish("train", folder)
    one, other = (weights.load(at / "weights").net for at in (first, folder))
    for name, parameter in one.named_parameters():
        torch.testing.assert_close(other.get_parameter(name), parameter, atol=1e-6, rtol=0)


def test_a_search_does_not_ask_about_boxes(boxed):
    rows = tables.read_table(boxed / "clips.parquet")
    asked = Subset(seed=1, classes=None, train=10, val=10, ids=None)
    with pytest.raises(Refused) as caught:
        subset.choose(rows, ("a", "b", "c"), asked, boxed)
    assert str(caught.value) == (
        "params.yaml: a search does not ask about boxes. Train networks that are given: `dvc repro "
        "page@NAME`, with NAME an entry of 'pages'."
    )


# ---- predict


@pytest.fixture(scope="module")
def video(boxed: Path) -> Path:
    return sorted((boxed / "shards").resolve().parent.glob("raw/*.mp4"))[2]


def said(whole: Path, *words: object, monkeypatch: pytest.MonkeyPatch) -> int:
    command = ["autox3d", "predict", *map(str, words), "--weights", str(whole / "weights")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_predict_says_what_each_box_does(whole, video, tmp_path, monkeypatch, capsys):
    """In order of time; the scores are those of the network on the square around the moment."""
    rows = "second,x1,y1,x2,y2\n0.9,0.1,0.1,0.5,0.9\n0.2,0.5,0.2,0.9,0.9\n0.2,0.1,0.1,0.5,0.9\n"
    (tmp_path / "b.csv").write_text(rows)
    drawn = tmp_path / "out.mp4"
    status = said(
        whole, video, "--boxes", tmp_path / "b.csv", "--json", "--render", drawn,
        monkeypatch=monkeypatch,
    )  # fmt: skip
    assert status == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)["boxes"]
    assert [one["second"] for one in found] == [0.2, 0.2, 0.9]
    assert [one["box"][0] for one in found] == [0.1, 0.5, 0.1]
    assert all(len(one["top"]) == 3 for one in found)
    assert drawn.stat().st_size > 1000
    alone = predict(
        Network(weights.load(whole / "weights")), video, [Asked(0.2, (0.5, 0.2, 0.9, 0.9))]
    )
    (answer,) = alone.answers
    best = answer.top(alone.classes, 3)
    assert [(name, round(score, 4)) for name, score in best] == [
        (one["class"], round(one["score"], 4)) for one in found[1]["top"]
    ]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("second,x1,y1,x2,y2\n60,0.1,0.1,0.5,0.9\n", "a box is asked for at 60 s"),
        ("second,x1,y1,x2,y2\n0.2,10,0.1,50,0.9\n", "corner 50 is over 1"),
        ("path,second,x1,y1,x2,y2\nother.mp4,0.2,0.1,0.1,0.5,0.9\n", "no box is of"),
    ],
)
def test_predict_refuses_in_a_line(whole, video, tmp_path, monkeypatch, capsys, rows, line):
    """A second outside of the film, pixels, and boxes of another film."""
    (tmp_path / "b.csv").write_text(rows)
    words = (video, "--boxes", tmp_path / "b.csv")
    assert said(whole, *words, monkeypatch=monkeypatch) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert line in told


def test_predict_without_boxes_says_that_they_are_needed(whole, video, monkeypatch, capsys):
    assert said(whole, video, monkeypatch=monkeypatch) == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("answers for boxes of a video. Give them: `autox3d predict --boxes FILE`.")
    )
