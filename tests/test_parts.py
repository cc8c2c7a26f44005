"""Every part of a shared kernel is used as often as every other (A3D 4.2, A3D-S 3)."""

from fractions import Fraction

import pytest
from support import ARCHITECTURES

from autox3d.search import channel_sets
from autox3d.search.space import Space

EXPANSIONS = [1.5, 2.25, 3.0, 3.75, 4.5, 5.25, 6.0]
SPACE = Space.load(ARCHITECTURES / "space_autox3d.yaml")
USED = {  # first channels of a stage -> uses of its parts, the step; and the expansions
    12: ([4] * 4 + [3] * 3, 4),
    24: ([5] + [4] * 7, 8),
    48: ([6] * 5 + [5] * 6, 12),
    96: ([6] * 5 + [5] * 6, 24),
    1.5: ([5] * 3 + [4] * 5, 0.75),
}
LISTS = [
    pytest.param(candidates, id=f"row {row} {column}")
    for row, group in enumerate(SPACE.groups, 1)
    for column, candidates in (("channels", group.channels), ("expansion", group.expansion))
]


@pytest.mark.parametrize("count", range(1, 16, 2))
def test_fair_arcs_use_every_part_as_the_paper_says(count):
    """With N candidates of 1..N parts and N odd, each part is in exactly (N+1)/2 of them."""
    found = channel_sets.uses(channel_sets.arcs(range(1, count + 1), "fair"), count)

    assert found == ((count + 1) // 2,) * count


def test_the_papers_own_examples():
    """Figure 3 has N = 5 with 3/5, the supplement's Figure 1 N = 7 with 4/7."""
    assert channel_sets.uses(channel_sets.arcs([1, 2, 3, 4, 5], "fair"), 5) == (3, 3, 3, 3, 3)
    assert channel_sets.uses(channel_sets.arcs([1, 2, 3, 4, 5, 6, 7], "fair"), 7) == (4,) * 7


@pytest.mark.parametrize("candidates", LISTS)
def test_every_list_of_the_space_is_used_within_one(candidates):
    """The lists of the paper's space do not begin at one part; their counts differ by one."""
    expected, step = USED[candidates[0]]
    ring = channel_sets.ring(candidates, "fair")

    assert ring.step == Fraction(str(step))
    assert list(channel_sets.uses(ring.arcs.values(), ring.count)) == expected


def test_naive_arcs_favour_the_first_parts():
    """Prefixes: the first parts are in every candidate, the last in one alone."""
    ring = channel_sets.ring(range(12, 29, 4), "naive")

    assert channel_sets.uses(ring.arcs.values(), ring.count) == (5, 5, 5, 4, 3, 2, 1)


@pytest.mark.parametrize("selection", ["fair", "naive"])
def test_an_arc_is_as_long_as_its_candidate(selection):
    """No part twice, and parts times step is the candidate itself."""
    ring = channel_sets.ring(EXPANSIONS, selection)

    for candidate in EXPANSIONS:
        arc = ring.arc(candidate)
        assert len(set(arc)) == len(arc)
        assert len(arc) * ring.step == Fraction(str(candidate))


def test_a_single_candidate_is_one_part():
    """A fixed width is one part, whole, under either selection."""
    assert channel_sets.ring([24, 24], "fair") == channel_sets.ring([24], "naive")
    assert channel_sets.ring([24], "fair").arc(24) == (0,)


def test_inner_channels_lie_on_the_grid_of_input_and_expansion():
    """Input parts 2 and 0, expansion parts 1 and 2 of 3: cells row by row, three channels each."""
    cells = channel_sets.cells((2, 0), (1, 2), 3)

    assert cells == [7, 8, 1, 2]
    assert channel_sets.indices(cells, 3) == [21, 22, 23, 24, 25, 26, 3, 4, 5, 6, 7, 8]
