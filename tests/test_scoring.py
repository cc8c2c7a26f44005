"""Scores are the same however many views share a pass; what a GPU does is tried on the CPU."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from support import killing
from support.spaces import GENOTYPE
from torch import Tensor

from autox3d.core.curves import Curve
from autox3d.core.records import Provenance
from autox3d.core.values import ClipSpec
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips import views
from autox3d.vision.clips.videos import Decoded
from autox3d.vision.learning.scoring import Scorer, at_once, fetched, grouped, ready
from autox3d.vision.models.fold import folded
from autox3d.vision.models.network import VideoNet, open_branches
from autox3d.vision.tasks.classify import TASK

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> VideoNet:
    path = tmp_path_factory.mktemp("net") / "s.yaml"
    path.write_text(GENOTYPE)
    torch.manual_seed(1)
    made = VideoNet(Genotype.load(path), 3)
    open_branches(made, 1.0)
    return made


def videos(spec: ClipSpec, count: int) -> list[Decoded]:
    """Upright and broad videos of noise, of different sizes."""
    found, places = [], views.test_places(2, "ends")
    for row in range(count):
        shape = (9, spec.short, spec.short + 5 * row, 3) if row % 2 else (7, 70, spec.short, 3)
        times = torch.randint(7, (len(places), spec.frames))
        found.append(Decoded(row, places, times, torch.randint(256, shape, dtype=torch.uint8)))
    return found


def test_videos_that_share_a_pass_have_the_scores_that_they_have_alone(net):
    """Folded, too, within rounding; on a GPU several videos share passes."""
    spec = net.genotype.input
    some = [video.views("lcr", spec) for video in videos(spec, 4)]
    alone = torch.cat([Scorer(net, TASK, CPU, 6)(one.clips) for one in some])

    for form in (net, folded(net)):
        together = Scorer(form, TASK, CPU, 24).videos(some)
        assert together.shape == (24, 3)
        assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(alone[:6], alone[6:12], atol=1e-5)


def test_a_cpu_scores_by_the_network_as_it_is(net):
    """And a video at a time, so that its results keep their bits."""
    assert ready(net, CPU) is net
    assert at_once(1, 64, CPU) == 1
    assert [at_once(count, 90, GPU) for count in (30, 45, 90, 91)] == [3, 2, 1, 1]


def test_out_of_memory_halves_the_pass_and_goes_on(net, monkeypatch, capsys):
    """No view is lost or scored twice, and the next video starts with the smaller pass."""
    spec = net.genotype.input
    (one,) = (video.views("lcr", spec) for video in videos(spec, 1))
    alone, sizes, whole = Scorer(net, TASK, CPU, 1)(one.clips), [], Scorer._pass

    def small(self: Scorer, clips: Tensor) -> Tensor:
        sizes.append(len(clips))
        if len(clips) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, clips)

    monkeypatch.setattr(Scorer, "_pass", small)
    scorer = Scorer(net, TASK, CPU, 6)
    assert torch.allclose(scorer(one.clips), alone, atol=1e-6)
    assert sizes == [6, 3, 2, 2, 2]
    assert capsys.readouterr().err.splitlines() == [
        "cpu: out of memory; 3 views a pass.",
        "cpu: out of memory; 2 views a pass.",
    ]
    scorer(one.clips)
    assert sizes[5:] == [2, 2, 2]

    monkeypatch.setattr(Scorer, "_pass", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        Scorer(net, TASK, CPU, 6)(one.clips)


def test_scores_are_read_one_pass_late():
    """The device has the next pass by then; all of them arrive, in order."""
    begun: list[int] = []

    def passes():
        for number in range(4):
            begun.append(number)
            yield number, torch.tensor([number])

    for number, scores in fetched(passes()):
        assert scores.tolist() == [number]
        assert begun == list(range(min(number + 2, 4)))
    assert list(fetched(iter(()))) == []
    assert list(grouped(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_validate_every_leaves_out_epochs_and_never_the_last(clips, runner, tmp_path):
    """Of 3 epochs, by 2: the second and the third; weights are those of a training with all."""
    found = {}
    for every in (1, 2):
        folder = killing.fresh(clips, tmp_path / str(every))
        params = yaml.safe_load((folder / "params.yaml").read_text())
        params["train"]["s"]["validate_every"] = every
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        found[every] = runner.finish("train", folder, AUTOX3D_SAVE_EVERY="600")

    same = "weights/weights.safetensors"
    assert found[1][same] == found[2][same]
    all_, some = (Curve.read(tmp_path / str(n) / "curve.csv", ["val_top1"]) for n in (1, 2))
    assert [str(value) for value in some["val_top1"]] == ["nan", *map(str, all_["val_top1"][1:])]
    assert "nan" not in map(str, all_["val_top1"])
    made = Provenance.read(tmp_path / "2/made.json")
    assert made.data_wait is not None
    assert 0 < made.data_wait < 1
    assert json.loads((tmp_path / "2/made.json").read_text())["data_wait"] == made.data_wait
