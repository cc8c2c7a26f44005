"""Several labels a video: mAP as the official script has it, the loss, and which labels hold."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from autox3d.core.curves import Pair
from autox3d.vision.tasks import multilabel
from autox3d.vision.tasks.task import named

TASK = named("multilabel")


def labels(*rows: list[int]) -> np.ndarray:
    """Class numbers of each video, padded as in a table."""
    return multilabel.target(pd.DataFrame({"labels": list(rows)}))


# ---- mAP


def slow(scores: np.ndarray, own: list[set[int]]) -> dict[str, float]:
    """Video by video, class by class, in the words of the official script.

    A video without actions gets -inf in all classes; sorted is stable, so equal scores keep the
    order of the videos.
    """
    found, weights, absent = [], [], 0
    for number in range(scores.shape[1]):
        column = [
            float(scores[video, number]) if own[video] else -math.inf for video in range(len(own))
        ]
        ranked = sorted(range(len(own)), key=lambda video: -column[video])
        hits, precisions = 0, []
        for rank, video in enumerate(ranked, 1):
            if number in own[video]:
                hits += 1
                precisions.append(hits / rank)
        if precisions:
            found.append(sum(precisions) / len(precisions))
            weights.append(len(precisions))
        else:
            absent += 1
    if not found:
        return dict.fromkeys(("map", "weighted_map", "chance", "left_out"), math.nan)
    chance = sum(weights) / len(weights) / sum(map(bool, own))
    weighted = sum(map(lambda a, w: a * w, found, weights)) / sum(weights)
    return {
        "map": sum(found) / len(found),
        "weighted_map": weighted,
        "chance": chance,
        "left_out": absent,
    }


def test_map_is_that_of_the_slow_obvious_version_on_1000_random_cases():
    """Any number of videos and classes; ties, videos without actions, classes without videos."""
    rng = np.random.default_rng(1)
    seen = {"ties": 0, "bare": 0, "absent": 0, "none": 0}
    for _ in range(1000):
        videos, classes = rng.integers(1, 12, 2)
        scores = rng.integers(0, rng.integers(2, 30), (videos, classes)) / 32
        chance = rng.random()
        own = [set(np.flatnonzero(rng.random(classes) < chance).tolist()) for _ in range(videos)]
        given = labels(*(sorted(rng.permuted(list(one) * 2).tolist()) for one in own))
        found, expected = TASK.measure(scores, given), slow(scores, own)

        assert found == pytest.approx(expected, nan_ok=True, abs=1e-12)
        seen["ties"] += len(np.unique(scores)) < scores.size
        seen["bare"] += not all(own) and any(own)
        seen["absent"] += found["left_out"] > 0
        seen["none"] += math.isnan(found["map"])

    assert min(seen.values()) > 20  # no case of these is left out


def test_positives_at_ranks_1_and_3_of_four_videos():
    """(1 + 2/3) / 2, by hand: no interpolation, no envelope of the precision."""
    scores = np.array([[0.9], [0.8], [0.7], [0.1]])

    assert TASK.by_class(scores, labels([0], [], [0], []))[0] == 1.0  # the others rank last
    two = np.hstack([scores, scores])
    given = labels([0], [1], [0], [1])
    assert TASK.by_class(two, given) == pytest.approx([(1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2])


def test_equal_scores_keep_the_order_of_the_videos():
    """So a network that gives all videos one score has the precision of their order."""
    given = labels([0], [1], [1], [0])

    assert TASK.by_class(np.full((4, 2), 0.5), given) == pytest.approx(
        [(1 + 2 / 4) / 2, (1 / 2 + 2 / 3) / 2]
    )


def test_a_video_without_actions_ranks_last_in_every_class():
    """Its score in front of a positive costs nothing, as in the official script (-inf)."""
    scores, given = np.array([[0.99], [0.5]]), labels([], [0])

    assert TASK.measure(scores, given)["map"] == 1.0
    assert TASK.labelled(given).tolist() == [False, True]


def test_a_class_without_positives_is_left_out_and_counted():
    """It would be NaN; the mean is over the others."""
    scores = np.array([[0.9, 0.3, 0.2], [0.1, 0.2, 0.9]])
    found = TASK.measure(scores, labels([0], [2, 0]))

    assert (found["map"], found["left_out"]) == (1.0, 1.0)
    assert found["chance"] == 3 / 4  # class 0 has both videos, class 2 one of two
    assert np.isnan(TASK.by_class(scores, labels([0], [2, 0]))).tolist() == [False, True, False]


def test_weighted_map_counts_a_class_by_its_positives():
    """Class 0 has 2 positives of precision 1, class 1 has 1 of precision 1/3."""
    scores = np.array([[0.9, 0.9], [0.8, 0.8], [0.1, 0.7]])
    found = TASK.measure(scores, labels([0], [0], [1]))

    assert found["map"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["weighted_map"] == pytest.approx((2 * 1 + 1 * 1 / 3) / 3)


def test_without_any_label_nothing_is_measured():
    found = TASK.measure(np.ones((2, 3)), labels([], []))

    assert all(math.isnan(value) for value in found.values())


def test_views_are_merged_by_their_maximum():
    """X3D, A.2: temporal max-pooling of the scores; over all views, as in SlowFast."""
    assert TASK.merge(np.array([[0.1, 0.9], [0.3, 0.2]])).tolist() == [0.3, 0.9]


def test_a_label_is_taken_for_the_best_of_the_wrong_answers():
    """Of a video with two labels its two best scores count; what is missed is paired in order."""
    scores = np.array([[0.9, 0.8, 0.1, 0.2], [0.1, 0.2, 0.3, 0.4]])
    pairs = TASK.outcome(scores, labels([0, 3], []), "abcd")

    assert pairs == [Pair("a", "a"), Pair("d", "b")]
    assert TASK.nearest(scores, labels([2, 3], [])).tolist() == [3, -1]


def test_precision_over_recall_of_the_worst_classes():
    """At the rank of each positive; the worst class is first, one without positives is nowhere."""
    scores = np.array([[0.9, 0.9, 0.5], [0.8, 0.8, 0.4], [0.1, 0.7, 0.3]])
    worst, other = TASK.curves(scores, labels([0], [0], [1]), "abc")

    assert (worst.name, worst.positives, worst.recall) == ("b", 1, (1.0,))
    assert worst.precision == (0.333333,)
    assert (other.name, other.recall, other.precision) == ("a", (0.5, 1.0), (1.0, 1.0))


# ---- loss


def test_the_loss_is_the_mean_over_classes_summed_over_clips():
    """SlowFast's bce_logit, a mean over clips and classes, times the clips; in nats."""
    logits = torch.randn(3, 2, 5, generator=torch.manual_seed(1), dtype=torch.float64)
    target = torch.tensor([[0, 4, -1], [-1, -1, -1], [2, 2, -1]])
    hot = torch.zeros(3, 5, dtype=torch.float64)
    for clip, number in ((0, 0), (0, 4), (2, 2)):
        hot[clip, number] = 1
    share = logits.mean(1).sigmoid()
    by_hand = -(hot * share.log() + (1 - hot) * (1 - share).log()).mean(1).sum()

    assert TASK.loss(logits, target).item() == pytest.approx(by_hand.item(), abs=1e-12)
    assert TASK.scores(logits).equal(logits.sigmoid().mean(1))


