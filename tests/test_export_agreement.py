"""An exported network is judged on videos: how many keep their best class."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.corpus import KINDS
from support.trained import CLASSES, ready, trained

from autox3d import cli
from autox3d.inference import agreement, export
from autox3d.inference.fast import plain
from autox3d.inference.network import Network
from autox3d.vision.models import weights
from autox3d.vision.models.weights import Trained

KEEP = re.compile(r"(\d) of 2 videos keep their best class; scores differ by (\S+) in the mean")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of weights; two groups of layers, because an export takes seconds a dozen."""
    _, found, _ = trained()
    genotype = replace(found, groups=found.groups[:2])
    folder = tmp_path_factory.mktemp("weights") / "net"
    weights.save(folder, ready(genotype), genotype, CLASSES, {})
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    for name in ("plain.mp4", "vp9.webm"):
        KINDS[name][1](folder / name)
    return sorted(folder.iterdir())


def run(*words: object, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs `export` and returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["autox3d", "export", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def other(found: Trained, index: int, by: float) -> export.Exported:
    """The network with more of one class in its scores."""

    def scored(clips: torch.Tensor) -> torch.Tensor:
        scores = plain(found)(clips).clone()
        scores[:, index] += by
        return scores

    return scored


def test_it_counts_videos_and_measures_scores(folder, videos):
    """Equal to `predict` of the network in float32 and of the other one, by hand."""
    found = weights.load(folder)
    ours = [Network(found, "cpu", torch.float32).predict(video, 1) for video in videos]
    best = {int(one.scores.argmax()) for one in ours}
    index = next(number for number in range(len(CLASSES)) if number not in best)

    same = agreement.judged(plain(found), found, videos, "lcr")
    nearly = agreement.judged(other(found, index, 1e-3), found, videos, "lcr")
    never = agreement.judged(other(found, index, 2.0), found, videos, "center")

    assert (same.videos, same.same, same.difference) == (2, 2, 0.0)
    assert (nearly.same, nearly.difference) == (2, pytest.approx(1e-3 / len(CLASSES), rel=1e-3))
    assert (never.same, never.difference) == (0, pytest.approx(2 / len(CLASSES), rel=1e-3))


def test_int8_is_judged_on_its_calibration_videos(folder, videos, tmp_path, monkeypatch, capsys):
    """The numbers are those of the file that was written; --check gives other videos."""
    from autox3d.inference import onnx_file

    out = tmp_path / "net.onnx"
    words = ("--weights", folder, "--out", out, "--agree", 0, "--int8", *videos)
    assert run(*words, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if "keep" in line]
    found = agreement.judged(onnx_file.read(out), weights.load(folder), videos, "lcr")
    assert line == f"{out}: {found}"
    assert KEEP.search(line)
    assert 0 < found.difference < 0.1
    assert ("warning" in said.err) == (found.same < found.videos)


def test_a_float_file_agrees(folder, videos, tmp_path, monkeypatch, capsys):
    """With --check; without, nothing is said of videos."""
    out = tmp_path / "net.pt2"
    words = ("--weights", folder, "--out", out)
    assert run(*words, monkeypatch=monkeypatch) == 0
    assert "keep" not in capsys.readouterr().out
    assert run(*words, "--check", *videos, monkeypatch=monkeypatch) == 0
    match = KEEP.search(capsys.readouterr().out)
    assert match
    assert match[1] == "2"
    assert float(match[2]) < 1e-5


def test_too_little_agreement_writes_nothing(folder, videos, tmp_path, monkeypatch, capsys):
    """An older file stays, and the status is 1; above the share asked for, a warning is all."""
    out = tmp_path / "net.pt2"
    out.write_text("before")
    few = agreement.Agreement(4, 3, 0.25)
    monkeypatch.setattr(agreement, "judged", lambda *_, **__: few)
    words = ("--weights", folder, "--out", out, "--check", *videos)

    assert run(*words, monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().err == (
        f"{out}: 3 of 4 videos keep their best class; scores differ by 2.5e-01 in the mean; 90 % "
        "must. Nothing was written. Calibrate on more videos, or give a smaller --agree.\n"
    )
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
    assert run(*words, "--agree", 0.75, monkeypatch=monkeypatch) == 0
    line = f"{out}: warning: 1 of 4 videos change their best class.\n"
    assert capsys.readouterr().err == line
    assert out.stat().st_size > 1000


def test_a_bad_video_is_named(folder, tmp_path, monkeypatch, capsys):
    """Nothing is written."""
    (tmp_path / "words.mp4").write_text("no video")
    words = ("--weights", folder, "--out", tmp_path / "net.pt2", "--check", tmp_path / "words.mp4")
    assert run(*words, monkeypatch=monkeypatch) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"{tmp_path}/words.mp4: ")
    assert line.endswith(". Judge on videos that can be decoded.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["words.mp4"]
