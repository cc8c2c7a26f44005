"""Who does what: the classes of each box at a moment of a video; frame mAP at an overlap of 0.5.

    B clips, M boxes of a clip, C classes, N clips of a table, K columns of a box (`boxes`)

Each clip has a moment in its middle, at which its boxes are known. Every class is a question of
its own: sigmoid, binary cross-entropy. Frame mAP is that of AVA's evaluator (ActivityNet's
`get_ava_performance.py`): see `precisions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from autox3d.core.curves import Pair
from autox3d.core.scores import PrecisionRecall
from autox3d.vision.tasks import boxes, multilabel
from autox3d.vision.tasks.boxes import ASKED, HIT, LABELS, LEARNT, SAME, TRUTH
from autox3d.vision.tasks.metric import Metric
from autox3d.vision.tasks.task import POOLS, Boxed, Met, Task

if TYPE_CHECKING:  # prediction needs no pandas
    import pandas as pd

METRICS = (
    Metric("map", "frame mAP", percent=True, of_class="AP"),
    Metric("reach", "labels with a proposal", percent=True),
    Metric("chance", "frame mAP of a random order", percent=True, shown=False),
    Metric("left_out", "classes without truth", percent=False, shown=False),
    Metric("truth", "annotated boxes", percent=False, shown=False),
    Metric("proposals", "boxes asked about", percent=False, shown=False),
)


def target(rows: pd.DataFrame) -> np.ndarray:
    """The boxes of each clip, (N,) arrays of float64 (M, K).

    A proposal that overlaps a truth box by more than SAME has its labels. Truth and these are
    learnt from, each with one over the mean number of them in a clip, so that the loss is, as
    SlowFast's, one over boxes: in the mean over many clips, not in each batch.
    """
    columns = (rows[name] for name in ("boxes", "truth", "asked", "labels"))
    found = [_of_clip(*row) for row in zip(*columns, strict=True)]
    most = max((len(one) for of_clip in found for one in of_clip[1]), default=0)
    made = np.empty(len(found), object)
    for row, (known, labels) in enumerate(found):
        made[row] = np.full((len(known), LABELS + max(most, 1)), -1.0)
        made[row][:, :LABELS] = known
        for one, own in zip(made[row], labels, strict=True):
            one[LABELS : LABELS + len(own)] = own
    learnt = sum((one[:, LEARNT].sum() for one in made), 0.0)
    for one in made:
        one[:, LEARNT] *= len(made) / max(learnt, 1)
    return made


def _of_clip(
    corners: np.ndarray, truth: np.ndarray, asked: np.ndarray, labels: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The columns before the labels, (M, LABELS), and the labels of each box."""
    known = np.zeros((len(truth), LABELS))
    known[:, :4] = np.asarray(corners, np.float64).reshape(-1, 4)
    whole = boxes.areas(known) > 0
    known[:, TRUTH], known[:, ASKED] = truth & whole, asked & whole
    own = [np.asarray(one, np.int64) for one in labels]
    real = np.flatnonzero(known[:, TRUTH])
    if real.size:
        found = boxes.overlaps(known, known[real])
        nearest, best = real[found.argmax(1)], found.max(1)
        for row in np.flatnonzero((best > SAME) & whole & ~np.asarray(truth, bool)):
            own[row] = own[nearest[row]]
        known[:, LEARNT] = (best > SAME) & whole
    return known, own


def key_frame(rows: pd.DataFrame) -> np.ndarray:
    """The frame nearest to the moment of each clip, (N,) int64; frame i at rate r is at i / r."""
    at = rows["at"].to_numpy(np.float64) * rows["rate"].to_numpy(np.float64)
    return np.floor(at.round(6) + 0.5).astype(np.int64)


def labelled(labels: np.ndarray) -> np.ndarray:
    """Whether each clip has a truth box, (N,) bool."""
    return np.array([bool(one[:, TRUTH].any()) for one in labels], bool)


