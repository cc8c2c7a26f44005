"""The entries of a cost account: one layer's parameters, outputs and multiply-adds."""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """The cost of one convolution, linear layer or matrix product."""

    weights: int
    biases: int
    normed: int  # channels of the batch norm that follows, 0 without one
    outputs: int  # elements per clip
    macs: int  # multiply-adds per clip


def conv(reach: int, channels: int, cells: int, *, bias: bool = False, norm: bool = False) -> Layer:
    """The cost of a convolution with `channels` x `cells` outputs.

    Every output is computed from `reach` inputs; the outputs of a channel share their weights.
    """
    outputs = channels * cells
    return Layer(reach * channels, channels * bias, channels * norm, outputs, reach * outputs)


def product(rows: int, inner: int, columns: int) -> Layer:
    """The cost of a matrix product of two activations: (rows, inner) with (inner, columns)."""
    return Layer(0, 0, 0, rows * columns, rows * inner * columns)
