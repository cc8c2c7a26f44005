"""Scores are the same however many views share a pass; what a GPU does is tried on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable

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
from autox3d.vision.learning.capture import Work
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

    def small(self: Scorer, clips: Tensor, _boxes: None) -> Tensor:
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


def drawn(net: VideoNet, count: int) -> list[Tensor]:
    """So many passes of four views."""
    spec = net.genotype.input
    return list(torch.randint(256, (count, 4, spec.frames, 36, 36, 3), dtype=torch.uint8))


def same(work: Work) -> Work:
    """What a graph does: the same work again."""
    work()
    return work


def test_a_pass_whose_size_comes_again_is_replayed(net, monkeypatch):
    """The first two are plain, the second is compared, and a last one of fewer views is plain."""
    *some, last = drawn(net, 5)
    alone = Scorer(net, TASK, CPU, 4)
    plain, wanted = [], [alone(views) for views in (*some, last[:3])]
    whole = Scorer._pass
    monkeypatch.setattr(Scorer, "_pass", lambda self, *of: plain.append(of) or whole(self, *of))
    replays = []

    def counted(work: Work) -> Work:
        work()
        return lambda: replays.append(work()) or None

    scorer = Scorer(net, TASK, CPU, 4, counted)
    found = [scorer(views) for views in (*some, last[:3])]

    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert len(replays) == 3  # the second as a trial, the third and the fourth
    assert [len(views) for views, *_ in plain] == [4, 4, 4, *[4] * len(replays), 3]


def raises(error: RuntimeError) -> Callable[[Work], Work]:
    """A capture that fails."""

    def capture(_work: Work) -> Work:
        raise error

    return capture


@pytest.mark.parametrize(
    ("capture", "reason"),
    [
        (lambda work: lambda: None, "its scores are others"),
        (lambda work: work() or (lambda: None), "its scores are others"),
        (
            raises(RuntimeError("no such call\nwhile capturing")),
            "its capture failed (no such call)",
        ),
        (raises(torch.OutOfMemoryError("CUDA")), "there is not enough memory for it"),
    ],
)
def test_without_a_graph_that_is_right_passes_stay_plain(net, capture, reason, capsys):
    """A line says why, once, and no score is another."""
    some = drawn(net, 4)
    alone, scorer = Scorer(net, TASK, CPU, 4), Scorer(net, TASK, CPU, 4, capture)

    assert all(torch.equal(scorer(views), alone(views)) for views in some)
    assert capsys.readouterr().err == f"cpu: no CUDA graph for tests: {reason}.\n"


def test_without_room_for_a_graph_passes_stay_as_large(net, monkeypatch, capsys):
    """Its own input may be what does not fit; the pass that was plain keeps its scores."""
    some = drawn(net, 3)
    alone, scorer = Scorer(net, TASK, CPU, 4), Scorer(net, TASK, CPU, 4, same)

    def full(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "zeros_like", full)

    assert all(torch.equal(scorer(views), alone(views)) for views in some)
    assert scorer.batch == 4
    line = "cpu: no CUDA graph for tests: there is not enough memory for it.\n"
    assert capsys.readouterr().err == line


def test_what_a_graph_keeps_is_given_up_before_passes_are_made_smaller(net, monkeypatch, capsys):
    """Its memory is wanted by a pass of another size, which then has as many views as before."""
    some, spec = drawn(net, 3), net.genotype.input
    larger = torch.randint(256, (4, spec.frames, 40, 40, 3), dtype=torch.uint8)
    alone, scorer = Scorer(net, TASK, CPU, 4), Scorer(net, TASK, CPU, 4, same)
    wanted, whole, sizes = alone(larger), Scorer._pass, []
    for one in some:
        scorer(one)

    def full(self: Scorer, views: Tensor, *of: Tensor) -> Tensor:
        sizes.append(len(views))
        if any(self._replays.values()):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, views, *of)

    monkeypatch.setattr(Scorer, "_pass", full)
    assert torch.equal(scorer(larger), wanted)
    assert sizes == [4, 4]
    line = "cpu: no CUDA graph for tests: passes of other sizes need its memory.\n"
    assert capsys.readouterr().err == line


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