def flaw(labels: np.ndarray) -> str:
    """What makes the boxes useless: truth boxes, and proposals of which none meets any of them.

    Returns:
        a sentence; empty if there is nothing
    """
    real, asked, best = 0, 0, 0.0
    for one in labels:
        truth, proposed = one[one[:, TRUTH] > 0], one[one[:, ASKED] > 0]
        real, asked = real + len(truth), asked + len(proposed)
        if len(truth) and len(proposed) and best < HIT:
            best = max(best, float(boxes.overlaps(truth, proposed).max()))
    if not real or best >= HIT:
        return ""
    return (
        f"no proposal meets a truth box: of {real} and {asked} boxes the best overlap is "
        f"{best:.2f}, and {HIT} would be a hit. Are the corners x1, y1, x2, y2 as shares of width "
        "and height, and the seconds those of the same film?"
    )


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, mean over classes, in nats, summed over the weights of all boxes."""
    each = F.binary_cross_entropy_with_logits(logits, _hot(logits, target), reduction="none")
    return (each.mean(2) * target[..., LEARNT]).sum()


def _hot(logits: Tensor, target: Tensor) -> Tensor:
    """(B, M, C) like the logits: 1 for the classes of each box."""
    return multilabel.hot(logits.flatten(0, 1), target.flatten(0, 1)[:, LABELS:].long()).view_as(
        logits
    )


def correct(logits: Tensor, target: Tensor) -> Tensor:
    """(B,): the average precision of each box's own labels, weighted as in the loss.

    It stands in for mAP in training, which is no mean over clips.
    """
    each = multilabel.correct(
        logits.flatten(0, 1)[:, None], target.flatten(0, 1)[:, LABELS:].long()
    )
    return (each.view(logits.shape[:2]) * target[..., LEARNT]).sum(1)


def scores(logits: Tensor) -> Tensor:
    """Sigmoid of each box and class: (B, M, C) -> the same. The proposal's own does not count."""
    return logits.sigmoid()


