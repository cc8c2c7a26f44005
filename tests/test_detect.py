"""Boxes: frame mAP as AVA's evaluator counts it, what is learnt, and boxes under crops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from autox3d.vision.tasks import boxes, detect
from autox3d.vision.tasks.boxes import ASKED, LABELS, LEARNT, TRUTH, Crop

Corners = Sequence[float]
ONE, OTHER = (0.1, 0.1, 0.5, 0.5), (0.6, 0.1, 0.9, 0.8)


def clip(
    truth: Sequence[tuple[Corners, Sequence[int]]], asked: Sequence[Corners]
) -> dict[str, object]:
    """A row of a table of clips: annotated boxes with classes, and proposals."""
    every = [*(box for box, _ in truth), *asked]
    return {
        "boxes": np.array(every, np.float64).ravel(),
        "truth": np.arange(len(every)) < len(truth),
        "asked": np.arange(len(every)) >= len(truth),
        "labels": [*(np.array(own, np.int64) for _, own in truth), *([[]] * len(asked))],
    }


def labels(*clips: dict[str, object]) -> np.ndarray:
    return detect.target(pd.DataFrame(list(clips)))


def measured(
    clips: Sequence[dict[str, object]], scores: Sequence[Sequence[Sequence[float]]]
) -> dict[str, float]:
    """Metrics of the scores of each proposal of each clip, by class."""
    return detect.measure([np.array(one, float).reshape(-1, 2) for one in scores], labels(*clips))


# ---- The metric, trap by trap


def test_one_perfect_box_is_1():
    assert measured([clip([(ONE, [0])], [ONE])], [[[0.9, 0.1]]])["map"] == 1


def test_a_second_box_on_the_same_truth_is_a_miss():
    """It ranks first here, so the right one comes second: precision 1, 1 with the best first."""
    same = clip([(ONE, [0]), (OTHER, [0])], [ONE, ONE, OTHER])
    assert measured([same], [[[0.9, 0], [0.8, 0], [0.7, 0]]])["map"] == pytest.approx(
        (1 + 2 / 3) / 2
    )
    assert measured([same], [[[0.9, 0], [0.7, 0], [0.8, 0]]])["map"] == 1


def test_the_best_score_takes_the_truth_whatever_the_order_of_rows():
    """SlowFast's copy of the evaluator does not sort before it matches."""
    worse = (0.1, 0.1, 0.5, 0.4)
    rows = clip([(ONE, [0])], [worse, ONE])
    assert measured([rows], [[[0.2, 0], [0.9, 0]]])["map"] == 1
    assert measured([rows], [[[0.9, 0], [0.2, 0]]])["map"] == 1  # 0.75 of the union: it is a hit


@pytest.mark.parametrize(("right", "found"), [(0.5, 1.0), (0.4999, 0.0)])
def test_half_of_the_union_is_a_hit(right, found):
    """Exactly 0.5 counts."""
    assert measured([clip([((0, 0, 1, 1), [0])], [(0, 0, right, 1)])], [[[1, 0]]])["map"] == found


def test_a_proposal_belongs_to_the_truth_that_it_overlaps_most():
    """Where that is taken it is a miss, though another truth box would be a hit, too."""
    near = (0.0, 0.0, 0.5, 0.9)
    rows = clip([((0, 0, 0.5, 1), [0]), ((0, 0, 0.5, 0.6), [0])], [near, near])
    assert measured([rows], [[[0.9, 0], [0.8, 0]]])["map"] == 0.5


def test_only_truth_of_the_class_can_be_met():
    """A proposal may meet one box in one class, and another one in another."""
    rows = clip([(ONE, [0]), (ONE, [1])], [ONE])
    assert measured([rows], [[[0.9, 0.9]]])["map"] == 1
    assert detect.by_class([np.array([[0.9, 0.1]])], labels(clip([(ONE, [1])], [ONE])))[1] == 1


def test_a_clip_without_truth_counts_its_proposals_as_misses():
    """The evaluator's own; chosen frames alone would flatter the result."""
    rows = [clip([(ONE, [0])], [ONE]), clip([], [ONE])]
    assert measured(rows, [[[0.5, 0]], [[0.9, 0]]])["map"] == 0.5
    assert measured(rows, [[[0.9, 0]], [[0.5, 0]]])["map"] == 1


def test_a_class_without_truth_is_left_out():
    """It is NaN of its own, and counted."""
    rows = labels(clip([(ONE, [0])], [ONE]))
    found = detect.by_class([np.array([[0.9, 0.1]])], rows)
    assert found[0] == 1
    assert math.isnan(found[1])
    assert detect.measure([np.array([[0.9, 0.1]])], rows)["left_out"] == 1


