"""Every layer does what the papers and their reference code say (docs/PAPER.md)."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from support import ARCHITECTURES
from torch import Tensor, nn

from autox3d.core.values import ClipSpec
from autox3d.sizing.scaling import thinned
from autox3d.vision.arch.blocks import Block, expands
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import Backend, backend, cpu, reference, using
from autox3d.vision.models.attention import GloRe, NonLocal
from autox3d.vision.models.blocks import DropConnect, MobileBlock, ResidualBlock
from autox3d.vision.models.fold import folded
from autox3d.vision.models.layers import ConvNorm, Depthwise, Pointwise
from autox3d.vision.models.network import VideoNet, initialise_layer, open_branches, set_training
from autox3d.vision.models.norm import BatchNorm
from autox3d.vision.tasks import classify

SHIPPED = sorted(p.stem for p in ARCHITECTURES.glob("*.yaml") if not p.name.startswith("space_"))
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


def read(name: str) -> Genotype:
    return Genotype.load(ARCHITECTURES / f"{name}.yaml")


def tiny(name: str, frames: int = 4, crop: int = 32) -> Genotype:
    clip = ClipSpec(frames=frames, stride=1, crop=crop, short=crop)
    return thinned(read(name), name, clip, width=0.25, depth=0.3)


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


def test_a_network_exports_as_plain_convolutions():
    """What leaves the project names no operator of one library, and computes the same."""
    net = VideoNet(tiny("autox3d_s"), 5).eval()
    nn.init.normal_(net.head.classify.weight)
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        program = torch.export.export(net, (clips,))
        found, expected = program.module()(clips), net(clips)

    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "aten.conv3d.default" in called
    assert not {name for name in called if "mkldnn" in name or "autox3d" in name}
    torch.testing.assert_close(found, expected)


def test_a_network_trains_under_bfloat16_autocast():
    """Finite gradients for every parameter, in float32."""
    net = VideoNet(tiny("autox3d_s"), 5)
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(net(torch.randn(2, 3, 4, 32, 32)).mean(1), torch.tensor([0, 1]))
    loss.backward()

    grads = [p.grad for p in net.parameters()]
    assert all(g is not None and g.isfinite().all() and g.dtype == torch.float32 for g in grads)


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


def test_either_backend_computes_the_same_network():
    """Logits, gradients and what a folded network gives: nearly, and by another way."""
    net = VideoNet(tiny("autox3d_s"), 5)
    open_branches(net, 0.5)
    nn.init.normal_(net.head.classify.weight)
    quick, clips = folded(net), torch.randn(4, 3, 4, 32, 32)
    by: list[tuple[Tensor, ...]] = []
    for forced in (cast("Backend", reference), cast("Backend", cpu)):
        with using(forced):
            logits = net.train()(clips)
            gradients = torch.autograd.grad(logits.sum(), list(net.parameters()))
            with torch.inference_mode():
                by.append((quick(clips), logits.detach(), *gradients))

    whole = torch.stack([gradient.norm() for gradient in by[0][2:]]).norm()
    for one, other in zip(by[0][:2], by[1][:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    for one, other in zip(by[0][2:], by[1][2:], strict=True):
        assert (one - other).norm() < 1e-3 * whole
    assert not torch.equal(by[0][0], by[1][0])


def test_a_training_step_repeats_to_the_last_bit():
    """The same weights and clips give the same gradients, with as many threads as there are."""
    torch.set_num_threads(2)
    net = VideoNet(tiny("autox3d_s"), 5)
    set_training(net, bn_clips=2)
    clips = torch.randn(4, 3, 4, 32, 32)
    steps = []
    for _ in range(2):
        loss = F.cross_entropy(net(clips).mean(1), torch.tensor([0, 1, 2, 3]))
        steps.append(torch.autograd.grad(loss, list(net.parameters())))

    assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))


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


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_network_trains_and_tests(name):
    """Thinned to tiny: logits with gradients for every parameter, then some at each position."""
    genotype = replace(tiny(name), attention=read(name).attention)
    net = VideoNet(genotype, 5)
    set_training(net, bn_clips=8, dropout=0.5)
    for norm in (layer for layer in net.modules() if isinstance(layer, BatchNorm)):
        nn.init.ones_(norm.weight)  # a zero at the end of each block hides what is before
    clips = torch.randn(2, 3, 4, 32, 32)
    F.cross_entropy(net(clips).mean(1), torch.tensor([0, 1])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())

    with torch.inference_mode():
        logits = net.eval()(torch.randn(2, 3, 4, 64, 64))
    assert logits.shape[0::2] == (2, 5)
    assert logits.shape[1] > 1
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["mobilenetv2_3d", "efficientnet3d_b3_like"])
def test_a_mobile_network_starts_alive(name):
    """The branch of a block with a sum starts at zero, and a block without one does not.

    Otherwise nothing would come out of the first one, nor any gradient back.
    """
    net = VideoNet(tiny(name), 5)
    blocks = [layer for layer in net.blocks if isinstance(layer, MobileBlock)]
    F.cross_entropy(net(torch.randn(4, 3, 4, 32, 32)).mean(1), torch.arange(4)).backward()

    assert {bool(block.project.norm.weight.any()) for block in blocks if block.adds} <= {False}
    assert {bool(block.project.norm.weight.all()) for block in blocks if not block.adds} == {True}
    assert any(value.grad is not None and value.grad.any() for value in net.stem.parameters())


@pytest.mark.parametrize("name", ["mobilenetv2_3d", "efficientnet3d_b3_like"])
def test_a_mobile_block_does_not_expand_to_the_width_that_it_has(name):
    """Only those of the first group, whose expansion is 1 of the channels in."""
    rows = read(name).blocks()

    assert [expands(row) for row in rows] == [row.group > 0 for row in rows]
    first = MobileBlock(rows[0], read(name).block)
    assert isinstance(first.expand, nn.Identity)


def test_a_head_with_one_linear_layer_thins_to_one():
    """`hidden: 0` is no width: thinner and narrower networks have none either."""
    head = read("mobilenetv2_3d").head
    thin = tiny("mobilenetv2_3d").head

    assert (head.channels, head.hidden) == (1280, 0)
    assert (thin.channels, thin.hidden) == (320, 0)
    assert VideoNet(tiny("mobilenetv2_3d"), 5).head.classify.weight.shape == (5, 320)


def test_a_network_returns_logits_in_training_and_in_evaluation():
    """At each position of the head's window; a list of one tensor is as good as the tensor."""
    net = VideoNet(tiny("x3d_s"), 5)
    clips = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        for mode in (True, False):
            logits = net.train(mode)(clips)
            assert logits.shape == (2, 4, 5)
            assert (logits < 0).any()
            assert torch.equal(net([clips]), logits)
    with pytest.raises(ValueError, match="clips of 2 streams for a network that has 1"):
        net([clips, clips])


