"""Clips and crops are cut as the papers say, by examples worked by hand."""

from fractions import Fraction

import numpy as np
import pytest

from autox3d.vision.clips import views
from autox3d.vision.clips.views import Box


@pytest.mark.parametrize(
    ("frames", "stride", "rate", "span"),
    [(13, 6, 30, 78), (16, 5, 30, 80), (16, 5, 15, 40), (8, 4, Fraction(30000, 1001), None)],
)
def test_span_is_counted_at_thirty_frames_a_second(frames, stride, rate, span):
    """13 frames 6 apart cover 2.6 s, whatever the video's rate."""
    found = views.span(frames, stride, rate)
    assert found == (span if span is not None else Fraction(32_000, 1001))


def test_linspace_ends_at_the_last_frame_of_the_span():
    """FACTS of X3D-S: 78 frames, so the thirteenth frame is 77 and the true stride 6.42."""
    found = views.clip_frames(Fraction(0), 13, 6, 30, "linspace")
    assert found.tolist() == [0, 6, 12, 19, 25, 32, 38, 44, 51, 57, 64, 70, 77]


def test_stride_is_the_stride():
    found = views.clip_frames(Fraction(10), 13, 6, 30, "stride")
    assert found.tolist() == list(range(10, 88, 6))
    assert views.clip_frames(Fraction(0), 4, 6, 15, "stride").tolist() == [0, 3, 6, 9]


def test_one_frame_is_the_first_of_its_span():
    for rule in ("linspace", "stride"):
        assert views.clip_frames(Fraction(7), 1, 6, 30, rule).tolist() == [7]


@pytest.mark.parametrize("rule", ["linspace", "stride"])
def test_exact_and_floating_starts_agree(rule):
    """Training starts are floats, test starts Fractions; the frames are the same."""
    for start in (0, 0.25, 10.5, 221.75):
        exact = views.clip_frames(Fraction(start), 16, 5, 30, rule)
        assert exact.tolist() == views.clip_frames(float(start), 16, 5, 30, rule).tolist()


def test_a_short_video_repeats_its_last_frame():
    indices = views.clamp(views.clip_frames(Fraction(0), 5, 6, 30, "stride"), 10)
    assert indices.tolist() == [0, 6, 9, 9, 9]
    assert views.last_start(10, views.span(5, 6, 30)) == 0


def test_training_starts_are_uniform_over_what_fits():
    """300 frames and a span of 78: from 0 to 222, mean 111."""
    rng = np.random.default_rng(0)
    starts = np.array([views.train_start(300, Fraction(78), rng) for _ in range(4000)])
    assert 0 <= starts.min() < 1
    assert 221 < starts.max() <= 222
    assert starts.mean() == pytest.approx(111, abs=3)
    assert views.train_start(50, Fraction(78), rng) == 0


def test_ends_covers_beginning_centre_and_end():
    """X3D 4.3: one clip covers the centre; three cover beginning, centre and end."""
    half = Fraction(1, 2)
    assert views.test_places(1, "ends") == (half,)
    assert views.test_places(3, "ends") == (0, half, 1)
    assert views.test_places(10, "ends")[1] == Fraction(1, 9)


def test_starts_never_reaches_the_end():
    assert views.test_places(1, "starts") == (0,)
    assert views.test_places(4, "starts") == (0, Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))


@pytest.mark.parametrize(("rule", "distinct"), [("ends", 15), ("starts", 18)])
def test_the_curve_over_clips_shares_its_views(rule, distinct):
    """K = 1, 3, 5, 7, 10 are 26 clips, of which only 15 or 18 differ."""
    union = views.union_places(views.K_CURVE, rule)
    assert len(union) == distinct
    assert list(union) == sorted(union)
    assert all(set(views.test_places(k, rule)) <= set(union) for k in views.K_CURVE)


def test_the_shorter_side_is_resized_and_the_longer_follows():
    """340 x 182 / 256 is 241.7: 241, as the published code rounds."""
    assert views.test_frame(256, 340, 182) == (182, 241)
    assert views.test_frame(340, 256, 182) == (241, 182)
    assert views.test_frame(182, 182, 182) == (182, 182)
    assert views.test_frame(64, 86, 128) == (128, 172)


def test_center_crop_is_in_the_middle():
    """160 out of 182x241 px: 11 px above and below, 40.5 at the sides."""
    assert views.test_box(182, 241, "center", 160) == Box(11, 41, 160)
    assert views.test_box(241, 182, "center", 160) == Box(41, 11, 160)


def test_left_centre_right_moves_along_the_longer_side():
    wide = [views.test_box(182, 241, side, 182) for side in views.crop_sides("lcr")]
    assert wide == [Box(0, 0, 182), Box(0, 30, 182), Box(0, 59, 182)]
    tall = [views.test_box(241, 182, side, 182) for side in views.crop_sides("lcr")]
    assert tall == [Box(0, 0, 182), Box(30, 0, 182), Box(59, 0, 182)]
    assert views.test_size("lcr", 182, 160) == 182
    assert views.test_size("center", 182, 160) == 160


def test_training_boxes_cover_the_video_and_every_jitter():
    """Shorter side in [182, 228], crop 160, of a 340x256 source: 180 to 225 source pixels."""
    rng = np.random.default_rng(0)
    boxes = [views.train_box(256, 340, (182, 228), 160, rng) for _ in range(4000)]
    sizes = {box.side for box in boxes}
    assert (min(sizes), max(sizes)) == (180, 225)
    assert min(box.top for box in boxes) == min(box.left for box in boxes) == 0
    assert max(box.top + box.side for box in boxes) == 256
    assert max(box.left + box.side for box in boxes) == 340


def test_a_video_smaller_than_the_crop_is_used_whole():
    """The box never leaves the video, whatever the jitter."""
    rng = np.random.default_rng(0)
    assert views.train_box(40, 60, (48, 56), 64, rng).side == 40
