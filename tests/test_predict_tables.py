"""`predict` for other programs: CSV, every class, and the features before the last layer."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from support.corpus import KINDS
from support.trained import ready, trained

import autox3d
from autox3d import cli
from autox3d.inference.network import cropped
from autox3d.inference.stream import windows
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.models import weights

CLASSES = ['say "hello"', "crème, brûlée", "two\nlines", "zorbing", "archery", "knitting"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of weights whose classes have commas, quotes and line ends."""
    _, genotype, _ = trained()
    folder = tmp_path_factory.mktemp("weights") / "net"
    weights.save(folder, ready(genotype), genotype, CLASSES, {})
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[Path]:
    """Two videos, one of which has a comma and a line end in its name, and a text."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("plain.mp4", "vp9.webm"):
        KINDS[name][1](root / name)
    odd = root / 'a, "b"\nc.webm'
    (root / "vp9.webm").rename(odd)
    (root / "words.mp4").write_text("no video")
    return [root / "plain.mp4", root / "words.mp4", odd]


def predict(*words: object, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs the command and returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["autox3d", "predict", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_table_has_a_row_a_video(folder, videos, monkeypatch, capsys):
    """Its header is always the same; any name is read back as it is; a bad file has no row."""
    assert predict(*videos, "--weights", folder, "--csv", monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    header, *rows = csv.reader(io.StringIO(said.out, newline=""))

    assert header == ["video", "class", "score", "clips", "lost"]
    assert [row[0] for row in rows] == [str(videos[0]), str(videos[2])]
    assert said.err.startswith(f"{videos[1]}: ")
    network = autox3d.load(folder)
    for row in rows:
        found = network.predict(row[0])
        ((name, score),) = found.top(1)
        assert (row[1], row[3], row[4]) == (name, str(len(found.moments)), "")
        assert float(row[2]) == pytest.approx(score, abs=1e-6)


def test_every_class_has_its_score(folder, videos, monkeypatch, capsys):
    """As text, as JSON and in a table; each class once, and the scores are the network's."""
    expected = autox3d.load(folder).predict(videos[0]).scores.tolist()
    common = (videos[0], "--weights", folder, "--scores", "all")

    assert predict(*common, monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.count(" %  ") == len(CLASSES)
    assert predict(*common, "--json", monkeypatch=monkeypatch) == 0
    top = json.loads(capsys.readouterr().out)["top"]
    found = {one["class"]: one["score"] for one in top}
    assert [found[name] for name in CLASSES] == pytest.approx(expected, abs=1e-6)
    assert predict(*common, "--csv", monkeypatch=monkeypatch) == 0
    header, row = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    assert header[5:] == [f"score:{name}" for name in CLASSES]
    assert [float(text) for text in row[5:]] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_features_are_what_the_last_layer_sees(ending, folder, videos, tmp_path, monkeypatch):
    """Computed by hand, layer by layer, with the network as it was trained; bad files are out."""
    out = tmp_path / f"features.{ending}"
    monkeypatch.setattr("autox3d.inference.network.fast_dtype", lambda _: torch.float32)
    words = ("--weights", folder, "--clips", 2, "--features", out)
    assert predict(*videos, *words, monkeypatch=monkeypatch) == 1

    if ending == "npz":
        read = np.load(out)
        names, features, scores = read["video"].tolist(), read["features"], read["scores"]
        assert read["classes"].tolist() == CLASSES
    else:
        table = parquet.read_table(out)
        names = table["video"].to_pylist()
        features, scores = (np.array(table[name].to_pylist()) for name in ("features", "scores"))
        assert json.loads(table.schema.metadata[b"classes"]) == CLASSES
    assert names == [str(videos[0]), str(videos[2])]
    for path, row, score in zip(names, features, scores, strict=True):
        hidden, expected = by_hand(folder, Path(path))
        np.testing.assert_allclose(row, hidden, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(score, expected, atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 0.01


def by_hand(folder: Path, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features and scores of a video, from the layers of the network itself."""
    found = weights.load(folder)
    head, clip = found.net.head, found.genotype.input
    rows = []
    with torch.no_grad():
        for window in windows(path, 2, clip.frames, clip.stride, clip.short, "linspace"):
            views = normalise(cropped(window.frames, "lcr", clip))
            x = found.net.stem(views)
            for block, unit in zip(found.net.blocks, found.net.attention, strict=True):
                x = unit(block(x))
            x = torch.relu(head.conv(x))
            places = torch.nn.functional.avg_pool3d(x, head.window, stride=1).flatten(2)
            rows.append(torch.relu(head.hidden(places.transpose(1, 2))).mean((0, 1)))
    network = autox3d.load(folder, dtype=torch.float32)
    return torch.stack(rows).mean(0).numpy(), network.predict(path, 2).scores.numpy()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--csv", "--json"], "--csv: does not go with --json. Leave one of them out."),
        (["--csv", "--over-time"], "--csv: does not go with --over-time. Leave one of them out."),
        (["--csv", "--top", "3"], "--csv: does not go with --top. Leave one of them out."),
        (
            ["--scores", "all", "--top", "3"],
            "--scores: does not go with --top. Leave one of them out.",
        ),
        (
            ["--features", "out.txt"],
            "out.txt: cannot be written. Give a name that ends in .npz or .parquet.",
        ),
        (["--live", "/dev/video0"], "--live: does not go with VIDEO. Leave one of them out."),
        (["-"], "-: standard input is predicted alone. Leave the other videos out."),
    ],
)
def test_what_does_not_go_together_is_a_line(words, line, folder, videos, monkeypatch, capsys):
    """Nothing is printed before it."""
    assert predict(videos[0], *words, "--weights", folder, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"{line}\n")


def test_no_video_no_features(folder, videos, tmp_path, monkeypatch, capsys):
    """An older file stays."""
    out = tmp_path / "out.npz"
    shutil.copy(videos[1], out)
    words = (videos[1], "--weights", folder, "--features", out)
    assert predict(*words, monkeypatch=monkeypatch) == 1
    line = f"{out}: not written: no video was decoded. Give other videos."
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert out.read_text() == "no video"
