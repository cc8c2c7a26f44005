"""A whole network trains, tests, exports and starts as the papers say (docs/PAPER.md)."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from support import ARCHITECTURES
from support.networks import read, tiny
from torch import Tensor, nn

from autox3d.vision.arch.blocks import expands
from autox3d.vision.kernels import Backend, cpu, reference, using
from autox3d.vision.models.attention import GloRe
from autox3d.vision.models.blocks import MobileBlock, ResidualBlock
from autox3d.vision.models.fold import folded
from autox3d.vision.models.layers import Depthwise, Pointwise
from autox3d.vision.models.network import VideoNet, open_branches, set_training
from autox3d.vision.models.norm import BatchNorm
from autox3d.vision.tasks import classify

SHIPPED = sorted(p.stem for p in ARCHITECTURES.glob("*.yaml") if not p.name.startswith("space_"))


@pytest.fixture(autouse=True)
def one_thread():
    torch.manual_seed(1)
    torch.set_num_threads(1)


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
