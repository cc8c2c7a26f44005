"""Every layer and block does what the papers and their reference code say (docs/PAPER.md)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.networks import read
from torch import Tensor, nn

from autox3d.vision.arch.blocks import Block
from autox3d.vision.kernels import backend, cpu, reference, using
from autox3d.vision.models.attention import GloRe, NonLocal
from autox3d.vision.models.blocks import DropConnect, ResidualBlock
from autox3d.vision.models.layers import ConvNorm, Pointwise
from autox3d.vision.models.network import initialise_layer, set_training
from autox3d.vision.models.norm import BatchNorm

BLOCK = Block(
    group=0,
    kernel=(3, 3),
    channels_in=6,
    inner=10,
    channels=8,
    stride=2,
    gate=8,
    attention="none",
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.manual_seed(1)
    torch.set_num_threads(1)


def randomise(module: nn.Module) -> None:
    """Every tensor, so that nothing is hidden by a zero or a one."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.2, 1.2)


CASES = [  # channels in, out, groups, kernel, stride
    (6, 9, 1, (1, 1), 1),
    (6, 9, 1, (1, 1), 2),
    *((6, 6, 6, (t, s), stride) for t in (1, 3, 5) for s in (3, 5) for stride in (1, 2)),
    (6, 6, 6, (5, 1), 1),
]


