"""A network of two streams: what its fusions and its head compute, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.streams import anyone, clips, fused, small
from support.trained import CLASSES, ready
from torch import Tensor, nn

from autox3d.sizing.scaling import without_time
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.fusions import FUSIONS
from autox3d.vision.models.fold import folded
from autox3d.vision.models.fusion import fusing
from autox3d.vision.models.network import VideoNet
from autox3d.vision.models.norm import BatchNorm
from autox3d.vision.models.roi import roi_align


@pytest.fixture(autouse=True)
def one_thread():
    torch.manual_seed(1)
    torch.set_num_threads(1)


def plain(kind: str, dense: int, sparse: int, alpha: int) -> nn.Module:
    """A fusion whose batch norm does nothing."""
    made = fusing(kind, dense, sparse, alpha).eval()
    for layer in made.modules():
        if isinstance(layer, BatchNorm):
            layer.eps = 0.0
    return made


def run(module: nn.Module, frames: list[list[float]]) -> list[list[float]]:
    """Applies a fusion to channels of frames of one pixel; the same form."""
    x = torch.tensor(frames)[None, :, :, None, None]
    with torch.no_grad():
        return module(x)[0, :, :, 0, 0].tolist()


CLIP = [[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]]  # two channels of four frames


def test_sampling_takes_every_alpha_th_frame():
    """Frames 0 and 2, channels summed with 1 and 0.1; ReLU behind."""
    made = plain("sample", 2, 2, 2)
    point = torch.tensor([[1.0, 0.1], [-1.0, 0.0]])[:, :, None, None, None]
    made.load_state_dict({**made.state_dict(), "point.conv.weight": point})

    assert run(made, CLIP) == [[2.0, 6.0], [0.0, 0.0]]


def test_time_to_channel_lays_frames_side_by_side():
    """Channel c of frame a is channel 2 c + a: the second frame of each pair, of each channel."""
    made = plain("channels", 2, 2, 2)
    point = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])[:, :, None, None, None]
    made.load_state_dict({**made.state_dict(), "point.conv.weight": point})

    assert run(made, CLIP) == [[2.0, 4.0], [30.0, 70.0]]


def test_the_strided_convolution_is_centred_on_the_sampled_frame():
    """Five frames around frames 0 and 2, zeros outside; then the channels are summed."""
    made = plain("conv", 2, 1, 2)
    time = torch.zeros(2, 2, 5, 1, 1)
    time[0, 0, :, 0, 0] = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0])
    time[1, 1, 2] = 1.0
    state = {"time.weight": time, "point.conv.weight": torch.ones(1, 2, 1, 1, 1)}
    made.load_state_dict({**made.state_dict(), **state})

    before_0 = 0 * 1 + 0 * 10 + 1 * 100 + 2 * 1000 + 3 * 10000
    before_2 = 1 * 1 + 2 * 10 + 3 * 100 + 4 * 1000 + 0 * 10000
    assert run(made, CLIP) == [[before_0 + 10.0, before_2 + 30.0]]


@pytest.mark.parametrize("kind", ["conv", "sample", "channels"])
@pytest.mark.parametrize("alpha", [2, 3, 4])
def test_a_fusion_is_its_sum_written_out(kind, alpha):
    """Frame by frame and channel by channel, in training as well."""
    dense, sparse, x = 3, 5, torch.randn(2, 3, 2 * alpha, 2, 2)
    made = fusing(kind, dense, sparse, alpha).train()
    for weight in made.parameters():
        nn.init.normal_(weight)
    point = made.get_parameter("point.conv.weight")[:, :, 0, 0, 0]
    wanted = torch.zeros(2, sparse, 2, 2, 2)
    for t in range(2):
        if kind == "sample":
            seen = x[:, :, alpha * t]
        elif kind == "channels":
            pairs = [x[:, c, alpha * t + a] for c in range(dense) for a in range(alpha)]
            seen = torch.stack(pairs, 1)
        else:
            time, seen = made.get_parameter("time.weight"), torch.zeros(2, dense, 2, 2)
            for k in range(5):
                if 0 <= (frame := alpha * t + k - 2) < x.shape[2]:
                    seen = seen + torch.einsum("oc,bchw->bohw", time[:, :, k, 0, 0], x[:, :, frame])
        wanted[:, :, t] = torch.einsum("oc,bchw->bohw", point, seen)
    scale, shift = made.get_parameter("point.norm.weight"), made.get_parameter("point.norm.bias")
    mean, var = wanted.mean((0, 2, 3, 4)), wanted.var((0, 2, 3, 4), correction=0)
    normed = (wanted - mean[:, None, None, None]) / (var[:, None, None, None] + 1e-5).sqrt()
    normed = normed * scale[:, None, None, None] + shift[:, None, None, None]

    torch.testing.assert_close(made(x), F.relu(normed), rtol=1e-4, atol=1e-4)


def test_the_sparse_stream_sees_every_alpha_th_frame():
    """One clip, or a clip for each stream, to the last bit; and other frames reach it by fusion."""
    for kind, passes in (("skip", False), ("conv", True), ("channels", True), ("sample", False)):
        genotype = small(all=kind)
        net, x = ready(genotype), clips(genotype)
        seen = head_inputs(net)
        other = x.clone()
        other[:, :, 1::4] += 1  # frames that the sparse stream does not take
        with torch.no_grad():
            for layer in over_frames(net):
                layer.get_parameter("weight").zero_()  # nothing but fusions then crosses frames
            assert torch.equal(net(x), net([x[:, :, ::4], x]))
            net(other)

        assert torch.equal(seen[0], seen[2]) is not passes, kind


def head_inputs(net: VideoNet) -> list[Tensor]:
    """Fills up with the sparse stream's features before the head, pass by pass."""
    seen: list[Tensor] = []

    def note(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    net.head.register_forward_pre_hook(note)
    return seen


def over_frames(net: VideoNet) -> list[nn.Module]:
    """The depthwise convolutions over several frames."""
    found = [net.get_submodule(name) for name, _ in net.named_modules() if "depthwise.conv" in name]
    return [layer for layer in found if layer.get_parameter("weight").shape[2] > 1]


def test_without_fusion_the_sparse_stream_is_a_network_alone():
    """Its features before the head are those of the single-stream network, to the last bit."""
    genotype = small(all="skip")
    net, x = ready(genotype), clips(genotype)
    clip = genotype.streams[0].input
    alone = VideoNet(replace(genotype, dense=None, input=clip), len(CLASSES)).eval()
    own = {k: v for k, v in net.state_dict().items() if k in alone.state_dict()}
    alone.load_state_dict({k: v for k, v in own.items() if "head" not in k}, strict=False)
    found, wanted = head_inputs(net), head_inputs(alone)
    with torch.no_grad():
        net(x)
        alone(x[:, :, ::4])

    assert torch.equal(found[0], wanted[0])


def test_every_parameter_of_both_streams_gets_a_gradient():
    """Stems, blocks, fusions and the head's two convolutions."""
    genotype = small()
    net = ready(genotype).train()
    F.cross_entropy(net(clips(genotype, 4)).mean(1), torch.arange(4)).backward()

    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert {name.split(".")[0] for name, _ in net.named_parameters()} >= {"dense_stem", "fusions"}


def test_a_folded_network_computes_the_same():
    """Nothing of batch norm is left, in fusions as little as elsewhere; at the test's size, too."""
    net = ready(small()).double()
    quick = folded(net)

    assert not any(isinstance(layer, BatchNorm) for layer in quick.modules())
    for side in (32, 40):
        x = torch.randn(2, 3, 8, side, side, dtype=torch.float64)
        with torch.inference_mode():
            torch.testing.assert_close(quick(x), net(x), rtol=0, atol=1e-10)


def test_a_head_over_boxes_pools_each_stream_in_them():
    """Each stream's mean over its own frames, the largest bin of a box, side by side; folded."""
    genotype = small(96)
    net, x = ready(genotype).double(), clips(genotype).double()
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.4, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0]])
    boxes = boxes.expand(2, 3, 4).double()
    seen: list[tuple[Tensor, ...]] = []
    net.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    net.head.hidden.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    with torch.no_grad():
        found = net(x, boxes)
        (sparse, _, dense), (pooled,) = seen
        wanted = [
            roi_align(F.relu(conv(features)).mean(2), boxes).amax((3, 4))
            for conv, features in ((net.head.conv, sparse), (net.head.dense, dense))
            if conv is not None
        ]
        torch.testing.assert_close(pooled, torch.cat(wanted, 2))
        torch.testing.assert_close(net(x, boxes.flip(1)), found.flip(1))
        torch.testing.assert_close(folded(net)(x, boxes), found, atol=1e-9, rtol=0)

    assert (sparse.shape[2], dense.shape[2]) == (2, 8)
    assert [one.shape[2] for one in wanted] == [96, 24]
    assert (found.std(1) > 0).all()
    other = x.clone()
    other[:, :, 1::4] += 1  # frames that only the dense stream sees
    assert not torch.allclose(net(other, boxes), found)


