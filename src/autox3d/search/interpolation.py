"""Predicts the time of a part of a network from parts that were timed.

For each kind of part, the logarithm of the time is a linear function of the logarithms of its
widths, size and stride, plus a smooth function through what is left (a Gaussian process). Widths
are rounded up to the number of channels that the device computes at once, which is chosen by the
error on blocks that are left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from autox3d.core.latency_table import TimedPart

LANES = (1, 8, 16)  # channels that a device may compute at once
FOLDS = 5  # each is predicted from the others
SMOOTH, NOISE = 0.2, 0.05  # of the Gaussian process: its size, and the noise of a time
Prediction = Callable[[Sequence[TimedPart]], np.ndarray]


def prediction(parts: Sequence[TimedPart]) -> Prediction:
    """A function that gives the milliseconds of parts, interpolated from timed ones."""
    lanes = _lanes([part for part in parts if part.part == "block"])
    names = {part.part for part in parts} - {"network"}
    fits = {name: _fit([p for p in parts if p.part == name], lanes) for name in sorted(names)}

    def ms(rows: Sequence[TimedPart]) -> np.ndarray:
        return fits[rows[0].part](rows)

    return ms


def left_out(blocks: Sequence[TimedPart]) -> np.ndarray:
    """The relative error of each block, predicted from four fifths of the others; 0 of too few."""
    return _errors(blocks, _lanes(blocks)) if len(blocks) > FOLDS else np.zeros(1)


def medians(parts: Sequence[TimedPart]) -> np.ndarray:
    """The median over the rounds of each part."""
    return np.array([statistics.median(part.ms) for part in parts])


def _lanes(blocks: Sequence[TimedPart]) -> int:
    """The width of `LANES` with the smallest median error on blocks that are left out."""
    if len(blocks) <= FOLDS:
        return 1
    errors = {lanes: float(np.median(np.abs(_errors(blocks, lanes)))) for lanes in LANES}
    return min(errors, key=lambda lanes: errors[lanes])


def _errors(parts: Sequence[TimedPart], lanes: int) -> np.ndarray:
    """The relative error of each part, predicted from the other folds."""
    folds = np.random.default_rng(0).permutation(len(parts)) % FOLDS
    errors = np.zeros(len(parts))
    for fold in range(FOLDS):
        out = [part for part, its in zip(parts, folds, strict=True) if its == fold]
        kept = [part for part, its in zip(parts, folds, strict=True) if its != fold]
        errors[folds == fold] = _fit(kept, lanes)(out) / medians(out) - 1
    return errors


def _fit(timed: Sequence[TimedPart], lanes: int) -> Prediction:
    """Interpolates the logarithms of the times of one kind of part."""
    kinds = sorted({part.kind for part in timed})
    x = _coordinates(timed, kinds, lanes)
    y = np.log(medians(timed))
    slopes = np.linalg.lstsq(x, y, rcond=None)[0]
    near = _near(x, x) + NOISE**2 * np.eye(len(x))
    weights = np.linalg.solve(near, y - x @ slopes)

    def ms(rows: Sequence[TimedPart]) -> np.ndarray:
        at = _coordinates(rows, kinds, lanes)
        return np.exp(at @ slopes + _near(at, x) @ weights)

    return ms


def _near(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The covariance of (n, c) and (m, c) coordinates, (n, m)."""
    squares = (one**2).sum(1)[:, None] + (two**2).sum(1) - 2 * one @ two.T
    return SMOOTH**2 * np.exp(-np.maximum(squares, 0.0) / 2)


def _coordinates(rows: Iterable[TimedPart], kinds: Sequence[str], lanes: int) -> np.ndarray:
    """(parts, coordinates): logarithms, and a half where something is so."""
    table = []
    for row in rows:
        widths = (row.channels_in, row.inner or 1, row.channels)
        same = row.channels_in == row.channels and row.stride == 1
        flags = (row.gate, same, *(row.kind == kind for kind in kinds), True)
        logs = [math.log(math.ceil(width / lanes) * lanes) for width in widths]
        sizes = [math.log(row.side), math.log(row.stride)]
        table.append([*logs, *sizes, *(0.5 * flag for flag in flags)])
    return np.array(table)
