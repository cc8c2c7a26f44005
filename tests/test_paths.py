"""The warm-up's paths by strict fairness: no candidate is drawn more often than another one."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from support import ROOT
from support.toy_search import schedule

from autox3d.core.errors import Refused
from autox3d.search.loop import ALPHA, WEIGHTS, step_draws
from autox3d.search.paths import NESTED, drawing, sandwich, strict
from autox3d.search.prior import Prior
from autox3d.search.space import Space

SPACE = Space.load(ROOT / "architectures/space_autox3d.yaml")
COUNTS = [len(choice.candidates) for choice in SPACE.choices]


def test_every_candidate_is_in_one_draw_of_a_block():
    """For every choice of the paper's space, whose numbers of candidates differ."""
    draws = strict(Prior(COUNTS), 1, 0, 120)

    assert len(set(COUNTS)) > 2
    for choice, count in enumerate(COUNTS):
        taken = [draw[choice] for draw in draws]
        for first in range(0, 120 - count + 1, count):
            assert sorted(taken[first : first + count]) == list(range(count))


def test_random_draws_are_not_fair():
    """The control: with independent draws a block often lacks a candidate."""
    draws = Prior(COUNTS).sample(120, torch.Generator().manual_seed(1))
    choice = COUNTS.index(2)
    pairs = [(one[choice], two[choice]) for one, two in zip(draws[::2], draws[1::2], strict=True)]

    assert sum(one != two for one, two in pairs) < 0.75 * len(pairs)


def test_a_draw_follows_from_its_number():
    """However the draws are divided over steps; another seed gives others."""
    prior = Prior(COUNTS)

    assert strict(prior, 1, 7, 5) == strict(prior, 1, 0, 20)[7:12]
    assert strict(prior, 1, 0, 20) != strict(prior, 2, 0, 20)


def test_choices_are_drawn_without_regard_to_each_other():
    """All pairs of candidates of two choices with two each are about equally frequent."""
    draws = strict(Prior([2, 2]), 1, 0, 4000)
    assert all(900 < count < 1100 for count in Counter(draws).values())
    assert len(set(draws)) == 4


def test_an_absent_candidate_is_never_drawn():
    """And the others share its turns."""
    prior = Prior([3, 2])
    prior.absent[0, 1] = True
    draws = strict(prior, 1, 0, 100)

    assert Counter(draw[0] for draw in draws) == {0: 50, 2: 50}


def test_the_blocks_of_a_warm_up_run_over_chunks_and_steps():
    """Four chunks of one draw a step: the draws are those of one row of numbers."""
    prior, made = Prior([2, 3]), schedule(1, draws=1, paths=strict)
    steps = [step_draws(prior, made, WEIGHTS, done, 1) for done in range(3)]
    one_by_one = [draw for chunks in steps for draws in chunks for draw in draws]

    assert one_by_one == strict(prior, made.seed, 0, 12)
    assert len({tuple(chunk[0] for chunk in chunks) for chunks in steps}) == 3
    random = step_draws(prior, made, ALPHA, 0, 1)
    assert random == step_draws(prior, schedule(1, draws=1), ALPHA, 0, 1)  # alpha's are free


def test_shared_draws_are_the_same_for_all_chunks_of_a_step():
    """And fair from step to step."""
    prior, made = Prior([2, 3]), schedule(1, draws=1, paths=strict, shared=True)
    steps = [step_draws(prior, made, WEIGHTS, done, 1) for done in range(6)]

    assert [chunks[0] for chunks in steps] == [[draw] for draw in strict(prior, made.seed, 0, 6)]
    assert all(chunk == chunks[0] for chunks in steps for chunk in chunks)


def test_the_sandwich_has_the_widest_and_the_narrowest_in_each_round():
    """In width and expansion alone; the other choices, and the other draws, stay strictly fair."""
    prior = Prior(COUNTS)
    free, bound = strict(prior, 1, 0, 40), sandwich(SPACE, prior, 1, 0, 40)

    for number, (one, other) in enumerate(zip(free, bound, strict=True)):
        for choice, before, taken in zip(SPACE.choices, one, other, strict=True):
            ends = {0: max(choice.candidates), 1: min(choice.candidates)}
            if choice.column in NESTED and number % 4 in ends:
                assert choice.candidates[taken] == ends[number % 4]
            else:
                assert taken == before
    assert sandwich(SPACE, prior, 1, 5, 9) == bound[5:14]


def test_the_widest_leaves_out_what_is_absent():
    """A memory cap may forbid the largest width of a group."""
    prior = Prior(COUNTS)
    choice = next(n for n, one in enumerate(SPACE.choices) if one.column == "channels")
    widths = SPACE.choices[choice].candidates
    most = widths.index(max(widths))
    prior.absent[choice, most] = True
    (widest,) = sandwich(SPACE, prior, 1, 0, 1)

    assert widths[widest[choice]] == sorted(widths)[-2]


def test_fair_widths_have_no_widest_network_that_holds_the_others():
    """So a sandwich of them is refused, before any step."""
    assert drawing("random", SPACE, "fair") is None
    assert drawing("strict", SPACE, "fair") is strict
    with pytest.raises(Refused) as caught:
        drawing("sandwich", SPACE, "fair")
    assert str(caught.value) == (
        "params.yaml: 'warmup.paths' is sandwich, but the widths of selection fair are not nested. "
        "Take strict, or 'supernet.selection: naive'."
    )
