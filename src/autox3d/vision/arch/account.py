"""The entries of the account that `cost` draws up: what one layer holds, puts out and computes."""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """One convolution, linear layer or matrix product."""

    weights: int
    biases: int
    normed: int  # channels of the batch norm behind it, 0 where there is none
    outputs: int  # elements, a clip
    macs: int


def conv(reach: int, channels: int, cells: int, *, bias: bool = False, norm: bool = False) -> Layer:
    """Each of channels x cells outputs sees `reach` inputs through weights of its channel."""
    outputs = channels * cells
    return Layer(reach * channels, channels * bias, channels * norm, outputs, reach * outputs)


def product(rows: int, inner: int, columns: int) -> Layer:
    """A matrix product of two activations: (rows, inner) with (inner, columns)."""
    return Layer(0, 0, 0, rows * columns, rows * inner * columns)
