"""Batch norm of several chunks at once by Triton, with what follows it, in channels last.

    G chunks, N positions of a chunk (clips x frames x pixels), C channels

Memory is (G, N, C). The result is then(norm + plus) of an activation `then`. Forward, x is read
twice and the result written once. The backward pass computes the derivative of the activation again
from x and the statistics; after a sum, from the result, which the next layer keeps anyway. So
neither the normalised tensor nor a mask is ever in memory.

A chunk's sums are in float32 and in a fixed order, without atomic operations: a program adds up
some rows, each of its threads its own until the end, and a second kernel adds up the programs. Sums
are of the distance from the first row, so that a mean far from 0 costs no digits.
"""
# ruff: noqa: N803, N806  # constants of a kernel are capitals, as in Triton's own code
# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from autox3d.vision.kernels.triton_elementwise import (
    SIZES,
    THEN,
    activated,
    in_units,
    over,
    place,
    slope,
    split,
    tile,
)

TOTAL = {"ROWS": 128, "WIDTH": 16}  # of a second sum: all programs of a chunk in few steps


@triton.jit(do_not_specialize=SIZES)
def moments_kernel(x, part, N, rows, units, splits, UNIT: tl.constexpr, ROWS: tl.constexpr,
                   WIDTH: tl.constexpr):  # fmt: skip
    """x (G, N, C) -> part (2, G, splits, C): sums of x - first row, and of its square."""
    C = units * UNIT  # a product, from which the compiler knows how wide loads may be
    s, g, chunks = tl.program_id(0), tl.program_id(2), tl.num_programs(2)
    x += g.to(tl.int64) * N * C
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    first = tl.load(x + c, mask=c < C, other=0.0).to(tl.float32)
    a = tl.zeros((ROWS, WIDTH), tl.float32)
    b = a
    end = tl.minimum((s + 1) * rows, N)
    for start in range(s * rows, end, ROWS):
        at, _, keep = place(end, C, start, WIDTH, ROWS)
        v = tl.load(x + at, mask=keep, other=0.0).to(tl.float32) - first[None, :]
        v = tl.where(keep, v, 0.0)
        a += v
        b += v * v
    to = part + (g * splits + s) * C + c
    tl.store(to, tl.sum(a, 0), mask=c < C)
    tl.store(to + chunks * splits * C, tl.sum(b, 0), mask=c < C)


