"""A trained network is a folder that loads whole, or says in one line why it does not."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from support import ARCHITECTURES

from autox3d.core.errors import Refused
from autox3d.core.records import Provenance
from autox3d.core.scores import Evaluation, Score
from autox3d.core.values import ClipSpec
from autox3d.sizing.scaling import thinned
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet

CLASSES = ["bowling", "crème brûlée", "yoga"]


@pytest.fixture
def genotype() -> Genotype:
    torch.set_num_threads(1)
    clip = ClipSpec(frames=4, stride=1, crop=32, short=40)
    small = Genotype.load(ARCHITECTURES / "autox3d_s.yaml")
    return thinned(small, "tiny", clip, width=0.25, depth=0.3)


@pytest.fixture
def folder(genotype, tmp_path) -> Path:
    """A network after a step of training, saved."""
    net = VideoNet(genotype, len(CLASSES))
    net(torch.randn(2, 3, 4, 32, 32))
    weights.save(tmp_path / "net", net, genotype, CLASSES, {"seed": 1})
    return tmp_path / "net"


def test_a_loaded_network_is_the_saved_one(genotype, tmp_path):
    """Every tensor to the last bit, running statistics too; ready for evaluation."""
    net = VideoNet(genotype, len(CLASSES))
    net(torch.randn(2, 3, 4, 32, 32))
    weights.save(tmp_path / "net", net, genotype, CLASSES, {"seed": 1})

    loaded = weights.load(tmp_path / "net")

    assert (loaded.genotype, loaded.classes, loaded.how) == (genotype, CLASSES, {"seed": 1})
    assert not loaded.net.training
    assert loaded.net.state_dict().keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], tensor), name


def test_the_folder_says_how_to_use_it(folder):
    """Sizes, normalisation and classes, for those who load it without this project."""
    card = json.loads((folder / "model.json").read_text())

    assert card["classes"] == CLASSES
    assert card["input"] == {
        "layout": "B 3 T H W",
        "frames": 4,
        "stride": 1,
        "crop": 32,
        "short": 40,
        "normalisation": {"mean": 0.45, "std": 0.225},
    }


def test_saving_again_replaces_the_folder_whole(folder, genotype):
    """Nothing of the old one is left, and nothing stands beside."""
    (folder / "stray").touch()
    net = VideoNet(genotype, len(CLASSES))
    weights.save(folder, net, genotype, CLASSES, {})

    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "genotype.yaml",
        "model.json",
        "weights.safetensors",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["net"]


def test_a_failed_save_leaves_the_old_folder(folder, genotype):
    """The new one takes its name last."""
    net = VideoNet(genotype, len(CLASSES))
    with pytest.raises(TypeError):
        weights.save(folder, net, genotype, CLASSES, {"not JSON": object()})

    assert weights.load(folder).how == {"seed": 1}
    assert [path.name for path in folder.parent.iterdir()] == ["net"]


def test_fine_tuning_starts_from_all_but_the_last_layer(folder, genotype):
    """With other classes the last layer is new, and is named; nothing else is left out."""
    net = VideoNet(genotype, 9)
    new = net.head.classify.weight.clone()

    left_out = weights.initialise(net, folder)

    assert sorted(left_out) == ["head.classify.bias", "head.classify.weight"]
    assert torch.equal(net.head.classify.weight, new)
    pretrained = weights.load(folder).net.state_dict()
    for name, tensor in net.state_dict().items():
        assert name in left_out or torch.equal(tensor, pretrained[name]), name


def test_fine_tuning_with_as_many_classes_starts_from_everything(folder, genotype):
    """Nothing is left out."""
    net = VideoNet(genotype, len(CLASSES))

    assert weights.initialise(net, folder) == []


MADE = Provenance(
    commit="0123456789",
    device="one GPU",
    processes=1,
    hours=1.5,
    torch="2.13.0",
    python="3.11.7",
    seed=1,
)
TESTED = Evaluation(
    k_clips=(),
    center=Score(views=10, metrics={"top1": 0.5, "top5": 0.9, "mean": 0.7}),
    per_class={},
    lcr=Score(views=30, metrics={"top1": 0.625, "top5": 1.0, "mean": 0.8125}),
    net="s",
    split="test",
    rule="ends",
    videos=128,
    labelled=128,
    params=1,
    gmacs_center=0.1,
    gmacs_lcr=0.1,
)


def front(folder: Path) -> dict:
    """What README.md says to programs."""
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_the_card_says_what_the_network_is(genotype, tmp_path):
    """Licence, classes, sizes, normalisation, metrics and settings, to programs and to people."""
    net = VideoNet(genotype, len(CLASSES))
    how = {"data": "36a526e2", "params": {"seed": 1, "weight_decay": 5e-5}}
    weights.save(tmp_path / "net", net, genotype, CLASSES, how, {"val_top1": 0.75})

    found, page = front(tmp_path / "net"), (tmp_path / "net/README.md").read_text()
    assert found["license"] == "apache-2.0"
    assert found["classes"] == CLASSES
    assert found["input"] == {
        "layout": "B 3 T H W",
        "frames": 4,
        "stride": 1,
        "crop": 32,
        "short": 40,
    }
    assert found["normalisation"] == {"mean": 0.45, "std": 0.225}
    assert (found["metrics"], found["how"]) == ({"val_top1": 0.75}, how)
    assert "| validation videos, one centre clip each | 75.0 | |" in page
    assert "- data: 36a526e2" in page
    assert "1. crème brûlée" in page


def test_a_completed_card_tells_test_and_training(folder, tmp_path):
    """What other stages found out joins in a copy; the folder that they read keeps its bits."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    weights.complete(folder, tmp_path / "shipped", MADE, TESTED)

    found = front(tmp_path / "shipped")
    assert found["how"] == {"seed": 1, "made": MADE.content()}
    metrics = weights.load(tmp_path / "shipped").metrics
    assert metrics["test"]["lcr"] == {"views": 30, "top1": 0.625, "top5": 1.0}
    page = (tmp_path / "shipped/README.md").read_text()
    assert (
        "| 128 videos of `test`, 30 views (left, centre and right crops) | 62.5 | 100.0 |" in page
    )
    assert "- hours: 1.5" in page
    assert page.count("- seed: 1\n") == 1  # known to the training and to its provenance
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_pickle_is_not_opened(folder, tmp_path):
    """Under the name of the weights it is refused, and the code in it does not run."""

    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    (folder / "weights.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(Refused, match=r"weights\.safetensors: no safetensors"):
        weights.load(folder)

    assert not (tmp_path / "ran").exists()


def test_missing_weights_are_named(folder):
    """The file, and what to look at."""
    (folder / "weights.safetensors").unlink()
    with pytest.raises(Refused) as refused:
        weights.load(folder)

    assert str(refused.value) == (
        f"{folder}/weights.safetensors: cannot be read (no such file). Check the path."
    )


def test_garbled_weights_are_named(folder):
    """Half a file is no safetensors."""
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Refused, match=r"weights\.safetensors: no safetensors \(.*\)\. Train or"):
        weights.load(folder)


def test_a_garbled_card_is_named(folder):
    """model.json without classes."""
    (folder / "model.json").write_text('{"classes": 3}')
    with pytest.raises(Refused) as refused:
        weights.load(folder)

    assert str(refused.value) == (
        f"{folder}/model.json: no list of classes. Train or import the network again."
    )


def test_weights_of_another_genotype_are_named_by_tensor(folder, genotype):
    """The first tensor that does not fit, and both shapes."""
    wider = replace(genotype, head=replace(genotype.head, channels=64))
    wider.save(folder / "genotype.yaml")
    with pytest.raises(Refused) as refused:
        weights.load(folder)

    assert str(refused.value) == (
        f"{folder}/weights.safetensors: 'head.conv.conv.weight' is [112, 48, 1, 1, 1], and the "
        "network needs [64, 48, 1, 1, 1]. Use the genotype that it was trained with."
    )
