"""A path of the supernet is the network of its genotype, to the last bit."""

import dataclasses
from collections import Counter

import pytest
import torch
from support.supernet import draws, small_input

from autox3d.search.channel_sets import Selection, indices
from autox3d.search.path_sets import block_sets, sets_of
from autox3d.search.supernet import Supernet
from autox3d.vision.models.network import VideoNet, set_training


def random_supernet(space, selection: Selection = "fair", bn_clips=2, dropout=0.0):
    """No weight left at zero, so that every branch shows in the output."""
    torch.manual_seed(0)
    supernet = Supernet(space, 5, selection)
    set_training(supernet, bn_clips=bn_clips, dropout=dropout)
    for name, parameter in supernet.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.3)
    return supernet


def clips(space, count=4):
    generator = torch.Generator().manual_seed(1)
    size = space.input
    return torch.randn(count, 3, size.frames, size.crop, size.crop, generator=generator)


def own_network(supernet, draw):
    """VideoNet of the genotype, made by itself, with the gathered weights loaded by name."""
    net = VideoNet(supernet.space.genotype(draw, "own"), 5)
    set_training(net, bn_clips=supernet.bn_clips, dropout=supernet.dropout)
    net.load_state_dict(supernet.network(draw).state_dict())
    return net.train()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "selection", "count"),
    [
        ("demo", "fair", 60),
        ("demo", "naive", 10),
        ("autox3d", "fair", 10),
        ("autox3d", "naive", 5),
        ("two_streams_demo", "fair", 50),
        ("two_streams_demo", "naive", 10),
    ],
)
def test_a_path_equals_its_network_to_the_last_bit(name, selection, count):
    """145 random draws, batch norm in two chunks."""
    space = small_input(name)
    supernet, x = random_supernet(space, selection), clips(space)

    with torch.no_grad():
        for draw in draws(space, count):
            assert torch.equal(supernet(x, draw), own_network(supernet, draw)(x))


def test_a_fusion_is_cut_by_the_arcs_of_both_streams():
    """Fair channels: the widths of both streams choose the rows and columns of each fusion.

    And the gradients of the shared weights are the network's, where they were gathered from.
    """
    space = small_input("two_streams_demo", frames=8)
    assert space.dense
    supernet, x = random_supernet(space), clips(space)
    kinds = dict.fromkeys(("conv", "sample", "channels"))
    for kind in kinds:
        places = [choice.candidates.index(kind) if choice.column == "fuse" else 0
                  for choice in space.choices]  # fmt: skip
        draw = tuple(places)  # the narrowest networks: 8 of 16 sparse channels, 4 of 8 dense ones
        net = own_network(supernet, draw)
        supernet.zero_grad()
        supernet(x, draw).square().sum().backward()
        net(x).square().sum().backward()

        of = sets_of(space.genotype(draw, "own"), supernet.axes).fusions[1]
        rows, columns = indices(*of["O"]), indices(*of["A" if kind == "channels" else "D"])
        shared = gradient(supernet.widest, f"fusions.1.{kind}.point.conv.weight")
        own = gradient(net, "fusions.1.point.conv.weight")
        assert shared is not None
        assert own is not None
        assert len(rows) == own.shape[0] < shared.shape[0]
        assert len(columns) == own.shape[1] < shared.shape[1]
        assert torch.equal(shared[rows][:, columns], own)
        for other in kinds.keys() - {kind}:
            name = f"fusions.1.{other}.point.conv.weight"
            assert gradient(supernet.widest, name) is None


@pytest.mark.parametrize("selection", ["fair", "naive"])
def test_frames_side_by_side_follow_the_channels_that_they_are_of(selection):
    """Each channel of the dense stream has its alpha frames together in the shared kernel."""
    space = small_input("two_streams_demo", frames=8)
    moved = 0
    for draw in draws(space, 20):
        for of in sets_of(space.genotype(draw, "own"), space.axes(selection)).fusions:
            channels = indices(*of["D"])
            assert indices(*of["A"]) == [4 * c + a for c in channels for a in range(4)]
            moved += channels != list(range(len(channels)))
    assert (moved > 0) is (selection == "fair")