def answers(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of the scores of a clip, (most, C), those that a test asks for: of its proposals, (A, C)."""
    return scores[: len(labels)][labels[:, ASKED] > 0]


def _matched(
    scores: Sequence[np.ndarray], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and hits of all proposals, (D, C) both, and how many truth boxes have each class."""
    classes = scores[0].shape[1]
    hits, count = [], np.zeros(classes, np.int64)
    for given, own in zip(scores, labels, strict=True):
        truth, proposed = own[own[:, TRUTH] > 0], own[own[:, ASKED] > 0]
        of_class = boxes.hot(truth, classes)
        count += of_class.sum(0)
        found = np.zeros(given.shape, bool)
        if len(truth) and len(proposed):
            common = boxes.overlaps(proposed, truth)
            for number in np.flatnonzero(of_class.any(0)).tolist():
                mine = common[:, of_class[:, number]]
                found[:, number] = _hits(given[:, number], mine)
        hits.append(found)
    return np.concatenate(list(scores)), np.concatenate(hits), count


def _hits(scores: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Which proposals of a clip are hits in a class, by falling score: (A,), (A, truth) -> (A,).

    A proposal's truth box is that of the largest overlap. If another one has it, it is a miss.
    """
    found, taken = np.zeros(len(scores), bool), set()
    nearest = common.argmax(1)
    for row in np.argsort(-scores, kind="stable").tolist():
        if common[row, nearest[row]] >= HIT and nearest[row] not in taken:
            taken.add(nearest[row])
            found[row] = True
    return found


def precisions(scores: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """The average precision of each class over all clips, (C,); NaN for a class without truth.

    Proposals of a clip without truth are misses. Precision over recall is made to fall (VOC 2010),
    and its area is taken.

    Args:
        scores: (A, C) of the proposals of each clip, see `answers`
    """
    return _areas(*_matched(scores, labels))


def _ranked(scores: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The best precision from each hit's rank on, in order of score: (D,) -> (hits,)."""
    ranks = 1 + np.flatnonzero(hits[np.argsort(-scores, kind="stable")])
    each = np.arange(1, len(ranks) + 1) / ranks
    return np.maximum.accumulate(each[::-1])[::-1]


def _areas(scores: np.ndarray, hits: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The average precisions of what `_matched` returns, (C,)."""
    columns = zip(scores.T, hits.T, count.tolist(), strict=True)
    return np.array(
        [_ranked(one, own).sum() / real if real else np.nan for one, own, real in columns]
    )


def measure(scores: Sequence[np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Frame mAP over the classes that have truth boxes.

    `reach` is the share of truth boxes, counted once for each of their classes, that a proposal
    meets: what mAP can be at most, about. `chance` is what proposals in a random order have, about.
    NaN without any truth; `truth` and `proposals` count boxes.
    """
    given, hits, count = _matched(scores, labels)
    found, known = _areas(given, hits, count), count > 0
    if not known.any():
        return dict.fromkeys((metric.name for metric in METRICS), float("nan"))
    met = hits.sum(0)[known]
    return {
        "map": float(found[known].mean()),
        "reach": float(met.sum() / count.sum()),
        "chance": float((met / max(len(given), 1) * met / count[known]).mean()),
        "left_out": float((~known).sum()),
        "truth": float(sum((own[:, TRUTH] > 0).sum() for own in labels)),
        "proposals": float(len(given)),
    }


def by_class(scores: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """See `precisions`."""
    return precisions(scores, labels)


def met(scores: Sequence[np.ndarray], labels: np.ndarray) -> Met:
    """The truth boxes that a proposal meets, each with the one that overlaps it most."""
    classes = scores[0].shape[1] if len(scores) else 0
    found = Met([], [], [], [])
    for clip, own in enumerate(labels):
        truth, proposed = own[own[:, TRUTH] > 0], own[own[:, ASKED] > 0]
        if len(truth) and len(proposed):
            common = boxes.overlaps(truth, proposed)
            best = common.argmax(1)
            kept = common.max(1) >= HIT
            found.clips.extend([clip] * int(kept.sum()))
            found.corners.extend(proposed[best[kept], :4])
            found.scores.extend(scores[clip][best[kept]])
            found.labels.extend(truth[kept, LABELS:])
    return Met(
        np.array(found.clips, np.int64),
        np.array(found.corners).reshape(-1, 4),
        np.array(found.scores).reshape(-1, classes),
        np.array(found.labels, np.int64).reshape(len(found.clips), -1),
    )


def outcome(scores: Sequence[np.ndarray], labels: np.ndarray, classes: Sequence[str]) -> list[Pair]:
    """For each label of a truth box that a proposal meets, the class found instead.

    As `multilabel.outcome`: of a box's n labels its n best scores. Of proposals that meet the same
    box, that with the largest overlap counts.
    """
    found = met(scores, labels)
    return multilabel.outcome(found.scores, found.labels, classes) if len(found.clips) else []


def curves(
    scores: Sequence[np.ndarray], labels: np.ndarray, classes: Sequence[str]
) -> tuple[PrecisionRecall, ...]:
    """Precision over recall of the classes with the least average precision, worst first."""
    given, hits, count = _matched(scores, labels)
    found = []
    for number in np.argsort(precisions(scores, labels), kind="stable").tolist():
        each = _ranked(given[:, number], hits[:, number])
        if len(each):
            name = str(classes[number])
            found.append(multilabel.curve(name, int(count[number]), each))
    return tuple(found[: multilabel.WORST])


TASK = Task(
    name="detect",
    metrics=METRICS,
    columns=("boxes", "truth", "asked", "labels", "at", "rate"),
    target=target,
    labelled=labelled,
    loss=loss,
    correct=correct,
    scores=scores,
    merge=POOLS["mean"],
    measure=measure,
    by_class=by_class,
    outcome=outcome,
    nearest=multilabel.nearest,
    curves=curves,
    several=True,
    boxed=Boxed(key_frame=key_frame, answers=answers, met=met, flaw=flaw),
)