def test_a_clip_counts_by_the_precision_of_its_own_labels():
    """The stand-in for mAP in training; where nothing happens, nothing is right."""
    logits = torch.tensor([[[3.0, 2.0, 1.0]], [[-1.0, -2.0, -3.0]], [[1.0, -2.0, -3.0]]])
    target = torch.tensor([[0, 2], [-1, -1], [-1, -1]])

    assert TASK.correct(logits, target).tolist() == pytest.approx([(1 + 2 / 3) / 2, 1, 0])


# ---- which labels hold


@pytest.mark.parametrize("rate", [24, 30])
def test_a_label_holds_at_the_frames_of_its_interval(rate):
    """Frame i at rate r has it if start <= i / r <= end, exactly, in tenths of seconds."""
    times = [(a, b) for a in range(0, 40, 3) for b in range(a, 40, 3)]
    rows = pd.DataFrame(
        {
            "starts": [np.array([a / 10]) for a, _ in times],
            "ends": [np.array([b / 10]) for _, b in times],
            "rate": rate,
        }
    )
    for (a, b), ((first, last),) in zip(times, multilabel.active(rows), strict=True):
        held = [i for i in range(200) if a * rate <= 10 * i <= b * rate]
        assert list(range(first, last + 1)) == held


def test_a_label_without_times_holds_all_along():
    rows = pd.DataFrame({"starts": [[0.0], []], "ends": [[math.inf], []], "rate": 30})
    (always,), (empty,) = multilabel.active(rows)

    assert always[0] == 0
    assert always[1] > 10**15
    assert empty.tolist() == [0, 0]  # of no label: the class number is -1
