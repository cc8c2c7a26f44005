"""Files of an earlier version load to the same tensors; those of a later one are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import ARCHITECTURES
from support.trained import trained

from autox3d.core import names
from autox3d.core.errors import Refused
from autox3d.search.files import save_weights, take_over
from autox3d.search.prior import Prior
from autox3d.search.space import Space
from autox3d.search.state import SearchState
from autox3d.search.supernet import Supernet
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet


def rename_to_format_1(path: Path) -> None:
    """The file as the first version named its tensors, without a format."""
    tensors = load_file(path)
    old = {name.replace(".depthwise.", ".look."): tensor for name, tensor in tensors.items()}
    assert old.keys() != tensors.keys()
    assert names.modern(old).keys() == names.modern(tensors).keys() == tensors.keys()
    save_file(old, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network, saved as format 1."""
    net, genotype, classes = trained("autox3d_s")
    weights.save(tmp_path / "net", net, genotype, classes, {})
    rename_to_format_1(tmp_path / "net/weights.safetensors")
    model = json.loads((tmp_path / "net/model.json").read_text())
    assert model.pop("format") == names.FORMAT == 2
    (tmp_path / "net/model.json").write_text(json.dumps(model))
    return tmp_path / "net"


def test_a_folder_of_format_1_is_the_same_network(folder: Path) -> None:
    """Loaded, started from, completed, and saved again in the current format."""
    net, genotype, classes = trained("autox3d_s")
    wanted = net.state_dict()
    fresh = VideoNet(genotype, len(classes))

    assert weights.initialise(fresh, folder) == []
    weights.complete(folder, folder.with_name("complete"), None, None)
    loaded = weights.load(folder)
    weights.save(folder.with_name("again"), loaded.net, genotype, classes, {})

    assert ".look." in "".join(load_file(folder / "weights.safetensors"))
    folders = {other: weights.load(folder.with_name(other)) for other in ("complete", "again")}
    states = {other: found.net.state_dict() for other, found in folders.items()}
    states |= {"loaded": loaded.net.state_dict(), "fresh": fresh.state_dict()}
    for name, tensor in wanted.items():
        for other, state in states.items():
            assert torch.equal(state[name], tensor), (other, name)
    assert set(load_file(folder.with_name("again") / "weights.safetensors")) == set(wanted)


def test_a_folder_of_a_later_format_is_refused(folder: Path) -> None:
    """In one line, whether it is to be loaded or started from."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    line = f"{path}: has format 3, and this version reads 1 and 2. Update autox3d."
    net = trained("autox3d_s")[0]

    for read in (weights.load, lambda of: weights.initialise(net, of)):
        with pytest.raises(Refused) as refused:
            read(folder)
        assert str(refused.value) == line


def supernet_state(seed: int) -> SearchState:
    """With a momentum for each weight."""
    torch.manual_seed(seed)
    space = Space.load(ARCHITECTURES / "space_demo.yaml")
    net, prior = Supernet(space, 3, "fair"), Prior([len(c.candidates) for c in space.choices])
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for weight in net.parameters():
        sgd.state[weight]["momentum_buffer"] = torch.randn_like(weight)
    return SearchState(net, prior, sgd, torch.optim.Adam(prior.parameters()))


def tensors_of(state: SearchState) -> list[torch.Tensor]:
    """Every weight and its momentum, in the order of registration."""
    weights = list(state.supernet.parameters())
    return [*weights, *(state.sgd.state[weight]["momentum_buffer"] for weight in weights)]


def test_a_supernet_of_format_1_goes_on_where_it_stood(tmp_path: Path) -> None:
    """Weights and momentum under the old names."""
    path, before, after = tmp_path / "warmup.safetensors", supernet_state(1), supernet_state(2)
    save_weights(path, before)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {names.KEY: "2"}
    rename_to_format_1(path)

    take_over(path, after)

    assert all(map(torch.equal, tensors_of(before), tensors_of(after)))


def test_a_supernet_of_a_later_format_is_refused(tmp_path: Path) -> None:
    """In one line."""
    path, state = tmp_path / "warmup.safetensors", supernet_state(1)
    save_weights(path, state)
    save_file(load_file(path), path, {names.KEY: "7"})
    with pytest.raises(Refused) as refused:
        take_over(path, state)

    line = f"{path}: has format 7, and this version reads 1 and 2. Update autox3d."
    assert str(refused.value) == line
