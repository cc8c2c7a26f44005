"""A space is a table of candidates: counted, drawn from, and turned into genotypes and back."""

import dataclasses
import itertools
import random
import time
from pathlib import Path

import pytest
import yaml
from support import ARCHITECTURES
from support.spaces import ONE_GROUP as SMALL

from autox3d.cli import parser
from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec
from autox3d.search.channel_sets import indices
from autox3d.search.costs import SpaceCosts
from autox3d.search.path_sets import block_sets
from autox3d.search.space import Space
from autox3d.search.window import within
from autox3d.sizing.scaling import thinned
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

SPACES = {name: Space.load(ARCHITECTURES / f"space_{name}.yaml") for name in ("autox3d", "demo")}


def draws(space, count, seed=0):
    rng = random.Random(seed)
    return [
        tuple(rng.randrange(len(choice.candidates)) for choice in space.choices)
        for _ in range(count)
    ]


def test_the_papers_space_has_277e30_networks():
    """84 block types, expansions and units in 11 groups; 5, 6, 8 and 8 widths in four stages."""
    assert SPACES["autox3d"].size == 84**11 * 5**2 * 6**2 * 8**4 * 8**3
    assert f"{SPACES['autox3d'].size:.2e}" == "2.77e+30"


def test_the_size_of_a_space_is_printed(capsys):
    """With what is decided, and what its networks cost."""
    for name, said in (("autox3d", "autox3d: 2.77e+30 networks"), ("demo", "1,024 networks")):
        args = parser().parse_args(["space", str(ARCHITECTURES / f"space_{name}.yaml")])
        args.command(args)
        assert said in capsys.readouterr().out


def test_the_papers_space_is_its_table_2():
    """Groups, blocks and strides as the stages of A3D's Table 2."""
    groups = SPACES["autox3d"].groups

    assert [group.blocks for group in groups] == [1, 2, 2, 3, 2, 3, 3, 3, 2, 2, 3]
    assert [row for row, group in enumerate(groups, 1) if group.stride == 2] == [1, 3, 5, 9]
    assert [len(group.channels) for group in groups] == [5, 5, 6, 6, 8, 8, 8, 8, 8, 8, 8]
    assert groups[4].channels == (48, 60, 72, 84, 96, 108, 120, 132)


@pytest.mark.parametrize("name", SPACES)
def test_a_draw_is_a_genotype_is_a_file_is_the_draw(name, tmp_path):
    """Nothing is lost on the way."""
    space = SPACES[name]

    for draw in draws(space, 20):
        genotype = space.genotype(draw, "found")
        genotype.save(tmp_path / "found.yaml")
        assert space.draw(Genotype.load(tmp_path / "found.yaml")) == draw


def test_groups_of_a_stage_share_one_ring():
    """Equal width is then equal set, and the identity adds a channel to itself."""
    axes = SPACES["autox3d"].axes("fair")

    for first, second in [(0, 1), (2, 3), (4, 7), (8, 10)]:
        assert axes[first].outputs == axes[second].outputs == axes[second].inputs
    assert axes[2].inputs == axes[1].outputs


def test_a_stage_whose_groups_list_different_widths_still_shares_a_ring(tmp_path):
    """The ring holds every width that any group of the stage may take."""
    row = SMALL.splitlines()[-2:]
    second = "\n".join(row).replace("[8, 16]", "[16, 24]").replace("stride: 2", "stride: 1")
    (tmp_path / "space.yaml").write_text(f"{SMALL}{second}\n")
    first, second = Space.load(tmp_path / "space.yaml").axes("fair")

    assert first.outputs == second.outputs
    assert (first.outputs.step, first.outputs.count) == (8, 3)


def test_a_cell_of_inner_channels_is_one_part_by_one_part():
    """An input part times 0.75: 18 channels after the stem, then 3, 6, 9 and 18."""
    axes = SPACES["autox3d"].axes("fair")
    cells = [axis.inputs.step * axis.expansions.step for axis in axes]

    assert cells == [18, 3, 3, 6, 6, 9, 9, 9, 9, 18, 18]


def test_a_network_outside_the_space_is_no_draw():
    """Said with row and column."""
    space = SPACES["demo"]
    genotype = SPACES["autox3d"].genotype((0,) * 44, "other")

    with pytest.raises(ValueError, match="other: 11 groups, unlike the space"):
        space.draw(genotype)


