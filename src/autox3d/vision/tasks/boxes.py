"""Boxes of a clip: what is known of each, as numbers in one array, and their geometry.

    M boxes of a clip, K columns, L most labels of a box of the table

A box has x1, y1, x2, y2 as shares of the width and height of what is shown: the whole frame in a
table, the crop in a batch. The columns behind them say what it is for, and its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TRUTH = 4  # 1: it is annotated, and counts in a test
ASKED = 5  # 1: it is a proposal, whose classes a test asks for
LEARNT = 6  # its weight in training; 0: it is not learnt from
LABELS = 7  # here begin its class numbers, -1 behind the last one
HIT = 0.5  # intersection over union at which a proposal is a truth box (PASCAL VOC)
SAME = 0.9  # above which a proposal has the labels of a truth box in training (X3D, A.1)


class Crop(NamedTuple):
    """The part of a frame that a clip shows, as shares of its width and height."""

    left: float
    top: float
    width: float
    height: float
    flip: bool = False


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of (M, 4+) with (O, 4+) boxes, float64 (M, O); 0 without area."""
    one, other = boxes[:, None, :4].astype(np.float64), others[None, :, :4].astype(np.float64)
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    common = (high - low).clip(min=0).prod(2)
    both = areas(one) + areas(other) - common
    return np.divide(common, both, out=np.zeros(both.shape), where=both > 0)


def areas(boxes: np.ndarray) -> np.ndarray:
    """The areas of (..., 4+) boxes; 0 where an end is before its beginning."""
    return (boxes[..., 2:4] - boxes[..., :2]).clip(min=0).prod(-1)


def within(corners: np.ndarray, crop: Crop) -> np.ndarray:
    """Corners (..., 4) as shares of a crop: cut off at its edges, and mirrored if it is."""
    left, top, width, height, flip = crop
    low, size = np.array([left, top] * 2), np.array([width, height] * 2)
    found = ((corners - low) / size).clip(0, 1)
    if flip:
        found[..., ::2] = 1 - found[..., 2::-2]
    return found


def shown(boxes: np.ndarray, crop: Crop) -> np.ndarray:
    """The boxes (..., K) in a crop. One outside keeps its row, without area; it is not learnt."""
    found = boxes.copy()
    found[..., :4] = within(boxes[..., :4], crop)
    found[..., LEARNT] *= areas(found) > 0
    return found


def padded(some: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Arrays of clips, (M, K) each, as float32 (B, most, K); rows behind the boxes ask nothing."""
    columns = some[0].shape[1]
    found = np.zeros((len(some), most, columns), np.float32)
    found[..., LABELS:] = -1
    for rows, own in zip(found, some, strict=True):
        rows[: len(own)] = own
    return found


def hot(boxes: np.ndarray, classes: int) -> np.ndarray:
    """The classes of boxes, (M, K) -> bool (M, classes)."""
    marked = np.zeros((len(boxes), classes + 1), bool)
    np.put_along_axis(marked, boxes[:, LABELS:].astype(np.int64), True, 1)  # -1: one behind them
    return marked[:, :-1]