def test_gradients_reach_the_parts_that_a_path_uses():
    """The shared weights' gradients are the network's, at the places they were gathered from."""
    space = small_input("demo")
    supernet, x = random_supernet(space), clips(space)
    draw = draws(space, 1)[0]
    net = own_network(supernet, draw)

    supernet(x, draw).square().sum().backward()
    net(x).square().sum().backward()

    sets = block_sets(space.genotype(draw, "own"), supernet.axes)[2]
    rows, columns = indices(*sets["N"]), indices(*sets["I"])
    shared = gradient(supernet.widest, "blocks.2.expand.conv.weight")
    own = gradient(net, "blocks.2.expand.conv.weight")
    assert shared is not None
    assert own is not None
    assert torch.equal(shared[rows][:, columns], own)
    untouched = sorted(set(range(len(shared))) - set(rows))
    assert untouched == [] or shared[untouched].abs().sum() == 0
    taken = space.genotype(draw, "own").groups[2].kernel
    for kernel in space.groups[2].kernel:
        found = gradient(supernet.widest, f"blocks.2.depthwise.{kernel}.conv.weight")
        assert (found is not None) is (kernel == taken)


def gradient(net, name):
    return net.get_parameter(name).grad


@pytest.mark.parametrize(
    "change",
    [
        {"expansion_of": "out"},
        {"attention": {"placement": "after_block", "nodes": 0.75}},
        {"block": {"first": "swish", "second": "relu", "depthwise": False}},
        {"unit": ("none", "glore", "nonlocal")},
        {"block": {"type": "bottleneck", "depthwise": False}},
        {"block": {"type": "bottleneck"}, "expansion_of": "out"},
        {"block": {"type": "mobile"}},
        {"block": {"type": "mobile", "depthwise": False}, "expansion_of": "out"},
    ],
)
def test_other_spaces_hold_the_same_promise(change):
    """X3D's inner widths, units after blocks, dense kernels, a third unit, other types."""
    space = small_input("demo")
    parts = {
        name: dataclasses.replace(getattr(space, name), **value)
        if isinstance(value, dict)
        else value
        for name, value in change.items()
        if name != "unit"
    }
    groups = tuple(
        dataclasses.replace(group, blocks=2, attention=change.get("unit", group.attention))
        for group in space.groups
    )
    space = dataclasses.replace(space, groups=groups, **parts)
    supernet, x = random_supernet(space), clips(space, 2)

    with torch.no_grad():
        for draw in draws(space, 6):
            assert torch.equal(supernet(x, draw), own_network(supernet, draw)(x))


def test_no_temporal_kernel_no_time():
    """A path of t1 kernels gives the same scores when the frames are shuffled; others do not."""
    space = small_input("demo")
    supernet, x = random_supernet(space), clips(space)
    shuffled = x[:, :, [2, 0, 3, 1]]
    kernels = next(choice.candidates for choice in space.choices if choice.column == "kernel")
    still, moving = kernels.index("t1_s3"), kernels.index("t3_s3")

    with torch.no_grad():
        for kernel, same in [(still, True), (moving, False)]:
            draw = tuple(
                kernel if choice.column == "kernel" else len(choice.candidates) - 1
                for choice in space.choices
            )
            found = torch.allclose(supernet(x, draw), supernet(shuffled, draw), atol=1e-4)
            assert found is same


@pytest.mark.parametrize("selection", ["fair", "naive"])
def test_the_identity_adds_every_channel_to_itself(selection):
    """Where a shortcut is the identity, the input's set is the output's, in the same order."""
    space = small_input("autox3d")
    axes = space.axes(selection)
    seen = Counter()

    for draw in draws(space, 50):
        genotype = space.genotype(draw, "drawn")
        for row, sets in zip(genotype.blocks(), block_sets(genotype, axes), strict=True):
            assert len(indices(*sets["I"])) == row.channels_in
            assert len(indices(*sets["N"])) == row.inner
            assert len(indices(*sets["O"])) == row.channels
            if row.stride == 1 and row.channels_in == row.channels:
                assert sets["I"] == sets["O"]
                seen[row.group] += 1

    assert min(seen[group] for group in (1, 3, 5, 6, 7, 9, 10)) > 0


def test_dropout_is_off_in_evaluation_and_batch_statistics_are_not():
    """As the forward passes for alpha need it."""
    space = small_input("demo")
    supernet, x, draw = random_supernet(space, dropout=0.5), clips(space), draws(space, 1)[0]

    with torch.no_grad():
        quiet, again = supernet.eval()(x, draw), supernet(x, draw)
        noisy = supernet.train()(x, draw)
        own = own_network(supernet, draw)
        set_training(own, bn_clips=supernet.bn_clips)
        same = own(x)

    assert torch.equal(quiet, again)
    assert torch.equal(quiet, same)
    assert not torch.equal(quiet, noisy)