def test_no_proposals_are_0_and_no_truth_is_nothing():
    """A truth box that no proposal meets is lost; `reach` says how many are."""
    lost = [clip([(ONE, [0])], [ONE]), clip([(OTHER, [0])], [])]
    found = measured(lost, [[[0.9, 0]], []])
    assert (found["map"], found["reach"]) == (0.5, 0.5)
    assert measured([clip([(ONE, [0])], [])], [[]])["map"] == 0
    nothing = measured([clip([], [ONE])], [[[0.9, 0]]])
    assert all(math.isnan(value) for value in nothing.values())


def test_precision_is_made_to_fall():
    """Ranks hit, miss, hit, hit: 1, then the best that follows, 3/4 (not 2/3)."""
    apart = [(0.1 * n, 0, 0.1 * n + 0.08, 1) for n in range(4)]
    rows = clip([(apart[n], [0]) for n in (0, 2, 3)], apart)
    found = measured([rows], [[[0.9, 0], [0.8, 0], [0.7, 0], [0.6, 0]]])["map"]
    assert found == pytest.approx((1 + 3 / 4 + 3 / 4) / 3)


def test_boxes_without_area_go():
    """Neither a truth to be found nor a proposal to be asked."""
    rows = labels(clip([(ONE, [0]), ((0.5, 0.1, 0.5, 0.4), [0])], [ONE, (0.4, 0.4, 0.3, 0.5)]))
    assert rows[0][:, TRUTH].tolist() == [1, 0, 0, 0]
    assert rows[0][:, ASKED].tolist() == [0, 0, 1, 0]


# ---- The metric, against an independent version


def slow_map(clips: Sequence[dict], scores: Sequence[np.ndarray], classes: int) -> float:
    """Frame mAP, written anew: one class, one frame, one detection at a time."""
    values = []
    for number in range(classes):
        ranked, positives = [], 0
        for one, given in zip(clips, scores, strict=True):
            every = np.array(one["boxes"]).reshape(-1, 4).tolist()
            truth = [
                box
                for box, real, own in zip(every, one["truth"], one["labels"], strict=True)
                if real and number in list(own)
            ]
            positives += len(truth)
            asked = [box for box, mine in zip(every, one["asked"], strict=True) if mine]
            order = sorted(range(len(asked)), key=lambda k: -given[k][number])
            free = set(range(len(truth)))
            for k in order:
                best = max(range(len(truth)), key=lambda t: iou(asked[k], truth[t]), default=None)
                hit = best is not None and iou(asked[k], truth[best]) >= 0.5 and best in free
                if hit:
                    free.discard(best if best is not None else -1)
                ranked.append((given[k][number], hit))
        if positives:
            values.append(area(ranked, positives))
    return sum(values) / len(values) if values else math.nan


def iou(a: Corners, b: Corners) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = wide * high if wide > 0 and high > 0 else 0.0
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def area(ranked: list[tuple[float, bool]], positives: int) -> float:
    """The area under precision over recall, with both ends, as PASCAL VOC 2010's own code."""
    ordered = sorted(ranked, key=lambda row: -row[0])
    recall, precision, hits = [0.0], [0.0], 0
    for rank, (_, hit) in enumerate(ordered, 1):
        hits += hit
        recall.append(hits / positives)
        precision.append(hits / rank)
    recall.append(1.0)
    precision.append(0.0)
    for place in range(len(precision) - 2, -1, -1):
        precision[place] = max(precision[place], precision[place + 1])
    return sum((recall[n + 1] - recall[n]) * precision[n + 1] for n in range(len(recall) - 1))


def random_case(rng: np.random.Generator) -> tuple[list[dict], list[np.ndarray], int]:
    """Clips with overlapping boxes, proposals near and far, and no two equal scores."""
    classes, clips, scores = int(rng.integers(1, 4)), [], []
    for _ in range(rng.integers(1, 5)):
        truth = [
            (_box(rng), rng.permutation(classes)[: rng.integers(0, classes + 1)].tolist())
            for _ in range(rng.integers(0, 4))
        ]
        near = [np.add(box, rng.normal(0, 0.05, 4)).tolist() for box, _ in truth]
        asked = [box for box in near if box[0] < box[2] and box[1] < box[3]]
        asked += [_box(rng) for _ in range(rng.integers(0, 4))]
        clips.append(clip(truth, asked))
        scores.append(rng.random((len(asked), classes)))
    return clips, scores, classes


def _box(rng: np.random.Generator) -> Corners:
    x, y = rng.uniform(0, 0.5, 2)
    wide, high = rng.uniform(0.2, 0.5, 2)
    return (x, y, x + wide, y + high)


def test_it_equals_a_slow_version_in_1000_random_cases():
    """Some of them with truth in every class, some without any."""
    rng, seen = np.random.default_rng(1), []
    for _ in range(1000):
        clips, scores, classes = random_case(rng)
        wanted, found = (
            slow_map(clips, scores, classes),
            detect.measure(scores, labels(*clips))["map"],
        )
        assert found == pytest.approx(wanted, abs=1e-12, nan_ok=True)
        seen.append(wanted)
    assert np.isnan(seen).any()
    assert np.nanmax(seen) == 1
    assert len(np.unique(np.round(seen, 3))) > 300


