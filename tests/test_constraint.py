"""The cost term is the papers', and finite everywhere; the multiplier's meets the target."""

import pytest
import torch

from autox3d.search.constraint import Constraint

HINGE = Constraint("log", 0.2, None, 2.0)
RANGE = Constraint("log", 0.2, 1.37, 1.43)


def test_the_hinge_is_auto_x3ds():
    """A3D, equation 2: max(F - T, 0) / T."""
    assert [HINGE.excess(cost) for cost in (1.0, 2.0, 2.5, 4.0)] == [0, 0, 0.25, 1.0]


def test_the_range_is_auto_tsnets():
    """TS-S, equation 2, its misprint mended: nothing between the bounds, a share outside."""
    assert RANGE.excess(1.40) == 0
    assert RANGE.excess(1.37 / 2) == pytest.approx(0.5)
    assert RANGE.excess(1.43 * 3) == pytest.approx(2)


@pytest.mark.parametrize("form", ["log", "plain"])
def test_pulls_rank_as_the_excess(form):
    """The dearer draw is pulled harder."""
    pull = Constraint(form, 0.2, None, 2.0).pull([0.0, 0.1, 0.4])

    assert pull[0] < pull[1] < pull[2]


def test_the_log_form_sees_shares_not_sizes():
    """d log(c1 + c2) does not change when every cost is ten times as far over."""
    near, far = HINGE.pull([0.01, 0.03, 0.0]), HINGE.pull([0.1, 0.3, 0.0])

    assert torch.allclose(near, far, rtol=0, atol=1e-15)
    assert near.tolist() == pytest.approx([0.2 * share for share in (0.25, 0.75, 0)])


def test_the_plain_form_is_an_unbiased_covariance():
    """beta (c_k - mean c) / (K - 1)."""
    pull = Constraint("plain", 0.5, None, 2.0).pull([0.0, 0.3, 0.6])

    assert pull.tolist() == pytest.approx([-0.075, 0.0, 0.075])


@pytest.mark.parametrize("form", ["log", "plain"])
def test_no_draw_over_the_target_pulls_nothing(form):
    """0/0 in the log form: all miss equally, by nothing."""
    pull = Constraint(form, 0.2, None, 2.0).pull([0.0, 0.0, 0.0])

    assert pull.tolist() == [0.0, 0.0, 0.0]
