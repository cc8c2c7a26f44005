"""What a network costs: the papers' numbers, and an independent count of the real modules."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from support import ARCHITECTURES
from support.products import Products
from support.streams import anyone, fused
from torch import Tensor, nn

from autox3d.search.space import Space
from autox3d.vision.arch.blocks import round_to_8
from autox3d.vision.arch.cost import Cost, cost
from autox3d.vision.arch.fusions import FUSIONS
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import network
from autox3d.vision.models.network import VideoNet
from autox3d.vision.models.norm import BatchNorm

SHIPPED = sorted(p.stem for p in ARCHITECTURES.glob("*.yaml") if not p.name.startswith("space_"))
CLASSES = 400

# X3D, Tables 1 to 4, and Auto-X3D's supplement, Table 1, to more digits than they print:
# parameters, M without BN affine, G multiply-adds at the centre and left-centre-right crops.
PUBLISHED = [
    ("x3d_xs", 3_794_322, 3.763, 0.605, 0.84),
    ("x3d_s", 3_794_322, 3.763, 1.963, 2.727),
    ("x3d_m", 3_794_322, 3.763, 4.732, 6.186),
    ("x3d_l", 6_153_432, 6.087, 18.368, 24.778),
    ("autox3d_s_no_attention", 3_825_032, 3.79, 1.961, 2.724),
    ("autox3d_m_no_attention", 3_825_032, 3.79, 4.729, 6.181),
    ("autox3d_l_no_attention", 6_022_640, 5.95, 18.64, 25.13),
]
# X3D, Tables 1, 2 and 4; parameters in M, without batch norm's.
WITHIN_A_PERCENT = [
    ("x3d_xl", 11.0, 35.84, 48.4),
    ("x3d_xxl", 20.3, 143.5, 194.1),
    ("x2d", 1.63, 0.02067, None),
]


def read(name: str) -> Genotype:
    return Genotype.load(ARCHITECTURES / f"{name}.yaml")


def at_lcr_crop(genotype: Genotype) -> Cost:
    return cost(genotype, CLASSES, crop=genotype.input.short)


def digits(number: float) -> int:
    """Decimal places that a printed number has."""
    return len(str(number).partition(".")[2])


@pytest.mark.parametrize(("name", "params", "bare", "center", "lcr"), PUBLISHED)
def test_costs_are_those_published(name, params, bare, center, lcr):
    """To every digit: a row that fails means that the network is not the published one."""
    genotype = read(name)
    found = cost(genotype, CLASSES)

    assert found.params == params
    assert round(found.params_without_bn / 1e6, digits(bare)) == bare
    assert round(found.gmacs, digits(center)) == center
    assert round(at_lcr_crop(genotype).gmacs, digits(lcr)) == lcr


@pytest.mark.parametrize(("name", "params", "center", "lcr"), WITHIN_A_PERCENT)
def test_other_published_costs_are_within_a_percent(name, params, center, lcr):
    """docs/PAPER.md says why each differs."""
    genotype = read(name)
    found = cost(genotype, CLASSES)

    assert found.params_without_bn / 1e6 == pytest.approx(params, rel=0.01)
    assert found.gmacs == pytest.approx(center, rel=0.01)
    if lcr:
        assert at_lcr_crop(genotype).gmacs == pytest.approx(lcr, rel=0.01)


@pytest.mark.parametrize(
    ("name", "gmacs"), [("x3d_xs", 0.92), ("x3d_s", 2.96), ("x3d_m", 6.73), ("x3d_l", 26.65)]
)
def test_the_third_convention_adds_five_for_each_norm_output(name, gmacs):
    """At the left-centre-right crop, as the reference code's model zoo prints it."""
    assert round(at_lcr_crop(read(name)).gmacs_with_bn, 2) == gmacs


def test_a_200_class_count_explains_the_3_5_million_of_table_5():
    """Auto-X3D prints 3.5 M for S in Tables 5 and 6, and 3.8 M in its supplement."""
    found = cost(read("autox3d_s"), classes=200)

    assert found.params / 1e6 == pytest.approx(3.42, abs=0.005)


@pytest.mark.parametrize(
    ("size", "center", "lcr"), [("s", 2.18, 3.01), ("m", 5.25, 6.86), ("l", None, 27.8)]
)
def test_the_preset_comes_near_the_printed_cost_with_attention(size, center, lcr):
    """Auto-X3D prints 2.9, 6.8 and 27.8 G at the left-centre-right crop: no reading has all."""
    genotype = read(f"autox3d_{size}_published_cost")

    assert round(at_lcr_crop(genotype).gmacs, digits(lcr)) == lcr
    if center:
        assert round(cost(genotype, CLASSES).gmacs, digits(center)) == center


