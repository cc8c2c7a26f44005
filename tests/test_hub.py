"""A completed folder of weights is one that Hugging Face reads; nothing is uploaded here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard
from support.trained import trained

from autox3d import cli
from autox3d.core.scores import Evaluation, Score
from autox3d.vision.models import weights

LCR: dict[str, float | None] = {"top1": 0.625, "top5": 1.0, "mean": 0.8}
CENTER: dict[str, float | None] = {"top1": 0.5, "top5": 0.9, "mean": 0.7}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of weights as training leaves it."""
    net, genotype, classes = trained()
    weights.save(tmp_path / "net", net, genotype, classes, {"seed": 1}, {"val_top1": 0.5})
    return tmp_path / "net"


@pytest.fixture
def tested(tmp_path: Path) -> Path:
    """The record of its test."""
    common: dict[str, Any] = {
        "net": "tiny",
        "split": "test",
        "rule": "ends",
        "videos": 128,
        "labelled": 128,
    }
    cost: dict[str, Any] = {"params": 1, "gmacs_center": 0.1, "gmacs_lcr": 0.1}
    center, lcr = Score(views=10, metrics=CENTER), Score(views=30, metrics=LCR)
    record = Evaluation(k_clips=(), per_class={}, center=center, lcr=lcr, **common, **cost)
    record.write(tmp_path / "tested.json")
    return tmp_path / "tested.json"


def autox3d(*words: object, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
    """The program, in this process."""
    monkeypatch.setattr(sys, "argv", ["autox3d", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status


def test_the_card_is_read_by_the_hubs_own_library(folder, tested, tmp_path, monkeypatch, capsys):
    """Tags, data set and a list of metrics; each number is a result of the model index."""
    words = ("--tested", tested, "--dataset", "kinetics400", "--out", tmp_path / "packed")
    autox3d("pack", "--weights", folder, *words, monkeypatch=monkeypatch)
    assert capsys.readouterr().out.startswith(f"{tmp_path}/packed: ")
    card = ModelCard.load(tmp_path / "packed/README.md", ignore_metadata_errors=False)
    data: Any = card.data

    assert (data.license, data.library_name) == ("apache-2.0", "autox3d")
    assert (data.pipeline_tag, data.model_name) == ("video-classification", "tiny")
    assert (data.datasets, data.metrics) == (["kinetics400"], ["accuracy", "top5"])
    assert {"video-classification", "autox3d"} <= set(data.tags)
    assert data.eval_results == [
        EvalResult(
            task_type="video-classification",
            dataset_type="kinetics400",
            dataset_name="kinetics400",
            dataset_split="test",
            metric_type=kind,
            metric_name=f"{label}, {views} views ({crops})",
            metric_value=value,
        )
        for crops, views, values in (
            ("centre crops", 10, CENTER),
            ("left, centre and right crops", 30, LCR),
        )
        for kind, label, value in (
            ("accuracy", "top-1", values["top1"]),
            ("top5", "top-5", values["top5"]),
        )
    ]
    assert yaml.safe_load(str(data)) == yaml.safe_load(card.content.split("---\n")[1])


def test_a_card_without_a_test_claims_no_numbers(folder, tmp_path, monkeypatch):
    """Neither metrics nor a model index, which would be empty."""
    autox3d("pack", "--weights", folder, "--out", tmp_path / "packed", monkeypatch=monkeypatch)
    data: Any = ModelCard.load(tmp_path / "packed/README.md", ignore_metadata_errors=False).data

    assert (data.metrics, data.datasets, data.eval_results) == (None, None, None)


def test_what_was_packed_is_kept_when_it_is_packed_again(folder, tested, tmp_path, monkeypatch):
    """As `push` does with a folder: its numbers and its data set stay."""
    one, two = tmp_path / "one", tmp_path / "two"
    words = ("--tested", tested, "--dataset", "me/own", "--out", one)
    autox3d("pack", "--weights", folder, *words, monkeypatch=monkeypatch)
    autox3d("pack", "--weights", one, "--out", two, monkeypatch=monkeypatch)

    assert (one / "README.md").read_text() == (two / "README.md").read_text()
    assert json.loads((two / "model.json").read_text())["dataset"] == "me/own"


@pytest.mark.parametrize(
    ("words", "token", "line"),
    [
        (("net", "me/net"), "", "me/net: there is no token for Hugging Face. Type: hf auth login"),
        (
            ("net", "me/net"),
            "hf_none",
            "me/net: not uploaded ([Errno 111] Connection refused). Nothing here changed.",
        ),
        (
            ("none", "me/net"),
            "hf_none",
            "none/model.json: cannot be read (No such file or directory). Check the path.",
        ),
        (
            ("net", "me/net", "--dataset", "my data"),
            "hf_none",
            "--dataset: 'my data' has characters that no name there has. Use a-z0-9-.",
        ),
    ],
)
def test_what_cannot_be_uploaded_is_told_in_a_line(
    folder, tmp_path, monkeypatch, capsys, words, token, line
):
    """No token, no connection, no folder; no half of a repository is made before the checks."""
    from huggingface_hub import constants, hf_api

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(hf_api.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    before = (folder / "README.md").read_bytes()
    autox3d("push", *words, monkeypatch=monkeypatch, status=1)

    assert capsys.readouterr().err == line + "\n"
    assert (folder / "README.md").read_bytes() == before
