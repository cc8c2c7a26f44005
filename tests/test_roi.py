"""RoIAlign: hand values, a slow obvious version, torchvision; and the head with boxes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from support import ARCHITECTURES
from torch import Tensor

from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models.fold import folded
from autox3d.vision.models.network import VideoNet, in_boxes
from autox3d.vision.models.roi import roi_align


def slow(x: Tensor, box: list[float], grid: int) -> Tensor:
    """One box of one map, (C, H, W) -> (C, grid, grid): sample by sample, corner by corner."""
    channels, height, width = x.shape
    x1, y1, x2, y2 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    tall, wide = (y2 - y1) / grid, (x2 - x1) / grid
    down, along = math.ceil(tall), math.ceil(wide)
    out = torch.zeros(channels, grid, grid, dtype=x.dtype)
    for row in range(grid):
        for column in range(grid):
            for i in range(down):
                for j in range(along):
                    y = y1 - 0.5 + tall * (row + (i + 0.5) / down)
                    z = x1 - 0.5 + wide * (column + (j + 0.5) / along)
                    out[:, row, column] += bilinear(x, y, z) / (down * along)
    return out


def bilinear(x: Tensor, y: float, z: float) -> Tensor:
    """The value of a map between its cells; 0 more than a cell outside."""
    _, height, width = x.shape
    if not (-1 <= y <= height and -1 <= z <= width):
        return torch.zeros_like(x[:, 0, 0])
    y, z = min(max(y, 0), height - 1), min(max(z, 0), width - 1)
    top, left = int(y), int(z)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    above = (1 - (z - left)) * x[:, top, left] + (z - left) * x[:, top, right]
    below = (1 - (z - left)) * x[:, bottom, left] + (z - left) * x[:, bottom, right]
    return (1 - (y - top)) * above + (y - top) * below


def random_boxes(count: int, seed: int) -> Tensor:
    """(count, 4) of any size in the map, some of them of no area."""
    ends = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    boxes = torch.cat([ends[:, :2].minimum(ends[:, 2:]), ends[:, :2].maximum(ends[:, 2:])], 1)
    boxes[::7, 2] = boxes[::7, 0]
    return boxes.float()


def test_hand_values():
    """On a ramp along x the bins of a whole map are its centres: 0.5 of a bin in, less half a cell.

    At the edges a sample is outside of the first centre, and has the value of the edge.
    """
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    whole = roi_align(ramp, torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]), grid=4)
    assert whole[0, 0, 0].tolist() == [[0.0, 1.0, 2.0, 3.0]] * 4
    middle = roi_align(ramp, torch.tensor([[[0.25, 0.25, 0.75, 0.75]]]), grid=2)
    assert middle[0, 0, 0].tolist() == [[1.0, 2.0]] * 2
    eighth = roi_align(ramp, torch.tensor([[[0.0, 0.0, 0.25, 0.25]]]), grid=2)
    assert eighth[0, 0, 0].tolist() == [[0.0, 0.25]] * 2  # at -0.25, as the edge, and at 0.25
    two = roi_align(ramp, torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]), grid=3)  # ceil(4 / 3) samples
    assert two[0, 0, 0, 0].tolist() == pytest.approx([1 / 12 * 3, 1.5, 33 / 12], abs=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "grid"), [(8, 8, 7), (5, 9, 7), (16, 12, 3), (1, 1, 7)]
)
def test_it_equals_the_slow_version(height, width, grid):
    """In 60 boxes of any size; where a box is thinner than a bin has samples it is 0."""
    torch.manual_seed(1)
    x, boxes = torch.randn(2, 3, height, width), random_boxes(60, 2)
    found = roi_align(x, boxes.view(2, 30, 4), grid)
    for clip in range(2):
        for number, box in enumerate(boxes.view(2, 30, 4)[clip].double().tolist()):
            wanted = slow(x[clip].double(), box, grid)
            torch.testing.assert_close(found[clip, number].double(), wanted, atol=2e-5, rtol=0)


def test_it_equals_torchvision():
    """`aligned`, `sampling_ratio` 0; only where it can be imported."""
    ops = pytest.importorskip("torchvision.ops")
    torch.manual_seed(1)
    x, boxes = torch.randn(3, 5, 9, 7), random_boxes(90, 3).view(3, 30, 4)
    cells = [one * torch.tensor([7.0, 9.0, 7.0, 9.0]) for one in boxes]
    wanted = ops.roi_align(x, cells, 7, spatial_scale=1.0, sampling_ratio=0, aligned=True)
    torch.testing.assert_close(roi_align(x, boxes).flatten(0, 1), wanted, atol=2e-5, rtol=0)


def test_the_mean_over_time_may_come_first():
    """RoIAlign frame by frame, then the mean over time, then the maximum: the same."""
    torch.manual_seed(1)
    x, boxes = torch.randn(2, 3, 4, 6, 6), random_boxes(10, 4).view(2, 5, 4)
    each = torch.stack([roi_align(x[:, :, t], boxes) for t in range(4)])
    torch.testing.assert_close(in_boxes(x, boxes), each.mean(0).amax((3, 4)))


def test_it_has_a_gradient():
    """The derivative by the map, against differences."""
    boxes = random_boxes(4, 5).double().view(1, 4, 4)
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: roi_align(one, boxes), x, atol=1e-4)


def test_x3d_m_has_the_parameters_of_the_paper():
    """Table 8: 3.1 M for X3D-M, with the head of Kinetics; 6.2 and 48.4 G at 128 gamma_s px."""
    net = Genotype.load(ARCHITECTURES / "x3d_m.yaml")
    assert cost(net, 80).params_without_bn == pytest.approx(3.107e6, abs=500)
    assert cost(net, 60).params_without_bn == pytest.approx(3.066e6, abs=1e3)
    assert cost(net, 80, crop=256, boxes=1).gmacs == pytest.approx(6.2, abs=0.05)
    large = Genotype.load(ARCHITECTURES / "x3d_xl.yaml")
    assert cost(large, 80, crop=356, boxes=1).gmacs == pytest.approx(48.4, abs=0.5)
    assert cost(net, 80, boxes=3).params == cost(net, 80).params == cost(net, 80, boxes=0).params


def small() -> VideoNet:
    """X3D-S with a third of its blocks; all scales random, so that every branch counts."""
    of = Genotype.load(ARCHITECTURES / "x3d_s.yaml")
    groups = tuple(replace(group, blocks=1) for group in of.groups)
    of = replace(of, groups=groups, input=replace(of.input, frames=4, crop=64))
    torch.manual_seed(2)
    net = VideoNet(of, 5)
    for name, parameter in net.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.2, 1.0)
    return net.eval()


def test_a_box_in_the_network_is_its_own():
    """Logits follow the order of the boxes, are the same alone and among others, and folded."""
    net, x = small(), torch.randn(2, 3, 4, 96, 96)
    boxes = random_boxes(6, 6).view(2, 3, 4)
    with torch.no_grad():
        found = net(x, boxes)
        assert found.shape == (2, 3, 5)
        torch.testing.assert_close(net(x, boxes.flip(1)), found.flip(1))
        torch.testing.assert_close(net(x, boxes[:, 1:2]), found[:, 1:2])
        torch.testing.assert_close(folded(net)(x, boxes), found, atol=1e-4, rtol=1e-3)
    assert (found.std(1) > 0).all()


@pytest.mark.parametrize("boxes", [1, 6])
def test_counted_products_are_those_that_run(boxes):
    """RoIAlign's multiply-adds by torch's own counter, on X3D-M's last map at 256 px."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        roi_align(torch.randn(1, 432, 8, 8), random_boxes(boxes, 7)[None])
    net = Genotype.load(ARCHITECTURES / "x3d_m.yaml")
    head = cost(net, 80, crop=256, boxes=boxes).parts[-1]
    assert counter.get_total_flops() / 2 == sum(layer.macs for layer in head.layers[1:3])
