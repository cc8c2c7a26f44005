"""Heat maps show where the evidence is, for the most confident clips."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support import ROOT, programs, results_folder, shards
from torch import Tensor, nn

from autox3d.core import tables
from autox3d.explaining import run as explain
from autox3d.explaining.gradcam import grad_cam
from autox3d.explaining.sheet import DARK, FRAMES, GAP, TILE, jpeg, sheet, shown
from autox3d.vision.clips.views import K_CURVE
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet, open_branches


class Colours(nn.Module):
    """A network whose class 0 is the mean of red, and class 1 that of green minus that of red."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv3d(3, 2, 1, bias=False)
        weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        self.features.weight = nn.Parameter(weight[:, :, None, None, None])

    def forward(self, x: Tensor) -> Tensor:
        red, green = self.features(x).mean((2, 3, 4)).unbind(1)
        return torch.stack([red, green - red], 1)


def test_the_map_equals_the_one_worked_out_by_hand() -> None:
    """For a network that sums colours it is each cell's share of the logit, at least 0."""
    net, clips = Colours(), torch.randn(2, 3, 4, 5, 6)
    maps = grad_cam(net.features, net, clips, torch.tensor([0, 1]))
    cells = 4 * 5 * 6
    torch.testing.assert_close(maps[0], (clips[0, 0] / cells).relu())
    torch.testing.assert_close(maps[1], ((clips[1, 1] - clips[1, 0]) / cells).relu())


def test_a_spot_is_found_in_space_and_time() -> None:
    """With one red cell in one frame, the map has its maximum there and is 0 elsewhere."""
    clip = torch.zeros(1, 3, 6, 8, 8)
    clip[0, 0, 4, 2, 7] = 1.0
    net = Colours()
    maps = grad_cam(net.features, net, clip, torch.tensor([0]))
    assert maps.nonzero().tolist() == [[0, 4, 2, 7]]


def test_in_a_video_network_it_is_the_slope_of_the_head() -> None:
    """Differentiating the head alone gives the same map; no gradient and no hook is left."""
    torch.manual_seed(1)
    net = VideoNet(results_folder.genotype(), 5).eval()
    open_branches(net, 1.0)
    nn.init.normal_(net.head.classify.weight)
    clip, layer = torch.randn(1, 3, 8, 48, 48), net.attention[-1]
    maps = grad_cam(layer, lambda x: net(x).mean(1), clip, torch.tensor([3]))

    x = net.stem(clip.contiguous(memory_format=torch.channels_last_3d))
    for block, attend in zip(net.blocks, net.attention, strict=True):
        x = attend(block(x))
    features = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(net.head(features).mean(1)[0, 3], features)
    expected = (slope.mean((2, 3, 4), keepdim=True) * features).sum(1).relu()
    assert maps.max() > 0
    torch.testing.assert_close(maps, expected.detach())
    assert all(weight.grad is None for weight in net.parameters())
    assert not layer._forward_hooks