@triton.jit
def _totals(part, splits, C, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    """Both sums (WIDTH,) over the programs of this chunk."""
    g, chunks = tl.program_id(0), tl.num_programs(0)
    a = tl.zeros((ROWS, WIDTH), tl.float32)
    b = a
    for start in range(0, splits, ROWS):
        at, _, keep = place(splits, C, start, WIDTH, ROWS)
        of = part + g * splits * C + at
        a += tl.load(of, mask=keep, other=0.0)
        b += tl.load(of + chunks * splits * C, mask=keep, other=0.0)
    return tl.sum(a, 0), tl.sum(b, 0)


@triton.jit(do_not_specialize=SIZES)
def statistics_kernel(x, part, found, eps, N, splits, units, UNIT: tl.constexpr,
                      ROWS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """part (2, G, splits, C) -> found (3, G, C): mean, 1 / deviation, unbiased variance."""
    C = units * UNIT
    g, chunks = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    a, b = _totals(part, splits, C, WIDTH, ROWS)
    first = tl.load(x + g.to(tl.int64) * N * C + c, mask=c < C, other=0.0).to(tl.float32)
    a = a / N
    variance = tl.maximum(b / N - a * a, 0.0)
    to = found + g * C + c
    tl.store(to, first + a, mask=c < C)
    tl.store(to + chunks * C, 1 / tl.sqrt(variance + eps), mask=c < C)
    tl.store(to + 2 * chunks * C, variance * (N / (N - 1.0)), mask=c < C)


@triton.jit(do_not_specialize=["chunks", "C"])
def running_kernel(found, mean, variance, momentum, chunks, C, WIDTH: tl.constexpr):
    """Moves mean and variance (C,) towards their means over the chunks in found (3, G, C)."""
    c = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    a = tl.zeros((WIDTH,), tl.float32)
    b = a
    for g in range(0, chunks):
        a += tl.load(found + g * C + c, mask=c < C, other=0.0)
        b += tl.load(found + (2 * chunks + g) * C + c, mask=c < C, other=0.0)
    old = tl.load(mean + c, mask=c < C, other=0.0)
    tl.store(mean + c, old + momentum * (a / chunks - old), mask=c < C)
    old = tl.load(variance + c, mask=c < C, other=0.0)
    tl.store(variance + c, old + momentum * (b / chunks - old), mask=c < C)


@triton.jit
def _scales(found, weight, bias, g, chunks, c, C):
    """Mean, 1 / deviation, scale and shift (WIDTH,) of a chunk's channels."""
    mean = tl.load(found + g * C + c, mask=c < C, other=0.0)
    inverse = tl.load(found + (chunks + g) * C + c, mask=c < C, other=0.0)
    scale = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32) * inverse
    shift = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)
    return mean, inverse, scale, shift


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(x, found, weight, bias, plus, y, N, units, UNIT: tl.constexpr,
                   PLUS: tl.constexpr, THEN: tl.constexpr, ROWS: tl.constexpr,
                   WIDTH: tl.constexpr):  # fmt: skip
    """x and plus (G, N, C) -> y of the same shape, normalised, and what follows."""
    C = units * UNIT
    g, chunks = tl.program_id(2), tl.num_programs(2)
    at, c, keep = place(N, C, tl.program_id(0) * ROWS, WIDTH, ROWS)
    mean, _, scale, shift = _scales(found, weight, bias, g, chunks, c, C)
    from_first = g.to(tl.int64) * N * C
    v = tl.load(x + from_first + at, mask=keep, other=0.0).to(tl.float32)
    v = (v - mean[None, :]) * scale[None, :] + shift[None, :]
    if PLUS:
        v += tl.load(plus + from_first + at, mask=keep, other=0.0).to(tl.float32)
    tl.store(y + from_first + at, activated(v, THEN).to(y.dtype.element_ty), mask=keep)


@triton.jit
def _through(d, v, y, keep, scale, shift, PLUS: tl.constexpr, THEN: tl.constexpr):
    """The gradient d before the activation; v is x - mean, `y` where the result is."""
    if PLUS:
        d *= slope(tl.load(y, mask=keep, other=0.0).to(tl.float32), THEN)
    elif THEN != 0:
        d *= slope(v * scale[None, :] + shift[None, :], THEN)
    return d


@triton.jit(do_not_specialize=SIZES)
def sums_kernel(grad, x, y, found, weight, bias, part, passed, N, rows, units, splits,
                UNIT: tl.constexpr, PLUS: tl.constexpr, THEN: tl.constexpr, ROWS: tl.constexpr,
                WIDTH: tl.constexpr):  # fmt: skip
    """part (2, G, splits, C): sums of the norm's gradient, and of it times the normalised x.

    After a sum, the gradient is also that of the other part, and is written to `passed`.
    """
    C = units * UNIT
    s, g, chunks = tl.program_id(0), tl.program_id(2), tl.num_programs(2)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    mean, inverse, scale, shift = _scales(found, weight, bias, g, chunks, c, C)
    from_first = g.to(tl.int64) * N * C
    a = tl.zeros((ROWS, WIDTH), tl.float32)
    b = a
    end = tl.minimum((s + 1) * rows, N)
    for start in range(s * rows, end, ROWS):
        at, _, keep = place(end, C, start, WIDTH, ROWS)
        d = tl.load(grad + from_first + at, mask=keep, other=0.0).to(tl.float32)
        v = tl.load(x + from_first + at, mask=keep, other=0.0).to(tl.float32) - mean[None, :]
        d = _through(d, v, y + from_first + at, keep, scale, shift, PLUS, THEN)
        if PLUS:
            tl.store(passed + from_first + at, d.to(passed.dtype.element_ty), mask=keep)
        a += d
        b += d * v
    to = part + (g * splits + s) * C + c
    tl.store(to, tl.sum(a, 0), mask=c < C)
    tl.store(to + chunks * splits * C, tl.sum(b, 0) * inverse, mask=c < C)