ABLATIONS = [  # X3D's supplement, Table A.1: G multiply-adds, M parameters
    ("x3d_s", 1.96, 3.76),
    ("x3d_s_dense_same_cost", 1.95, 3.16),
    ("x3d_s_dense", 17.6, 22.1),
    ("x3d_s_no_swish", 1.96, 3.76),
    ("x3d_s_no_se", 1.96, 3.60),
    ("x3d_xl", 35.84, 11.0),
    ("x3d_xl_dense_same_cost", 34.80, 9.73),
    ("x3d_xl_dense", 365.4, 95.1),
    ("x3d_xl_no_swish", 35.84, 11.0),
    ("x3d_xl_no_se", 35.84, 10.4),
]


@pytest.mark.parametrize(("name", "gmacs", "params"), ABLATIONS)
def test_ablations_of_mobile_components_cost_what_is_printed(name, gmacs, params):
    """All twenty numbers of Table A.1, to every digit that it prints."""
    found = cost(read(name), CLASSES)

    assert round(found.gmacs, digits(gmacs)) == gmacs
    assert round(found.params_without_bn / 1e6, digits(params)) == params


def test_a_dense_kernel_in_the_depthwise_ones_place_is_not_what_is_printed():
    """A 3x3^2 has more than twice the 17.6 G of the bottleneck."""
    genotype = read("x3d_s")
    found = cost(replace(genotype, block=replace(genotype.block, depthwise=False)), CLASSES)

    assert found.gmacs == pytest.approx(44.3, abs=0.05)
    assert found.params_without_bn / 1e6 == pytest.approx(54.5, abs=0.05)


@pytest.mark.parametrize("size", ["s", "xl"])
def test_ablations_differ_in_one_thing(size):
    """Each file is the network that it ablates, but for what its name says."""
    whole, bare, plain = (read(f"x3d_{size}{end}") for end in ("", "_no_se", "_no_swish"))
    dense, thin = read(f"x3d_{size}_dense"), read(f"x3d_{size}_dense_same_cost")

    ungated = tuple(replace(group, squeeze_excite="none") for group in whole.groups)
    assert bare == replace(whole, name=bare.name, groups=ungated)
    assert plain == replace(whole, name=plain.name, block=replace(whole.block, second="relu"))
    block = replace(whole.block, type="bottleneck", depthwise=False)
    assert dense == replace(whole, name=dense.name, block=block)
    (expansion,) = {group.expansion for group in thin.groups}
    assert expansion == {"s": 0.6, "xl": 0.56}[size]
    groups = tuple(replace(group, expansion=expansion) for group in whole.groups)
    inner = int(expansion * whole.groups[-1].channels)  # the head follows the last blocks
    head = replace(whole.head, channels=inner)
    assert thin == replace(dense, name=thin.name, groups=groups, head=head)


MOBILE = [  # G multiply-adds as printed (X3D, Table 7; A3D, Table 5), and our own counts
    ("mobilenetv2_3d", 6.5, 4_393_296, 4_351_888, 6_508_840_960),
    ("efficientnet3d_b0_like", 0.74, 4_767_968, 4_725_952, 740_572_672),
    ("efficientnet3d_b3_like", 6.91, 11_337_880, 11_250_584, 6_753_366_208),
    ("efficientnet3d_b4_like", 23.80, 18_181_880, 18_056_680, 23_852_448_768),
]


@pytest.mark.parametrize(("name", "printed", "params", "bare", "macs"), MOBILE)
def test_readings_of_mobile_networks_have_the_printed_multiply_adds(
    name, printed, params, bare, macs
):
    """Within 3 %, by the choice of the input; their parameters are our own (docs/PAPER.md)."""
    found = cost(read(name), CLASSES)

    assert (found.params, found.params_without_bn) == (params, bare)
    assert round(found.gmacs * 1e9) == macs
    assert found.gmacs == pytest.approx(printed, rel=0.03)


def test_mobilenetv2_3d_prints_as_the_paper_does():
    """A3D, Table 5: 4.4 M and 6.5 G."""
    found = cost(read("mobilenetv2_3d"), CLASSES)

    assert (round(found.params_without_bn / 1e6, 1), round(found.gmacs, 1)) == (4.4, 6.5)


@pytest.mark.parametrize(("size", "width", "depth"), [("b3", 1.2, 1.4), ("b4", 1.4, 1.8)])
def test_larger_efficientnets_are_scaled_from_b0(size, width, depth):
    """arXiv:1905.11946: widths to multiples of 8, depths rounded up; the input is a choice."""
    small, large = read("efficientnet3d_b0_like"), read(f"efficientnet3d_{size}_like")
    groups = tuple(
        replace(
            group,
            channels=round_to_8(width * group.channels),
            blocks=math.ceil(round(depth * group.blocks, 6)),
        )
        for group in small.groups
    )

    assert large.groups == groups
    assert large.stem.channels == round_to_8(width * small.stem.channels)
    assert large.head == replace(small.head, channels=round_to_8(width * small.head.channels))