def test_chance_is_what_a_random_order_has():
    """About: the mean of 300 orders of 400 proposals, of which a hundred are hits."""
    rng = np.random.default_rng(2)
    rows = [
        clip([(ONE, [0]), (OTHER, [1])], [ONE, OTHER, _box(rng), _box(rng)]) for _ in range(100)
    ]
    given = labels(*rows)
    found = [detect.measure(list(rng.random((100, 4, 2))), given) for _ in range(300)]
    assert np.mean([one["map"] for one in found]) == pytest.approx(found[0]["chance"], abs=0.05)
    assert found[0]["chance"] == pytest.approx(0.25, abs=0.02)


# ---- What is learnt


def test_truth_and_what_is_close_to_it_is_learnt():
    """A proposal over 0.9 has the labels of the truth box that it overlaps most; 0.9 is not."""
    exact = (0.1, 0.1, 0.5, 0.46)  # 0.9 of ONE
    (rows,) = labels(clip([(ONE, [2, 5]), (OTHER, [1])], [(0.1, 0.1, 0.5, 0.47), exact, OTHER]))
    assert rows[:, LABELS:].astype(int).tolist() == [[2, 5], [1, -1], [2, 5], [-1, -1], [1, -1]]
    assert (rows[:, LEARNT] > 0).tolist() == [True, True, True, False, True]


def test_the_loss_is_the_mean_over_boxes():
    """Of all clips of a table together; each clip counts for all of its boxes."""
    rows = labels(clip([(ONE, [0]), (OTHER, [1, 0])], [ONE]), clip([(ONE, [])], []))
    batch = torch.from_numpy(boxes.padded(list(rows), 5))
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    marks = [[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]  # the proposal is one of the first's
    mine = torch.cat([logits[0, :3], logits[1, :1]])
    wanted = F.binary_cross_entropy_with_logits(mine, torch.tensor(marks).float())
    assert detect.loss(logits, batch) / 2 == pytest.approx(wanted.item(), rel=1e-6)
    moved = logits.clone()
    moved[0, 3:] = moved[1, 1:] = 9.0  # rows behind the boxes
    assert detect.loss(moved, batch) == detect.loss(logits, batch)


def test_the_running_metric_is_1_where_all_own_classes_come_first():
    """A box without classes counts if all are below one half."""
    rows = labels(clip([(ONE, [0]), (OTHER, [])], []))
    batch = torch.from_numpy(boxes.padded(list(rows), 3))
    right, wrong = torch.tensor([[[5.0, -5], [-5, -5], [0, 0]]]), torch.tensor([[[-5.0, 5]] * 3])
    assert detect.correct(right, batch).tolist() == [1.0]
    assert detect.correct(wrong, batch).tolist() == [0.25]  # second of two, and one said of none


# ---- Crops


def test_boxes_follow_crop_and_flip():
    """Shares of the crop, cut off at its edges; a box outside keeps its row, and is not learnt."""
    (rows,) = labels(clip([(ONE, [0]), (OTHER, [1])], []))
    left = boxes.shown(rows, Crop(0.0, 0.0, 0.5, 1.0))
    np.testing.assert_allclose(left[:, :4], [[0.2, 0.1, 1.0, 0.5], [1.0, 0.1, 1.0, 0.8]])
    assert (left[:, LEARNT] > 0).tolist() == [True, False]
    flipped = boxes.shown(rows, Crop(0.0, 0.0, 0.5, 1.0, flip=True))
    np.testing.assert_allclose(flipped[:, :4], [[0.0, 0.1, 0.8, 0.5], [0.0, 0.1, 0.0, 0.8]])
    assert rows[0, :4].tolist() == list(ONE)  # those of the table stay as they are


# ---- Refusals


def test_boxes_that_no_proposal_can_meet_are_a_flaw():
    """Pixels for shares, x for y, another film: all of them end in mAP 0 elsewhere."""
    far = (0.5, 0.5, 0.9, 0.9)
    assert detect.flaw(labels(clip([(ONE, [0])], [far]), clip([], [ONE]))) == (
        "no proposal meets a truth box: of 1 and 2 boxes the best overlap is 0.00, and 0.5 would "
        "be a hit. Are the corners x1, y1, x2, y2 as shares of width and height, and the seconds "
        "those of the same film?"
    )
    assert detect.flaw(labels(clip([(ONE, [0])], [far]), clip([(ONE, [0])], [ONE]))) == ""
    assert detect.flaw(labels(clip([], [far]))) == ""


def test_key_frames_are_the_nearest_ones():
    """Frame i of 25 a second is at i / 25; a time between two is nearest to one of them."""
    rows = pd.DataFrame({"at": [0.0, 2.3, 0.05, 1.99], "rate": [30, 30, 25, 25]})
    assert detect.key_frame(rows).tolist() == [0, 69, 1, 50]