@triton.jit(do_not_specialize=SIZES)
def totals_kernel(part, total, splits, units, UNIT: tl.constexpr, ROWS: tl.constexpr,
                  WIDTH: tl.constexpr):  # fmt: skip
    """part (2, G, splits, C) -> total (2, G, C)."""
    C = units * UNIT
    g, chunks = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    a, b = _totals(part, splits, C, WIDTH, ROWS)
    tl.store(total + g * C + c, a, mask=c < C)
    tl.store(total + (chunks + g) * C + c, b, mask=c < C)


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(grad, x, found, weight, bias, total, y, N, units, UNIT: tl.constexpr,
                    THEN: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """The gradient of x (G, N, C)."""
    C = units * UNIT
    g, chunks = tl.program_id(2), tl.num_programs(2)
    at, c, keep = place(N, C, tl.program_id(0) * ROWS, WIDTH, ROWS)
    mean, inverse, scale, shift = _scales(found, weight, bias, g, chunks, c, C)
    a = tl.load(total + g * C + c, mask=c < C, other=0.0) / N
    b = tl.load(total + (chunks + g) * C + c, mask=c < C, other=0.0) / N * inverse
    at += g.to(tl.int64) * N * C
    d = tl.load(grad + at, mask=keep, other=0.0).to(tl.float32)
    v = tl.load(x + at, mask=keep, other=0.0).to(tl.float32) - mean[None, :]
    d = _through(d, v, y, keep, scale, shift, False, THEN)
    d = (d - a[None, :] - v * b[None, :]) * scale[None, :]
    tl.store(y + at, d.to(y.dtype.element_ty), mask=keep)


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    y: Tensor,
    plus: Tensor | None = None,
    then: str = "none",
) -> Tensor:
    """Puts then(norm of x + plus) into y: (3, G, C) of mean, 1 / deviation, variance.

    Args:
        x, plus, y: (G, N, C), contiguous
    """
    chunks, count, channels = x.shape
    (units, unit), (rows, width) = in_units(channels), tile(channels)
    splits, of_each = split(x)
    part = x.new_empty((2, chunks, splits, channels), dtype=torch.float32)
    found = x.new_empty((3, chunks, channels), dtype=torch.float32)
    wide = over(channels, width)
    moments_kernel[(splits, wide, chunks)](
        x, part, count, of_each, units, splits, unit, rows, width
    )
    statistics_kernel[(chunks, over(channels, TOTAL["WIDTH"]))](
        x, part, found, eps, count, splits, units, unit, **TOTAL
    )
    given = x, found, weight, bias, y if plus is None else plus, y
    forward_kernel[(over(count, rows), wide, chunks)](
        *given, count, units, unit, plus is not None, THEN[then], rows, width
    )
    return found


def move(found: Tensor, mean: Tensor, variance: Tensor, momentum: float) -> None:
    """Moves running statistics (C,) towards the means over chunks of what `forward` found."""
    chunks, channels = found.shape[1:]
    grid = (over(channels, TOTAL["ROWS"]),)
    running_kernel[grid](found, mean, variance, momentum, chunks, channels, TOTAL["ROWS"])


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    found: Tensor,
    y: Tensor | None = None,
    then: str = "none",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of x (G, N, C), of bias and weight (2, C), and of what was added.

    Args:
        y: the result, if something was added before the activation; the activation is then ReLU
    """
    chunks, count, channels = x.shape
    (units, unit), (rows, width) = in_units(channels), tile(channels)
    splits, of_each = split(x)
    part = x.new_empty((2, chunks, splits, channels), dtype=torch.float32)
    total = x.new_empty((2, chunks, channels), dtype=torch.float32)
    wide, for_x = over(channels, width), torch.empty_like(x)
    passed = None if y is None else torch.empty_like(grad)
    norm, how = (found, weight, bias), (THEN[then], rows, width)
    sums_kernel[(splits, wide, chunks)](
        grad, x, x if y is None else y, *norm, part, grad if passed is None else passed,
        count, of_each, units, splits, unit, y is not None, *how
    )  # fmt: skip
    totals_kernel[(chunks, over(channels, TOTAL["WIDTH"]))](
        part, total, splits, units, unit, **TOTAL
    )
    if passed is not None:  # the activation is behind it
        grad, how = passed, (THEN["none"], rows, width)
    backward_kernel[(over(count, rows), wide, chunks)](
        grad, x, *norm, total, for_x, count, units, unit, *how
    )
    return for_x, total.sum(1), passed
