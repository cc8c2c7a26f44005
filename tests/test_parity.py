"""Ours and PyTorchVideo's X3D are one network: equal weights give equal scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bench import peers
from support import ARCHITECTURES
from torch import nn

from autox3d.core.errors import Refused
from autox3d.inference import published
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights
from autox3d.vision.models.blocks import ResidualBlock
from autox3d.vision.models.layers import ConvNorm
from autox3d.vision.models.network import VideoNet, set_training

# The crop decides the head's window alone; small clips keep the test small.
NETWORKS = {"x3d_xs": (4, 2.2), "x3d_s": (13, 2.2), "x3d_m": (16, 2.2), "x3d_l": (16, 5.0)}
CLASSES = 7


def peer(name: str, crop: int) -> nn.Module:
    """PyTorchVideo's network with random weights, statistics and scales; no dropout."""
    frames, depth = NETWORKS[name]
    torch.manual_seed(1)
    try:
        net = peers.create_x3d(
            input_clip_length=frames,
            input_crop_size=crop,
            model_num_class=CLASSES,
            depth_factor=depth,
            dropout_rate=0.0,
            head_activation=None,
        )
    except peers.Missing as error:
        pytest.skip(str(error))
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm3d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    nn.init.normal_(net.get_submodule(f"blocks.{len(net.blocks) - 1}.proj").weight, std=0.05)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    return net


def genotype(name: str, crop: int) -> Genotype:
    """The shipped file, with the head's window of another training crop."""
    found = Genotype.load(ARCHITECTURES / f"{name}.yaml")
    return replace(found, input=replace(found.input, crop=crop))


def ours(net: nn.Module, of: Genotype, folder: Path) -> VideoNet:
    """Our network with its weights, as `autox3d import-weights` converts them."""
    torch.save({"model_state": net.state_dict()}, folder / "peer.pyth")
    published.convert(folder / "peer.pyth", of, None, folder / "ours")
    return weights.load(folder / "ours").net


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_gives_equal_logits(name, tmp_path):
    """float64 to 1e-10, float32 to 1e-4; the larger crop has several positions of the window."""
    net = peer(name, 64).double().eval()
    mine = ours(net, genotype(name, 64), tmp_path)
    for dtype, tolerance, crop in (
        *((torch.float64, 1e-10, crop) for crop in (64, 73)),
        *((torch.float32, 1e-4, crop) for crop in (64, 73)),
    ):
        clips = torch.randn(1, 3, NETWORKS[name][0], crop, crop, dtype=dtype)
        with torch.inference_mode():
            expected = net.to(dtype)(clips)
            found = mine.to(dtype)(clips).mean(1)

        assert expected.std() > 0.1  # it would be equal, too, if nothing came through
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def without_norm(net: VideoNet) -> None:
    """Leaves the first shortcut without batch norm."""
    first = net.blocks[0]
    assert isinstance(first, ResidualBlock)
    assert isinstance(first.shortcut, ConvNorm)
    first.shortcut = first.shortcut.conv


@pytest.mark.parametrize("name", ["x3d_xs", "x3d_s", "x3d_l"])  # M is S with three more frames
def test_training_gives_equal_logits_and_gradients(name, tmp_path):
    """With batch statistics in float64 to 1e-10, without the norm that PyTorchVideo lacks."""
    net = peer(name, 64).double().train()
    mine = ours(net, genotype(name, 64), tmp_path).double().train()
    set_training(mine, bn_clips=2)
    without_norm(mine)
    clips = torch.randn(2, 3, NETWORKS[name][0], 64, 64, dtype=torch.float64)

    expected, found = net(clips), mine(clips).mean(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    expected.square().sum().backward()
    found.square().sum().backward()
    first = mine.get_parameter("stem.space.weight").grad
    torch.testing.assert_close(first, net.get_parameter("blocks.0.conv.conv_t.weight").grad)


def test_training_in_float32_agrees(tmp_path):
    """They agree to 1e-4 through our own convolutions, which float64 does not use."""
    net = peer("x3d_xs", 64).train()
    mine = ours(net, genotype("x3d_xs", 64), tmp_path).train()
    set_training(mine, bn_clips=4)
    without_norm(mine)
    clips = torch.randn(4, 3, 4, 64, 64)

    torch.testing.assert_close(mine(clips).mean(1), net(clips), rtol=1e-4, atol=1e-4)


def test_slowfast_names_carry_every_tensor(tmp_path):
    """A checkpoint under SlowFast's names, its shortcut norm included, gives the same network."""
    found = genotype("x3d_xs", 64)
    net = VideoNet(found, CLASSES).eval()
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.0)
    names = published.layer_names(found, "SlowFast")
    theirs = {}
    for name, tensor in net.state_dict().items():
        layer, _, kind = name.rpartition(".")
        shaped = tensor[..., None, None, None] if layer == "head.hidden" else tensor
        theirs[f"{names[layer]}.{kind}"] = shaped
    assert "s2.pathway0_res0.branch1_bn.weight" in theirs
    torch.save({"model_state": theirs, "epoch": 256, "cfg": "TRAIN: {}"}, tmp_path / "x3d.pyth")

    published.convert(tmp_path / "x3d.pyth", found, None, tmp_path / "ours")

    loaded = weights.load(tmp_path / "ours")
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], tensor), name
    assert loaded.how == {"imported": "x3d.pyth", "from": "SlowFast"}


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    """The error names the first tensor that does not fit, and the fix."""
    net = peer("x3d_xs", 64)
    torch.save(net.state_dict(), tmp_path / "peer.pyth")
    with pytest.raises(Refused) as refused:
        published.convert(tmp_path / "peer.pyth", genotype("x3d_l", 64), None, tmp_path / "ours")

    assert str(refused.value) == (
        f"{tmp_path}/peer.pyth: 'blocks.10.depthwise.conv.weight' is missing. "
        "Give the genotype that it was trained with."
    )
    assert not (tmp_path / "ours").exists()


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    """Only plain tensors are read: a pickle with anything else in it is not opened."""
    torch.save({"model_state": {}, "path": Path("/")}, tmp_path / "odd.pyth")
    with pytest.raises(Refused) as refused:
        published.read(tmp_path / "odd.pyth")
    assert str(refused.value) == (
        f"{tmp_path}/odd.pyth: not a checkpoint of plain tensors. Download it again; a file that "
        "also holds code is not read, whatever PyTorch advises."
    )