MISTAKES = {
    "[1.5, 3.0]|[1.5, 1.6]": (
        "'groups', row 1: 8 channels times 0.1 of expansion make 0.8 inner channels a part,"
        " not a whole number. Choose coarser steps."
    ),
    "nodes: 0.25|nodes: 0.3": (
        "'groups', row 1: 8 channels times 0.3 make 2.4 graph nodes a part,"
        " not a whole number. Choose coarser steps."
    ),
    "channels: [8, 16],|channels: [7, 14],|[none, glore]|[none, nonlocal]|[1.5, 3.0]|[1.0]": (
        "'groups', row 1: 'nonlocal' works on half of the channels, and 7 a part are odd."
        " Choose even steps."
    ),
    "channels: [8, 16],|channels: [4, 8],|stride: 2, squeeze|stride: 1, squeeze": (
        "'groups', row 1: 8 channels of stride 1, as many as the stem's, have another place in"
        " the shared kernel. Take stride 2, or leave 8 out."
    ),
    "[t1_s3, t3_s3]|[t1_s3, t1_s3]": (
        "'groups', row 1, 'kernel' names a candidate twice. Delete one."
    ),
    "channels: [8, 16]|widths: [8, 16]": "unknown 'groups', row 1, 'widths'.",
}


@pytest.mark.parametrize("change", MISTAKES)
def test_a_mistake_is_named_with_its_row(change, tmp_path):
    """File, row, thing and fix."""
    path, text, words = tmp_path / "space.yaml", SMALL, change.split("|")
    for before, after in zip(words[::2], words[1::2], strict=True):
        text = text.replace(before, after)
    path.write_text(text)

    with pytest.raises(Refused) as refused:
        Space.load(path)

    assert str(refused.value).startswith(f"{path}: {MISTAKES[change]}")


GOOD = {
    "one width is one part": (
        "channels: [8, 16],|channels: [7],|[none, glore]|[none, nonlocal]|[1.5, 3.0]|[1.0]"
    ),
    "the narrowest begins where the stem does": "stride: 2, squeeze|stride: 1, squeeze",
    "no width is the stem's": "channels: [8, 16],|channels: [4, 12],|stride: 2, sq|stride: 1, sq",
}


@pytest.mark.parametrize("why", GOOD)
def test_no_more_is_refused_than_must_be(why, tmp_path):
    """Odd widths and a first stride of 1, where the sets of channels agree."""
    path, text, words = tmp_path / "space.yaml", SMALL, GOOD[why].split("|")
    for before, after in zip(words[::2], words[1::2], strict=True):
        text = text.replace(before, after)
    path.write_text(text)
    space = Space.load(path)

    for row, sets in every_block(space):
        assert len(indices(*sets["H"])) == row.channels // 2
        assert not row.identity or indices(*sets["I"]) == indices(*sets["O"])


def every_block(space):
    """Each block of each network of a small space, with its sets."""
    for draw in itertools.product(*(range(len(choice.candidates)) for choice in space.choices)):
        genotype = space.genotype(draw, "drawn")
        yield from zip(genotype.blocks(), block_sets(genotype, space.axes("fair")), strict=True)


def test_an_expansion_counts_as_it_is_written(tmp_path):
    """2.3 times 100 are 230 inner channels, in a network as on the grid; in floats it is less."""
    text = SMALL.replace("[1.5, 3.0]", "[2.3, 4.6]").replace("[8, 16]", "[100]")
    text = text.replace("channels: 8,", "channels: 100,")
    (tmp_path / "space.yaml").write_text(text)
    space = Space.load(tmp_path / "space.yaml")

    assert {row.inner for row, _ in every_block(space)} == {230, 460}
    assert all(len(indices(*sets["N"])) == row.inner for row, sets in every_block(space))


def test_without_a_unit_the_attention_study_is_x3d_s():
    """Block by block the same network, at its published cost."""
    space = Space.load(ARCHITECTURES / "space_x3d_s_attention.yaml")
    published = cost(Genotype.load(ARCHITECTURES / "x3d_s.yaml"), 400)
    found = cost(space.genotype((0,) * len(space.choices), "x3d_s"), 400)

    assert space.size == 2**26
    assert (found.params, found.gmacs) == (published.params, published.gmacs)