def test_a_head_over_boxes_costs_what_it_multiplies():
    """What four boxes more cost: bins of both maps, hidden and last layer, by torch's counter."""
    from torch.utils.flop_counter import FlopCounterMode

    genotype = small(96)
    net, counted, ran = ready(genotype), [], []
    for count in (1, 5):
        boxes = torch.tensor([0.1, 0.2, 0.6, 0.9]).expand(1, count, 4)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(clips(genotype, 1), boxes)
        ran.append(counter.get_total_flops() / 2)
        parts = cost(genotype, len(CLASSES), crop=96, boxes=count).parts
        counted.append(sum(part.macs for part in parts))

    assert counted[1] - counted[0] == ran[1] - ran[0] > 0


def test_a_still_network_knows_no_order():
    """Of its frames within a sparse frame's reach; the network as it is does."""
    genotype = small()
    x = clips(genotype)
    order = [0, 2, 1, 3, 4, 7, 6, 5]  # frames that only the dense stream sees change places
    with torch.no_grad():
        for made, same in ((genotype, False), (without_time(genotype, "still"), True)):
            net = ready(made)
            assert torch.allclose(net(x), net(x[:, :, order]), atol=1e-5) is same


def test_the_peak_holds_both_streams():
    """A clip, both stems and what a fusion makes: by hand for the first fusion of the demo's."""
    parts = {part.name: part for part in cost(fused(small(48), "conv"), 8).parts}
    sparse, dense = 8 * 2 * 24**2, 4 * 8 * 24**2

    assert parts["fusion 1"].peak == sparse + dense + max((4 + 8) * 2 * 24**2, 2 * sparse)
    clip, own = 3 * 8 * 48**2, 3 * 2 * 48**2
    assert parts["stem"].peak == clip + max(own, sparse) + sparse


def test_random_networks_run(one_thread):
    """Eight of any kind: the head has one position at the training crop, four at a larger one."""
    for seed in range(8):
        genotype = anyone(seed)
        net = VideoNet(genotype, 5).eval()
        with torch.no_grad():
            assert net(clips(genotype)).shape == (2, 1, 5)
    assert set(FUSIONS) == {"skip", "conv", "sample", "channels"}
