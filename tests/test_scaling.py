"""Sizes come from S by a rule, and the rule gives the paper's tables."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support import ARCHITECTURES, ROOT

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.core.settings import Baseline
from autox3d.core.values import ClipSpec
from autox3d.sizing.scaling import (
    baseline,
    clip_of,
    deepened,
    scaled,
    thinned,
    without_attention,
    without_time,
)
from autox3d.vision.arch.genotype import Genotype

VARIANTS = ("", "_no_attention", "_published_cost")
SIZES = {  # Auto-X3D's supplement, section 2 and Table 2: clips, and times the depth
    "m": (ClipSpec(frames=16, stride=5, crop=224, short=256), 1),
    "l": (ClipSpec(frames=16, stride=5, crop=312, short=356), 2),
}
TABLE_2B = [
    ("t3_s3", 2.25, 16, 1, 2, "none"),
    ("t3_s3", 5.25, 16, 5, 1, "none"),
    ("t3_s3", 4.5, 48, 4, 2, "none"),
    ("t1_s3", 2.25, 48, 6, 1, "glore"),
    ("t1_s5", 4.5, 72, 4, 2, "none"),
    ("t3_s3", 3.75, 72, 6, 1, "none"),
    ("t5_s3", 2.25, 88, 6, 1, "none"),
    ("t3_s3", 3.0, 88, 6, 1, "none"),
    ("t3_s5", 3.75, 144, 4, 2, "none"),
    ("t1_s3", 3.0, 144, 4, 1, "none"),
    ("t3_s3", 3.0, 192, 6, 1, "none"),
]


def read(name: str) -> Genotype:
    return Genotype.load(ARCHITECTURES / f"{name}.yaml")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", SIZES)
def test_shipped_m_and_l_are_scaled_from_s(size, variant):
    """The files have what the rule makes of S; no row is typed by hand."""
    name = f"autox3d_{size}{variant}"
    clip, depth = SIZES[size]

    assert scaled(read(f"autox3d_s{variant}"), name, clip, depth) == read(name)


@pytest.mark.parametrize("row", range(11))
def test_large_is_table_2b(row):
    """Row by row: 1 + 2 blocks become 1 + 5, every other group doubles."""
    group = read("autox3d_l").groups[row]
    found = (group.kernel, group.expansion, group.channels, group.blocks, group.stride)

    assert (*found, group.attention) == TABLE_2B[row]


def test_medium_is_small_on_other_clips():
    """Table 2a: the same architecture, except for the input."""
    assert read("autox3d_m").groups == read("autox3d_s").groups


def test_variants_differ_in_attention_alone():
    """Without attention; and the preset that comes nearest to the printed cost."""
    small, preset = read("autox3d_s"), read("autox3d_s_published_cost")

    assert without_attention(small, "autox3d_s_no_attention") == read("autox3d_s_no_attention")
    assert preset.groups == small.groups
    assert (preset.attention.placement, preset.attention.nodes) == ("after_block", 0.75)


@pytest.mark.parametrize(
    ("name", "factor"),
    [("x2d", 1), ("x3d_xs", 2.2), ("x3d_s", 2.2), ("x3d_m", 2.2), ("x3d_l", 5), ("x3d_xl", 5),
     ("x3d_xxl", 10.2)],
)  # fmt: skip
def test_x3d_depths_are_multiples_of_x2ds(name, factor):
    """X3D, Tables 1 to 3: ceil(gamma_d x [1, 2, 5, 3])."""
    depths = [group.blocks for group in read(name).groups]

    assert depths == [math.ceil(factor * depth) for depth in (1, 2, 5, 3)]


@pytest.mark.parametrize("depth", [1, 1.5, 2, 3.7])
def test_a_stage_gets_its_share_of_blocks(depth):
    """The stage has the rounded product; the next group takes what one group cannot."""
    for stage in read("autox3d_s").stages():
        total = sum(group.blocks for group in deepened(stage, depth))

        assert total == math.floor(depth * sum(group.blocks for group in stage) + 0.5)


def test_no_group_loses_its_last_block():
    """This holds for any depth factor."""
    for stage in read("autox3d_s").stages():
        assert {group.blocks for group in deepened(stage, 0.01)} == {1}


def test_thinned_multiplies_every_width():
    """Widths are multiples of 8, at least 8; expansions, kernels and strides stay."""
    clip = ClipSpec(frames=8, stride=4, crop=48, short=56)
    small = thinned(read("x3d_s"), "x3d_s", clip, width=0.25, depth=0.5)

    assert small.input == clip
    assert [group.channels for group in small.groups] == [8, 16, 24, 48]
    assert [group.blocks for group in small.groups] == [2, 3, 6, 4]
    assert (small.stem.channels, small.head.channels, small.head.hidden) == (8, 112, 512)
    assert {group.expansion for group in small.groups} == {2.25}


def test_width_one_leaves_odd_widths_alone():
    """A searched genotype may have widths that are no multiple of 8."""
    small = read("autox3d_s")

    assert thinned(small, small.name, small.input, width=1.0, depth=1.0) == small


def test_without_time_no_kernel_spans_two_frames():
    """Stem and blocks; space and widths are as before."""
    frozen = without_time(read("x3d_s"), "t1")

    assert {block.kernel for block in frozen.blocks()} == {(1, 3)}
    assert frozen.stem.temporal_kernel == 1
    assert [b.inner for b in frozen.blocks()] == [b.inner for b in read("x3d_s").blocks()]


@pytest.mark.parametrize("name", ["x3d_s", "x3d_m", "x3d_l", "autox3d_m", "autox3d_l_no_attention"])
def test_a_baseline_with_its_own_input_is_the_published_network(name):
    """With the input of a size it is not: there it sees the clips of that size."""
    given, scale = read(name), settings.load(ROOT / "params.yaml").scale
    rule = Baseline(of="", input="own", width=1.0, depth=1.0, temporal=True, attention=True)

    assert baseline(given, name, clip_of(given, rule, scale), rule) == given
    for size, spec in scale.items():
        assert clip_of(given, replace(rule, input=size), scale) == spec.spec
    with pytest.raises(Refused, match=r"^params\.yaml: missing section 'scale\.s'\.$"):
        clip_of(given, replace(rule, input="s"), {})


def test_a_baseline_without_attention_differs_in_nothing_else():
    """One row of a pair of A3D's supplement, Table 1; the other row has the unit."""
    given = read("autox3d_m")
    rule = Baseline(of="", input="m", width=1.0, depth=1.0, temporal=True, attention=False)
    pair = [baseline(given, "m", given.input, replace(rule, attention=on)) for on in (True, False)]

    assert pair[0] == replace(given, name="m")
    assert [group.attention for group in pair[0].groups].count("glore") == 1
    assert pair[1] == without_attention(pair[0], "m")
    assert {group.attention for group in pair[1].groups} == {"none"}