def test_the_channel_study_searches_channels_and_expansions_alone():
    """The space of A3D's Figure 4."""
    space = Space.load(ARCHITECTURES / "space_autox3d_channels.yaml")

    searched = {choice.column for choice in space.choices if len(choice.candidates) > 1}
    assert searched == {"channels", "expansion"}
    assert space.size == 7**11 * 5**2 * 6**2 * 8**7


def test_the_demos_attention_study_is_its_thinned_x3d():
    """Block by block the network that the demo trains beside the found one, at its cost."""
    space = Space.load(ARCHITECTURES / "space_demo_attention.yaml")
    clip = ClipSpec(frames=8, stride=4, crop=48, short=56)
    thin = thinned(Genotype.load(ARCHITECTURES / "x3d_s.yaml"), "x3d_s", clip, 0.33, 0.34)
    found = cost(space.genotype((0,) * len(space.choices), "x3d_s"), 8)

    assert (found.params, found.gmacs) == (cost(thin, 8).params, cost(thin, 8).gmacs)


def test_random_networks_of_a_cost_are_different_and_cost_it():
    """Uniform draws inside the window, the same for the same seed."""
    space = SPACES["autox3d"]
    costs = SpaceCosts(space, 400)
    found = within(space, costs, 1.9, 2.0, 8, seed=1)

    assert len(set(found)) == 8
    assert all(1.9 <= costs.of(draw) <= 2.0 for draw in found)
    assert within(space, costs, 1.9, 2.0, 8, seed=1) == found
    assert within(space, costs, 1.9, 2.0, 8, seed=2) != found


def test_a_cost_that_no_network_has_is_told(capsys, tmp_path):
    """`autox3d random` writes nothing, and says what to change."""
    path = str(ARCHITECTURES / "space_demo.yaml")
    args = parser().parse_args(["random", path, "--most", "0.001", "--out", str(tmp_path)])

    with pytest.raises(Refused) as refused:
        args.command(args)
    assert str(refused.value) == (
        f"{path}: 0 networks cost 0 to 0.001 G multiply-adds, not 16; all cost 0.004041 to"
        " 0.008959. Widen --least and --most."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_window_with_too_few_networks_is_told_before_any_are_sampled(tmp_path):
    """Counted exactly, in a space of 277e30 networks: sampling took half a minute to give up."""
    path, most = (
        str(ARCHITECTURES / "space_autox3d.yaml"),
        1.0005 * SpaceCosts(SPACES["autox3d"], 400).cheapest,
    )
    flags = ["--most", str(most), "--count", "2", "--out", str(tmp_path)]
    args = parser().parse_args(["random", path, *flags])
    start = time.process_time()
    with pytest.raises(Refused, match=r"space_autox3d\.yaml: 1 networks cost 0 to 0\.411"):
        args.command(args)

    assert time.process_time() - start < 10


def test_random_networks_come_as_files_and_lines_for_the_settings(capsys, tmp_path):
    """Each file is a network of the space; the printed lines name it."""
    path = str(ARCHITECTURES / "space_demo.yaml")
    flags = ["--least", "0.005", "--most", "0.006", "--count", "2", "--out", str(tmp_path)]
    args = parser().parse_args(["random", path, *flags])
    args.command(args)
    page = capsys.readouterr().out
    said = yaml.safe_load(page)

    usual = yaml.safe_load((ARCHITECTURES.parent / "params.yaml").read_text())["train"]["s"]
    assert said["train"] == {"random_1": usual, "random_2": usual}
    assert "*" not in page  # no alias, which the settings would refuse
    for baseline in said["baseline"].values():
        genotype = Genotype.load(Path(baseline["of"]))
        assert SPACES["demo"].draw(genotype)
        assert 0.005 <= cost(genotype, 400).gmacs <= 0.006


def test_uniform_draws_cost_as_was_measured():
    """13x160x160, no attention: 2.0 % of 2,000 draws cost at most 2 G, their median is 3.1 G."""
    space = SPACES["autox3d"]
    plain = dataclasses.replace(
        space,
        groups=tuple(dataclasses.replace(group, attention=("none",)) for group in space.groups),
    )
    costs = SpaceCosts(plain, 400)
    found = sorted(costs.of(draw) for draw in draws(plain, 2000, 7))

    assert found[1000] == pytest.approx(3.10, abs=0.05)
    assert sum(value <= 2.0 for value in found) / 2000 == pytest.approx(0.02, abs=0.006)