def test_the_head_is_fully_convolutional():
    """Softmax at each position of the training window, then the mean: not the mean of logits."""
    net = VideoNet(tiny("x3d_s"), 5).eval()
    nn.init.normal_(net.head.classify.weight)
    clips = torch.randn(1, 3, 4, 64, 64)
    with torch.inference_mode():
        logits = net(clips)
        scores = classify.scores(logits)

    assert logits.shape == (1, 4, 5)
    torch.testing.assert_close(scores, logits.softmax(2).mean(1))
    assert not torch.allclose(scores, logits.mean(1).softmax(1), atol=1e-7)


def test_a_clip_below_the_window_is_refused():
    """It would otherwise fail inside the pool, with less to go by."""
    net = VideoNet(tiny("x3d_s"), 5).eval()
    with pytest.raises(ValueError, match=r"the clip leaves \(3, 1, 1\) frames and cells, fewer"):
        net(torch.randn(1, 3, 3, 32, 32))


def test_initial_weights():
    """He normal by fan out, the last layer N(0, 0.01), biases 0, gamma 1, at a branch's end 0."""
    net = VideoNet(replace(read("autox3d_s")), 400)
    weights = dict(net.named_parameters())

    expand = weights["blocks.20.expand.conv.weight"]
    assert expand.std().item() == pytest.approx(math.sqrt(2 / expand.shape[0]), rel=0.03)
    depthwise = weights["blocks.20.depthwise.conv.weight"]
    fan_out = depthwise.shape[0] * depthwise[0].numel()
    assert depthwise.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.03)
    hidden = weights["head.hidden.weight"]
    assert hidden.std().item() == pytest.approx(math.sqrt(2 / hidden.shape[0]), rel=0.03)
    assert weights["head.classify.weight"].std().item() == pytest.approx(0.01, rel=0.03)
    gammas = {n: t for n, t in weights.items() if n.endswith("norm.weight")}
    last = {n for n in gammas if ".project." in n or ".extend." in n}
    assert all((gammas[n] == (0 if n in last else 1)).all() for n in gammas)
    assert all((t == 0).all() for n, t in weights.items() if n.endswith("bias"))


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


@pytest.mark.parametrize("threads", [1, 2])
def test_a_folded_stem_takes_one_view_as_it_takes_many(threads):
    """For a single clip in float32, PyTorch takes another kernel of its own accord, a slow one."""
    net = VideoNet(tiny("x3d_s"), 5)  # its stem has a second convolution before the norm
    stem, clips = folded(net).stem, torch.randn(3, 3, 4, 32, 32)
    clips = clips.contiguous(memory_format=torch.channels_last_3d)
    torch.set_num_threads(threads)
    with torch.inference_mode():
        assert torch.equal(stem(clips[:1]), stem(clips)[:1])
        torch.testing.assert_close(stem(clips), net.eval().stem(clips), rtol=1e-4, atol=1e-5)


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


def test_settings_of_training_change_no_weight_and_nothing_in_evaluation():
    """A network that is built is the same whatever it is trained with; dropout acts in training."""
    torch.manual_seed(3)
    plain, other = VideoNet(tiny("x3d_s"), 5), VideoNet(tiny("x3d_s"), 5)
    set_training(other, bn_clips=1, dropout=0.9, drop_connect=0.5)
    nn.init.normal_(plain.head.classify.weight)
    other.load_state_dict(plain.state_dict())
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain.eval()(clips), other.eval()(clips))
        plain.head.train()
        assert torch.equal(plain(clips), plain(clips))
        other.head.dropout.train()
        assert not torch.equal(other(clips), other(clips))


def test_time_is_never_strided():
    """A clip keeps its frames up to the head."""
    net = VideoNet(tiny("autox3d_s"), 5)
    shapes: list[torch.Size] = []
    for block in net.blocks:
        block.register_forward_hook(lambda _, __, output: shapes.append(output.shape))
    net(torch.randn(2, 3, 4, 32, 32))

    assert {shape[2] for shape in shapes} == {4}


def note_stray(
    strays: list[str], name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    if not output.is_contiguous(memory_format=torch.channels_last_3d):
        strays.append(name)


def test_memory_stays_channels_last():
    """No layer falls back to another format, which would cost a copy each."""
    net = VideoNet(tiny("autox3d_s"), 5)
    strays: list[str] = []
    for name, layer in net.named_modules():
        if isinstance(layer, (Pointwise, Depthwise, BatchNorm, ResidualBlock, GloRe)):
            layer.register_forward_hook(partial(note_stray, strays, name))
    net(torch.randn(2, 3, 4, 32, 32))

    assert strays == []
