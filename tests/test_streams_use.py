"""A network of two streams where it is used: exported, predicting, changed, and refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import ARCHITECTURES
from support.streams import DEMO, small
from support.trained import CLASSES, ready

import autox3d
from autox3d import cli
from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec
from autox3d.datasets import demo_streams, scene
from autox3d.explaining.run import evidence
from autox3d.inference import export
from autox3d.sizing.scaling import scaled, thinned, without_time
from autox3d.training.drop_connect import spread
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights
from autox3d.vision.models.blocks import DropConnect
from autox3d.vision.models.network import VideoNet
from autox3d.vision.models.weights import Trained


@pytest.fixture(autouse=True)
def one_thread():
    torch.manual_seed(1)
    torch.set_num_threads(1)


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_it_is_exported(ending, tmp_path):
    """One clip in, the scores of the network out."""
    genotype = small()
    assert genotype.dense
    short = replace(
        genotype,
        groups=genotype.groups[:3],
        dense=replace(genotype.dense, groups=genotype.dense.groups[:3]),
    )
    trained = Trained(ready(short), short, CLASSES, {}, {})

    written = export.export(trained, tmp_path / f"net.{ending}", 40)
    assert written.difference <= export.TOLERANCE


def test_a_folder_of_weights_predicts_a_video(tmp_path):
    """Saved, loaded, and the scores of its clips; every frame of them is decoded once."""
    genotype = small()
    net = ready(genotype)
    weights.save(tmp_path / "net", net, genotype, CLASSES, {})
    video = ("-f", "lavfi", "-i", "testsrc=s=64x64:r=30:d=2", "-c:v", "mpeg4", "-q:v", "5")
    from imageio_ffmpeg import get_ffmpeg_exe

    film = str(tmp_path / "film.avi")
    subprocess.run([get_ffmpeg_exe(), "-v", "error", *video, "-y", film], check=True)

    network = autox3d.load(tmp_path / "net", device="cpu")
    found = network.predict(film)

    assert Genotype.load(tmp_path / "net") == genotype
    assert sum(found.scores.tolist()) == pytest.approx(1, abs=1e-3)


def test_heat_maps_are_of_both_streams():
    """A value for each frame of the clip; a frame that only the dense stream sees has some."""
    genotype = small()
    trained = Trained(ready(genotype), genotype, CLASSES, {}, {})
    pixels = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    maps = evidence(trained, pixels, [0, 1])

    assert maps.shape == (2, 8, 2, 2)
    assert maps.sum() > 0


def test_the_same_changes_are_made_to_both_streams():
    """Thinner, deeper, without time, and a drop rate for each stage of each."""
    genotype = Genotype.load(ARCHITECTURES / f"{DEMO}.yaml")
    clip = ClipSpec(frames=16, stride=2, crop=64, short=64)
    wide = thinned(genotype, "wide", clip, 2.0, 2.0)
    still = without_time(genotype, "still")
    assert wide.dense
    assert still.dense

    assert wide.dense.stem.channels == 8
    assert [g.channels for g in wide.dense.groups] == [8, 16, 24, 24]
    assert [g.blocks for g in wide.dense.groups] == [g.blocks for g in wide.groups] == [2, 2, 1, 3]
    assert wide.dense.head == 48
    assert {g.kernel for g in still.rows} == {"t1_s3"}
    assert [g.fuse for g in still.dense.groups] == ["sample"] * 4
    net = VideoNet(genotype, 5)
    spread(net, 0.2)
    rates = [one.rate for one in net.modules() if isinstance(one, DropConnect)]
    assert rates == pytest.approx([0.1, 0.15, 0.2, 0.2] * 2)


MISTAKES = {
    "alpha: 4|alpha: 3": (
        "'dense': alpha is 3, which does not divide the 8 frames of 'input'."
        " Take another of the two."
    ),
    "alpha: 4|alpha: 1": "'dense.alpha' must be >= 2, not 1.",
    "stride: 2, squeeze_excite: even, attention: none, fuse: conv|"
    "stride: 1, squeeze_excite: even, attention: none, fuse: conv": (
        "'dense': row 2 has 'fuse' conv, where the sparse stream has a stride of 4 and the dense"
        " one of 2. Write skip, or change the rows before it."
    ),
    "stride: 1, squeeze_excite: even, attention: none, fuse: sample|"
    "stride: 2, squeeze_excite: even, attention: none, fuse: sample": (
        "'dense': the sparse stream ends with a stride of 16 and the dense one of 32, and they"
        " share the head's window. Make them equal."
    ),
    ", fuse: channels|": "'dense': row 3 has no 'fuse'. Write one of skip, conv, sample, channels.",
    "fuse: channels|fuse: time": (
        "'dense.groups', row 3, 'fuse' must be one of 'skip', 'conv', 'sample' or 'channels', not"
        " 'time'."
    ),
    "attention: none}|attention: none, fuse: skip}": (
        "the file: row 1: 'fuse' belongs to the rows of 'dense'. Delete it."
    ),
}


@pytest.mark.parametrize("change", MISTAKES)
def test_streams_that_do_not_fit_are_refused(change, tmp_path):
    """One line: the file, the row, what does not fit, and the fix."""
    before, after = change.split("|")
    text, path = (ARCHITECTURES / f"{DEMO}.yaml").read_text(), tmp_path / "net.yaml"
    assert before in text
    path.write_text(text.replace(before, after, 1))

    with pytest.raises(Refused) as refused:
        Genotype.load(path)

    assert str(refused.value) == f"{path}: {MISTAKES[change]}"


def test_a_row_that_only_the_dense_stream_has_cannot_fuse():
    """The sparse stream has no place for it."""
    genotype = Genotype.load(ARCHITECTURES / f"{DEMO}.yaml")
    assert genotype.dense
    rows = genotype.dense.groups
    longer = (*rows, replace(rows[-1], fuse="skip"))
    assert replace(genotype, dense=replace(genotype.dense, groups=longer)).dense
    with pytest.raises(ValueError, match="row 5 has 'fuse' conv, and the sparse stream has 4 rows"):
        replace(genotype, dense=replace(genotype.dense, groups=(*rows, rows[0])))


def test_other_frames_than_alpha_allows_are_refused(monkeypatch, capsys):
    """By the command that counts, and by what scales."""
    monkeypatch.setattr(sys, "argv", ["autox3d", "count", DEMO, "--frames", "6"])
    with pytest.raises(SystemExit):
        cli.main()
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith(
        "two_streams_demo: 6 frames are not a multiple of the 4 of which the sparse stream"
        " takes one."
    )
    clip = ClipSpec(frames=13, stride=2, crop=64, short=64)
    with pytest.raises(Refused) as refused:
        scaled(Genotype.load(Path(DEMO)), "s", clip, 1.0)
    assert str(refused.value) == (
        "two_streams_demo: 13 frames for s are not a multiple of its alpha, 4. Take a multiple."
    )


def test_each_kind_of_the_demo_needs_another_stream():
    """A still video shows its class in each frame; the frames of all pans are drawn alike."""
    kinds = demo_streams.kinds_of(2.0)
    still = {name: kind for name, kind in kinds.items() if name.startswith("still_")}
    assert len(kinds) == 2 * len(still) == 8
    assert {kind.speed for kind in still.values()} == {(0.0, 0.0)}
    assert len({kind.grain for kind in still.values()}) == 4
    assert {kind.grain for name, kind in kinds.items() if name not in still} == {None}
    tiles = scene.noise_tiles(1)
    for number, (name, kind) in enumerate(kinds.items()):
        shown = scene.frames(
            scene.panned(kind, number), (32, 32), 10, 4, tiles, np.random.default_rng(number)
        )
        first, *_, last = [np.frombuffer(frame, np.uint8).astype(float) for frame in shown]
        moved = np.abs(first - last)[: 32 * 32].reshape(32, 32)[8:24, 8:24].mean()
        assert bool(moved < 6) is (name in still), name  # noise alone, or the picture