class Counted:
    """What the real modules do, counted as they run on tensors without storage."""

    def __init__(self, genotype: Genotype, frames: int, crop: int) -> None:
        with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(network, "initialise_layer", lambda layer: None)  # there are no values
            net = VideoNet(genotype, CLASSES)
        norms = [layer for layer in net.modules() if isinstance(layer, BatchNorm)]
        self.normed = 0
        for norm in norms:
            norm.register_forward_hook(self._on_norm)
            # its own arithmetic is not counted, and slow without storage
            norm.forward = lambda x, then="none", plus=None: x
        with Products() as products, torch.no_grad():
            net(torch.empty(1, 3, frames, crop, crop, device="meta"))
        self.macs, self.activations = products.macs, products.outputs
        self.params = sum(p.numel() for p in net.parameters())
        self.bn_params = sum(p.numel() for norm in norms for p in norm.parameters())

    def _on_norm(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.normed += output.numel()


def assert_equal_counts(genotype: Genotype, frames: int, crop: int) -> None:
    found, counted = cost(genotype, CLASSES, frames, crop), Counted(genotype, frames, crop)

    assert found.params == counted.params
    assert found.params - found.params_without_bn == counted.bn_params
    assert round(found.gmacs * 1e9) == counted.macs
    assert round((found.gmacs_with_bn - found.gmacs) * 1e9) == 5 * counted.normed
    assert found.activations == counted.activations


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_count_the_same_by_hooks(name):
    """Parameters, multiply-adds, norm outputs and activations, exactly, at both crops."""
    genotype = read(name)
    for crop in (genotype.input.crop, genotype.input.short):
        assert_equal_counts(genotype, genotype.input.frames, crop)


def test_random_draws_of_the_space_count_the_same_by_hooks():
    """64 of them: every candidate of every choice at least seven times, beside random others."""
    space = Space.load(ARCHITECTURES / "space_autox3d.yaml")
    rng = random.Random(0)
    columns = []
    for choice in space.choices:
        count = len(choice.candidates)
        columns.append([number % count for number in range(64)])
        rng.shuffle(columns[-1])
        assert min(map(columns[-1].count, range(count))) >= 7
    for number, draw in enumerate(zip(*columns, strict=True)):
        assert_equal_counts(space.genotype(draw, f"draw_{number}"), 13, 160)


@pytest.mark.parametrize("kind", list(FUSIONS))
def test_each_fusion_counts_the_same_by_hooks(kind):
    """At the training crop and at a larger one."""
    genotype = fused(read("two_streams_demo"), kind)
    for crop in (48, 56):
        assert_equal_counts(genotype, 8, crop)


def test_random_networks_of_two_streams_count_the_same_by_hooks():
    """50 of them, with every fusion more than a dozen times."""
    genotypes = [anyone(seed) for seed in range(50)]
    kinds = [kind for genotype in genotypes for kind, *_ in genotype.fusions]
    assert min(map(kinds.count, FUSIONS)) >= 12
    for genotype in genotypes:
        assert_equal_counts(genotype, genotype.input.frames, 32)


@pytest.mark.parametrize("placement", ["after_group", "after_block"])
def test_nonlocal_units_count_the_same_by_hooks(placement):
    """Their two products of all positions with all positions."""
    small = read("autox3d_s")
    groups = tuple(replace(g, attention="nonlocal") for g in small.groups)
    attention = replace(small.attention, placement=placement)

    assert_equal_counts(replace(small, groups=groups, attention=attention), 13, 160)


def test_a_dense_block_counts_the_same_by_hooks():
    """And one with squeeze-excite in every block."""
    genotype = read("x3d_xs")
    groups = tuple(replace(group, squeeze_excite="all") for group in genotype.groups)
    block = replace(genotype.block, depthwise=False)

    assert_equal_counts(replace(genotype, groups=groups, block=block), 4, 160)


def test_peak_memory_is_what_the_widest_block_holds():
    """X3D-S: the first block's input, and its inner channels before and after the stride."""
    found = cost(read("x3d_s"), CLASSES)

    elements = 13 * (24 * 80**2 + 54 * 80**2 + 54 * 40**2)
    assert found.peak_bytes == 4 * elements


def test_a_crop_below_the_heads_window_is_refused():
    """A smaller crop than in training leaves less than the window averages."""
    with pytest.raises(ValueError, match=r"leaves 4 px before the head, less than its window of 5"):
        cost(read("x3d_s"), CLASSES, crop=128)