@pytest.mark.parametrize("size", [6, 7], ids=["even", "odd"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolutions_are_conv3d_with_its_gradients(case, size):
    """Forward, and the gradients that are computed another way, with one thread and with two."""
    channels, out, groups, (time, space), stride = case
    x = torch.randn(2, channels, 4, size, size).contiguous(memory_format=torch.channels_last_3d)
    leaves = [x, torch.randn(out, channels // groups, time, space, space), torch.randn(out)]
    padding = (time // 2, space // 2, space // 2)
    exact = [leaf.double().requires_grad_() for leaf in leaves]
    expected = F.conv3d(exact[0], exact[1], exact[2], (1, stride, stride), padding, groups=groups)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, exact, weights)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        mine = [leaf.clone().requires_grad_() for leaf in leaves]
        found = cpu.convolve(*mine, stride=stride, groups=groups)
        gradients = torch.autograd.grad(found, mine, weights.float())

        assert found.is_contiguous(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
        for gradient, want in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(gradient.double(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolutions_pass_gradcheck(case):
    """Against finite differences in float64."""
    channels, out, groups, (time, space), stride = case
    x = torch.randn(1, channels, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    shape = (out, channels // groups, time, space, space)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(
        lambda x, w: cpu.convolve(x, w, None, stride, groups), (x, weight), fast_mode=True
    )


def test_one_switch_chooses_the_backend():
    """By device, and PyTorch's own where autocast watches; a test may force one."""
    here, nowhere = torch.empty(1), torch.empty(1, device="meta")

    assert (backend(here), backend(nowhere)) == (cpu, reference)
    with torch.autocast("cpu", torch.bfloat16):
        assert backend(here) is reference
    with using(reference), using(cpu):
        assert backend(nowhere) is cpu
    assert (backend(here), backend(nowhere)) == (cpu, reference)


def test_the_block_is_x3ds():
    """1x1x1, BN, ReLU; t x s x s, BN, squeeze-excite, swish; 1x1x1, BN; the sum, ReLU."""
    block = ResidualBlock(BLOCK, read("x3d_s").block).double().eval()
    randomise(block)
    w = {name: tensor.double() for name, tensor in block.state_dict().items()}
    x = torch.randn(2, 6, 4, 7, 7, dtype=torch.float64)

    def norm(y: Tensor, at: str) -> Tensor:
        of = [w[f"{at}.norm.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(y, *of, training=False, eps=1e-5)

    y = norm(F.conv3d(x, w["expand.conv.weight"]), "expand").relu()
    y = norm(F.conv3d(y, w["depthwise.conv.weight"], None, (1, 2, 2), 1, 1, 10), "depthwise")
    hidden = F.conv3d(y.mean((2, 3, 4), True), w["gate.squeeze.weight"], w["gate.squeeze.bias"])
    y = y * F.conv3d(hidden.relu(), w["gate.excite.weight"], w["gate.excite.bias"]).sigmoid()
    y = norm(F.conv3d(y * y.sigmoid(), w["project.conv.weight"]), "project")
    short = norm(F.conv3d(x, w["shortcut.conv.weight"], None, (1, 2, 2)), "shortcut")

    torch.testing.assert_close(block(x), (short + y).relu(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "stride", "identity"), [(6, 1, True), (6, 2, False), (8, 1, False)]
)
def test_the_shortcut_is_the_identity_where_it_fits(channels, stride, identity):
    """Else a strided 1x1x1 convolution with batch norm, also where the stride alone changes."""
    row = replace(BLOCK, channels=channels, stride=stride)
    block = ResidualBlock(row, read("x3d_s").block)

    assert isinstance(block.shortcut, nn.Identity if identity else ConvNorm)


@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_activations_are_columns_of_the_genotype(activation):
    """X3D, Table A.1: its text has swish before and after the depthwise layer, its code after."""
    style = replace(read("x3d_s").block, first=activation, second=activation)
    block = ResidualBlock(replace(BLOCK, gate=0), style).eval()
    randomise(block)
    seen: list[Tensor] = []
    for layer in (block.depthwise, block.project):
        layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    block(torch.randn(1, 6, 4, 6, 6) - 3)

    assert all((x < 0).any() == (activation == "swish") for x in seen)


def test_a_dense_block_mixes_channels():
    """Table A.1 without channel-wise convolution: each output sees every inner channel."""
    style = replace(read("x3d_s").block, depthwise=False)
    block = ResidualBlock(BLOCK, style)

    assert block.depthwise.conv.weight.shape == (10, 10, 3, 3, 3)


def test_one_chunk_of_ghost_batch_norm_is_batch_norm():
    """Outputs and running statistics, to the last bit; eps 1e-5 and momentum 0.1 are its own."""
    ours, plain = BatchNorm(6), nn.BatchNorm3d(6)
    randomise(plain)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(4, 6, 3, 5, 5)

    assert torch.equal(ours(x), plain(x))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name
    assert torch.equal(ours.eval()(x), plain.eval()(x))


def test_ghost_batch_norm_is_batch_norm_of_each_chunk():
    """Its running statistics move towards the average of the chunks'; the last may be smaller."""
    ours = BatchNorm(6)
    set_training(ours, bn_clips=2)
    x = torch.randn(5, 6, 3, 5, 5)
    plain = [nn.BatchNorm3d(6) for _ in range(3)]
    expected = torch.cat([norm(chunk) for norm, chunk in zip(plain, x.split(2), strict=True)])

    assert torch.equal(ours(x), expected)
    for name in ("running_mean", "running_var"):
        mean = torch.stack([norm.get_buffer(name) for norm in plain]).mean(0)
        torch.testing.assert_close(ours.get_buffer(name), mean)


def test_a_folded_norm_is_the_norm_after_its_convolution():
    """Evaluation gives one convolution the scale and shift of two layers."""
    layer = ConvNorm(Pointwise(6, 8), BatchNorm(8)).double().eval()
    randomise(layer)
    x = torch.randn(2, 6, 3, 5, 5, dtype=torch.float64)

    torch.testing.assert_close(layer(x), layer.norm(layer.conv(x)), rtol=0, atol=1e-12)


def test_glore_is_the_reference_unit():
    """arXiv:1811.12814 in its own words: project, reason over nodes, project back, extend."""
    unit = GloRe(8, nodes=3).double().eval()
    randomise(unit)
    w = dict(unit.named_parameters())
    x = torch.randn(2, 8, 3, 4, 4, dtype=torch.float64)
    length = 3 * 4 * 4

    def conv(y: Tensor, name: str) -> Tensor:
        bias = w.get(f"{name}.bias")
        y = torch.einsum("dc,bcl->bdl", w[f"{name}.weight"].flatten(1), y)
        return y if bias is None else y + bias[:, None]

    states, nodes = conv(x.flatten(2), "states"), conv(x.flatten(2), "nodes")
    graph = torch.einsum("bsl,bnl->bsn", states, nodes) / length
    mixed = torch.einsum("mn,bsn->bsm", w["mix.weight"], graph) + w["mix.bias"]
    graph = torch.einsum("ts,bsn->btn", w["update.weight"], (mixed + graph).relu())
    back = torch.einsum("btn,bnl->btl", graph, nodes)
    extended = conv(back, "extend.conv").view_as(x)
    norm = unit.extend.norm

    assert norm.eps == 1e-4
    torch.testing.assert_close(unit(x), x + norm(extended), rtol=1e-12, atol=0)


def test_nonlocal_is_softmax_attention_over_positions():
    """arXiv:1711.07971, embedded Gaussian at half the channels, no subsampling."""
    unit = NonLocal(8).double().eval()
    randomise(unit)
    x = torch.randn(2, 8, 3, 4, 4, dtype=torch.float64)
    theta, phi, g = (conv(x).flatten(2) for conv in (unit.theta, unit.phi, unit.g))
    alike = torch.einsum("bcl,bcm->blm", theta, phi) / math.sqrt(4)
    y = torch.einsum("blm,bcm->bcl", alike.softmax(2), g).view(2, 4, 3, 4, 4)

    torch.testing.assert_close(unit(x), x + unit.norm(unit.out(y)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("unit", [GloRe(8, 2), NonLocal(8)], ids=["glore", "nonlocal"])
def test_attention_starts_as_the_identity(unit):
    """The last gamma is 0."""
    unit.apply(initialise_layer)
    x = torch.randn(2, 8, 3, 4, 4)

    assert torch.equal(unit(x), x)


def test_drop_connect_drops_whole_clips_and_keeps_the_mean():
    """Rate 0.25: a quarter of the clips loses its branch, the rest is scaled by 4/3."""
    x = torch.ones(4000, 2, 1, 1, 1)
    dropped = DropConnect(0.25)(x)

    assert dropped.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)


def test_drop_connect_acts_in_training_alone():
    """At a rate near 1 a block is its shortcut; in evaluation it is whole."""
    block = ResidualBlock(BLOCK, read("x3d_s").block)
    set_training(block, bn_clips=8, drop_connect=0.999)
    randomise(block)
    x = torch.randn(2, 6, 4, 6, 6)
    torch.testing.assert_close(block(x), block.shortcut(x).relu())

    whole = ResidualBlock(BLOCK, read("x3d_s").block)
    whole.load_state_dict(block.state_dict())
    assert torch.equal(block.eval()(x), whole.eval()(x))