def test_a_sheet_is_lit_where_the_map_is() -> None:
    """A grey clip is unchanged in the first row, and dark in the second except for one frame."""
    clip = torch.full((4, 20, 20, 3), 200, dtype=torch.uint8)
    heat = torch.zeros(4, 2, 2)
    heat[2] = 5.0
    made = sheet(clip, [heat])
    assert made.shape == (2 * TILE + GAP, 4 * TILE + 3 * GAP, 3)
    frames = [(TILE + GAP) * t + TILE // 2 for t in range(4)]
    assert made[TILE // 2, frames, 0].tolist() == [200] * 4
    assert made[TILE + GAP + TILE // 2, frames, 0].tolist() == [200 * DARK] * 2 + [200, 200 * DARK]


def test_a_map_of_nothing_is_dark() -> None:
    """Where there is no evidence for a class, nothing is divided by 0."""
    clip = torch.full((2, 8, 8, 3), 100, dtype=torch.uint8)
    made = sheet(clip, [torch.zeros(2, 2, 2)])
    assert np.unique(made[TILE + GAP :, :TILE]).tolist() == [100 * DARK]


def test_a_long_clip_is_shown_from_first_to_last() -> None:
    """Of 16 frames as many are shown as fit a page, of 5 all."""
    assert shown(16).tolist() == [0, 2, 4, 6, 9, 11, 13, 15]
    assert len(shown(16)) == FRAMES
    assert shown(5).tolist() == [0, 1, 2, 3, 4]


def test_a_jpeg_is_what_was_encoded() -> None:
    """Another library reads it, and encoding gives the same bytes each time."""
    ramp = np.linspace(0, 255, 90).astype(np.uint8)
    pixels = np.broadcast_to(ramp[None, :, None], (34, 90, 3)).copy()
    pixels[:, :, 2] = 60
    written = jpeg(pixels)
    read = np.asarray(Image.open(io.BytesIO(written)).convert("RGB")).astype(int)
    assert abs(read - pixels).max() <= 12
    assert written == jpeg(pixels)


def predictions(
    labels: list[int], predicted: list[int], confidence: list[float]
) -> explain.Predictions:
    """The predictions for videos v0, v1, ..."""
    keys = [f"v{n}" for n in range(len(labels))]
    given = map(np.array, (labels, predicted, confidence, [0.0] * len(labels)))
    return explain.Predictions(keys, *given)


def test_the_most_confident_clips_are_shown() -> None:
    """Of each class, the most confident correct video; a class without one is left out."""
    given = predictions([0, 0, 1, 1, 2], [0, 0, 1, 0, 0], [0.5, 0.9, 0.6, 0.99, 0.7])
    assert explain.typical(given, 9) == [1, 2]
    assert explain.typical(given, 1) == [1]
    assert explain.typical(given, 0) == []


def test_confused_pairs_are_counted() -> None:
    """The most frequent pair comes first; a video without a label is never a mistake."""
    given = predictions([0, 0, 0, 1, 2, -1], [1, 1, 0, 1, 0, 1], [0.5, 0.9, 0.6, 0.8, 0.7, 0.95])
    pairs = explain.confused(given, 9)
    assert pairs == [(0, 1, 2), (2, 0, 1)]
    assert explain.confused(given, 1) == pairs[:1]
    assert explain.example(given, pairs[0]) == [1, 3]


def test_the_worst_mistakes_come_first() -> None:
    """By the score of the label; what is right is never among them, nor a video without label."""
    scores = np.array(
        [[0.1, 0.9, 0.0], [0.01, 0.59, 0.4], [0.7, 0.2, 0.1], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]
    )
    given = explain.predict(scores, np.array([0, 0, 0, 2, -1]), [f"v{n}" for n in range(5)])

    assert explain.worst(given, 9) == [3, 1, 0]
    assert explain.worst(given, 1) == [3]
    assert given.loss[0] == pytest.approx(-np.log(0.1))
    assert np.isfinite(given.loss).all()
    assert given.loss[4] == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four test videos of three classes, and an untrained network."""
    root = tmp_path_factory.mktemp("explain")
    table = shards.make(root)
    rows = tables.read_table(table)
    rows.loc[rows["split"] == "test", "label"] = [0, 0, 1, 2]
    tables.write_table(rows, table, classes=shards.CLASSES)
    torch.manual_seed(2)
    genotype = results_folder.genotype("s")
    net = VideoNet(genotype, len(shards.CLASSES))
    weights.save(root / "weights", net, genotype, list(shards.CLASSES), {})
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["evaluate"]["clips"] = list(K_CURVE)
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    done = program(root, "evaluate", "--metrics", "m.json", "--confusion", "c.csv")
    assert done.returncode == 0, done.stderr
    return root


def program(root: Path, stage: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"autox3d.stages.{stage}", "--weights", "weights"]
    command += ["--clips", "clips.parquet", "--scores", "scores.parquet", *flags]
    own = {"AUTOX3D_SHARDS": "shards", "AUTOX3D_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    return programs.run("networks", command, root, os.environ | own)


def test_every_number_of_clips_comes_from_one_pass(made: Path) -> None:
    """K of 1, 3, 5, 7, 10, Center and LCR, computed again from the saved scores (X3D, 4.3)."""
    rows = tables.read_table(made / "scores.parquet")
    found = json.loads((made / "m.json").read_text())["k_clips"]
    measured = {(row["crops"], row["clips"]): (row["views"], row["top1"]) for row in found}
    assert set(measured) == {(crops, k) for crops in ("center", "lcr") for k in K_CURVE}
    for (crops, k), (views, top1) in measured.items():
        places = {"1/2"} if k == 1 else {str(Fraction(n, k - 1)) for n in range(k)}
        chosen = rows[(rows["crops"] == crops) & rows["place"].isin(places)]
        videos = chosen.groupby("key")
        assert set(videos.size()) == {views} == {k if crops == "center" else 3 * k}
        means = np.stack([np.stack(list(of)).mean(0) for _, of in videos["scores"]])
        assert top1 == (means.argmax(1) == videos["label"].first()).mean()


def picture(clip: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(clip["picture"])))


def test_the_stage_shows_answers_and_mistakes(made: Path) -> None:
    """They match the saved scores: as many mistakes as in the confusion, pictures of the size."""
    done = program(made, "explain", "--out", "explain.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((made / "explain.json").read_text())
    confusion = [line.split(",") for line in (made / "c.csv").read_text().split()[1:]]
    wrong = sum(actual != predicted for actual, predicted in confusion)
    assert wrong > 0
    assert sum(pair["videos"] for pair in found["confused"]) == wrong
    mistakes = [pair["clips"][0] for pair in found["confused"]]
    for clip in found["right"] + mistakes:
        rows = 1 if clip in found["right"] else 2
        assert len(clip["lit"]) == rows
        assert picture(clip).size == (8 * (TILE + GAP) - GAP, (rows + 1) * (TILE + GAP) - GAP)
        assert sum(clip["by_frame"]) == pytest.approx(1, abs=1e-4) or not any(clip["by_frame"])
    for clip in mistakes:
        assert clip["lit"] == [clip["predicted"], clip["actual"]]
    assert len(found["wrong"]) == wrong
    losses = [video["loss"] for video in found["wrong"]]
    assert losses == sorted(losses, reverse=True)
    assert all(video["actual"] != video["predicted"] for video in found["wrong"])
    assert picture(found["wrong"][0]).size == (4 * (TILE + GAP) - GAP, TILE)


def test_scores_of_other_videos_are_refused(made: Path) -> None:
    """The program ends with one line and leaves no file."""
    rows = tables.read_table(made / "scores.parquet")
    tables.write_table(rows[rows["key"] != rows["key"].iloc[0]], made / "few.parquet")
    done = program(made, "explain", "--scores", "few.parquet", "--out", "few.json")
    line = "few.parquet: has other videos than clips.parquet. Run `evaluate` again.\n"
    assert (done.returncode, done.stderr) == (1, line)
    assert not (made / "few.json").exists()
